"""Images that stay on disk: what a stream hands out, whatever reads it, and training from it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from helpers.streams import (
    COUNT,
    KINDS,
    SIZE,
    config,
    epoch,
    label_of,
    names,
    opened,
    same,
    tiny,
)
from transferzoo.base.errors import DataError
from transferzoo.datasets import disk, shards
from transferzoo.training import pipeline, stream, trainer

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.datasets import Batch
    from transferzoo.training.trainer import Progress

pytestmark = pytest.mark.usefixtures("one_thread")


@KINDS
def test_every_image_once_with_its_label(places: dict[str, Path], kind: str) -> None:
    feed = opened(places[kind], batch_size=10)
    seen = epoch(feed)
    assert feed.count == COUNT
    assert feed.held is None
    assert [tuple(images.shape) for images, _ in seen] == [(10, 3, SIZE, SIZE)] * 3
    found = [name for images, _ in seen for name in names(images)]
    assert sorted(found) == list(range(COUNT))
    assert found != list(range(COUNT))
    assert [int(label) for _, labels in seen for label in labels] == [label_of(name) for name in found]
    assert seen[0][0].dtype == torch.float32
    assert seen[0][1].dtype == torch.int64
    assert min(float(images.min()) for images, _ in seen) >= 0
    assert max(float(images.max()) for images, _ in seen) <= 1


@KINDS
@pytest.mark.parametrize("augment", ["none", "crop-flip"])
def test_an_epoch_is_a_function_of_its_seed(places: dict[str, Path], kind: str, augment: str) -> None:
    """The numbers of workers and of processes change nothing."""
    options: dict[str, Any] = {
        "augment": augment,
        "auto_augment": "rand-m9-mstd0.5" if augment != "none" else "",
    }
    alone = epoch(opened(places[kind], **options), 5)
    assert same(alone, epoch(opened(places[kind], **options), 5))
    assert same(alone, epoch(opened(places[kind], workers=2, **options), 5))
    assert not same(alone, epoch(opened(places[kind], **options), 6))
    parts = [epoch(opened(places[kind], **options), 5, rank, 2) for rank in (0, 1)]
    joined = [(torch.cat([x, y]), torch.cat([a, b])) for (x, a), (y, b) in zip(*parts, strict=True)]
    assert same(alone, joined)


def test_images_are_augmented_differently_each_epoch(places: dict[str, Path]) -> None:
    feed = opened(places["folder"], augment="crop", auto_augment="rand-m9-mstd0.5", batch_size=COUNT)
    first, second = (epoch(feed, seed)[0] for seed in (1, 2))
    assert len(torch.unique(torch.cat([first[0], second[0]]).flatten(1), dim=0)) > COUNT * 1.5


@KINDS
def test_held_out_images_are_never_trained_on(places: dict[str, Path], kind: str) -> None:
    feeds_ = [opened(places[kind], validation=9, seed=seed) for seed in (0, 1)]
    held = [feed.held for feed in feeds_]
    assert held[0] is not None
    assert held[1] is not None
    assert torch.equal(held[0].images, held[1].images)
    assert held[0].images.shape == (9, 3, SIZE, SIZE)
    kept_back = names(held[0].images / 255)
    assert held[0].labels.tolist() == [label_of(name) for name in kept_back]
    assert feeds_[0].count == COUNT - 9
    for seed in range(5):
        trained_on = [name for images, _ in epoch(feeds_[0], seed) for name in names(images)]
        assert len(trained_on) == 16
        assert not set(trained_on) & set(kept_back)


def test_images_are_drawn_from_few_row_groups() -> None:
    class Large:
        labels = np.zeros(10_000, np.int64)
        bounds = np.arange(0, 10_001, 100)
        sizes = np.ones(100, np.int64)
        digest = ""

        def where(self, index: int) -> str:
            raise NotImplementedError

        def encoded(self, index: int) -> bytes:
            raise NotImplementedError

    few = stream._drawn(Large(), 160, "test")
    assert len(set(few // 100)) == 10
    assert len(set(few)) == 160
    assert any(np.diff(few[:16]) > 1), "and not the first ones of them"
    assert len(set(stream._drawn(Large(), 3000, "test"))) == 3000
    assert stream._drawn(Large(), 99_999, "test").tolist() == list(range(10_000))


def test_windows_of_row_groups(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """With small windows a reader keeps little, reads each group once and still sees everything."""
    source = disk.open_index(tiny(), "train", places["parquet"])
    assert isinstance(source, shards.Shards)
    assert source.bounds.tolist() == [0, 7, 14, 21, 28, 30]
    monkeypatch.setattr(shards, "WINDOW", int(source.sizes.max()))
    read: list[int] = []
    original = shards.Shards._read

    def counted(self: shards.Shards, group: int) -> Any:
        read.append(group)
        return original(self, group)

    monkeypatch.setattr(shards.Shards, "_read", counted)
    feed = stream.Stream(source, tiny(), config(batch_size=2), workers=0)
    found = [name for images, _ in epoch(feed) for name in names(images)]
    assert sorted(found) == list(range(COUNT))
    assert sorted(read) == [0, 1, 2, 3, 4]
    assert len(source._kept) < 5


def test_mixing(places: dict[str, Path]) -> None:
    plain = epoch(opened(places["folder"]))
    options: dict[str, Any] = {"mixup": 0.4}
    mixed = epoch(opened(places["folder"], **options))
    for (images, labels), (mixture, targets) in zip(plain, mixed, strict=True):
        assert targets.dtype == torch.float32
        assert targets.shape == (8, 3)
        assert torch.allclose(targets.sum(1), torch.ones(8))
        partner = torch.arange(8) ^ 1
        hot = torch.nn.functional.one_hot(labels, 3).float()
        share = (mixture - images[partner]).flatten(1).norm(dim=1) / (images - images[partner]).flatten(
            1
        ).norm(dim=1)
        assert share.std() < 1e-4, "one share a batch"
        share = share.mean()
        assert torch.allclose(mixture, share * images + (1 - share) * images[partner], atol=1e-4)
        assert torch.allclose(targets, share * hot + (1 - share) * hot[partner], atol=1e-4)
    parts = [epoch(opened(places["folder"], workers=rank, **options), 0, rank, 2) for rank in (0, 1)]
    joined = [(torch.cat([x, y]), torch.cat([a, b])) for (x, a), (y, b) in zip(*parts, strict=True)]
    assert same(mixed, joined)


def test_cutmix_pastes_a_part_of_the_neighbour(places: dict[str, Path]) -> None:
    plain = epoch(opened(places["folder"]))
    pasted = epoch(opened(places["folder"], cutmix=1.0))
    for (images, labels), (mixture, targets) in zip(plain, pasted, strict=True):
        own = (mixture == images).all(1)
        foreign = (mixture == images[torch.arange(8) ^ 1]).all(1)
        assert (own | foreign).all()
        assert torch.allclose(
            targets.gather(1, labels[:, None]).min(), own.float().mean((1, 2)).min(), atol=0.01
        )


def test_global_generators_are_left_alone(places: dict[str, Path]) -> None:
    def state() -> tuple[Any, ...]:
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]

    before = state()
    for workers in (0, 1):
        options: dict[str, Any] = {"augment": "crop-flip", "auto_augment": "rand-m9-mstd0.5", "mixup": 1.0}
        epoch(opened(places["folder"], workers=workers, validation=3, **options))
    assert state() == before


@KINDS
def test_a_sample_to_measure_with(places: dict[str, Path], kind: str) -> None:
    batch: Batch = stream.sample(tiny(), "train", places[kind], 10, workers=0)
    assert len(set(names(batch.images / 255))) == 10
    assert batch.labels.tolist() == [label_of(name) for name in names(batch.images / 255)]
    assert len(stream.sample(tiny(), "train", places[kind], 99, workers=0)) == COUNT
    with pytest.raises(DataError, match="holds the same images for 'train' and for training"):
        stream.sample(tiny(), "train", places[kind], 10, apart_from=opened(places[kind]))


def test_identity(places: dict[str, Path], tmp_path: Path) -> None:
    def identity(root: Path, **changes: Any) -> dict[str, Any]:
        return stream.Stream(disk.open_index(tiny(), "train", root), tiny(**changes), config(), 0).identity

    assert identity(places["folder"]) == identity(places["folder"])
    assert identity(places["folder"])["n"] == COUNT
    others = [identity(places["parquet"]), identity(places["folder"], mean=(0.1, 0.1, 0.1))]
    import shutil

    shutil.copytree(places["folder"], tmp_path / "copy")
    assert identity(tmp_path / "copy") == identity(places["folder"]), "wherever it lies"
    (tmp_path / "copy" / "train" / "Dress" / "08.JPEG").rename(tmp_path / "copy" / "train" / "1" / "08.JPEG")
    others.append(identity(tmp_path / "copy"))
    assert all(other != identity(places["folder"]) for other in others)


# Training


class Stop(Exception):
    pass


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("folder", {"mixup": 0.2, "cutmix": 1.0, "auto_augment": "rand-m9-mstd0.5", "minimizer": "sam"}),
        ("parquet", {}),
    ],
)
def test_training_goes_on_where_it_was_stopped(
    places: dict[str, Path], tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    chosen = config(augment="crop-flip", validation=4, epochs=3, **options)
    dataset, weights = tiny(), []

    def stop(at: Progress) -> None:
        if at.epoch == 2:
            raise Stop

    for name, stops in (("through", False), ("stopped", True)):
        folder = tmp_path / name
        feed = stream.open_stream(dataset, "train", places[kind], chosen, workers=1)
        if stops:
            with pytest.raises(Stop):
                trainer.train(chosen, dataset, feed, None, folder, on_progress=stop)
            feed = stream.open_stream(dataset, "train", places[kind], chosen, workers=2)
        recipe = trainer.train(chosen, dataset, feed, None, folder)
        assert recipe["data"] == feed.identity
        assert [line["epoch"] for line in recipe["curve"]] == [1, 2, 3]
        assert recipe["validation"]["n"] == 4
        weights.append(load_file(folder / "model.safetensors"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(
    ("processors", "started", "expected"),
    [(2, "", 2), (8, "1", 8), (8, "3", 2), (64, "", 16), (64, "8", 8), (2, "4", 1), (2, "0", 2), (2, "x", 2)],
)
def test_one_process_a_processor_reads_images(
    monkeypatch: pytest.MonkeyPatch, processors: int, started: str, expected: int
) -> None:
    monkeypatch.setattr("transferzoo.training.pipeline.processors", lambda: processors)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", started)
    assert pipeline.usual_workers() == expected
