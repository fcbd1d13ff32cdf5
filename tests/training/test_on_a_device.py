"""What a training does on a device that is not waited for, seen on `meta` and on a CPU that is read late."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from benchmarks import launches
from benchmarks.launches import Device
from helpers import streams
from helpers.stripes import config, draw, save_every_step
from transferzoo.base.distributed import Team
from transferzoo.base.errors import TransferZooError
from transferzoo.minimizers import Minimizer, read_rule
from transferzoo.training.augment import Augmenter
from transferzoo.training.feeds import Memory
from transferzoo.training.loop import READ_EVERY, Loop
from transferzoo.training.trainer import train
from transferzoo.training.untrained import untrained

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.training.feeds import Feed
    from transferzoo.zoo.schema import DatasetSpec

pytestmark = pytest.mark.usefixtures("one_thread")

META = torch.device("meta")
TRAIN = draw(160, 0)
SMALL_NETWORK = "small_resnet18:width=8"


def sent_for(feed: Feed) -> tuple[int, int, float]:
    """Return the batches of an epoch, the bytes that go to the device, and how often it is waited for."""
    with Device() as device:
        batches = [*feed.epoch(0, 0, 1, 0, META)]
    for images, targets in batches:
        assert images.device == targets.device == META
        assert images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)
    return len(batches), round(device.counts.megabytes * 1e6), device.counts.waits


@pytest.mark.parametrize("mixed", [{}, {"mixup": 0.2, "cutmix": 1.0}], ids=["plain", "mixed"])
@pytest.mark.parametrize("augment", ["crop-flip", "none"])
def test_images_in_memory_are_sent_once(stripes: DatasetSpec, augment: str, mixed: dict[str, Any]) -> None:
    """That is the wait; then for each image of a batch four drawn numbers and a label of 8 bytes."""
    pad = 0 if augment == "none" else 1
    images = len(TRAIN) * (12 + 2 * pad) ** 2
    found = sent_for(Memory(TRAIN, stripes, config(augment=augment, **mixed)))
    assert found == (10, images + 160 * 5 * 8, 1)


@pytest.mark.parametrize("mixed", [{}, {"mixup": 0.2, "cutmix": 1.0}], ids=["plain", "mixed"])
def test_images_on_disk_are_sent_in_eight_bits(tmp_path: Path, mixed: dict[str, Any]) -> None:
    root = streams.write_places(tmp_path)["folder"]
    found = sent_for(streams.opened(root, **mixed))
    assert found == (3, 24 * (3 * streams.SIZE**2 + 8), 0)


@pytest.mark.parametrize("minimizer", ["sgd", "sam", "looksam:k=2", "gsam", "asam", "f-sam"])
def test_steps_are_not_waited_for(
    stripes: DatasetSpec, monkeypatch: pytest.MonkeyPatch, minimizer: str
) -> None:
    """Twice as often as losses and hits are read, after 20 steps, here after 2; and once for the images.

    Once more in the first step, whether weights that were moved are back.
    """
    assert READ_EVERY["meta"] == READ_EVERY["cuda"] == 20
    monkeypatch.setitem(READ_EVERY, "meta", 2)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it knows no meta
    wanted = config(minimizer=minimizer, batch_size=4)
    classifier = untrained(wanted, stripes, None).classifier.to(META)
    images = TRAIN.select(range(16))
    loop, seen = Loop(wanted, classifier, Memory(images, stripes, wanted), Team(device=META)), list[int]()
    with Device() as device:
        loop.epoch(0, lambda at: seen.append(at.step), lambda number: None)
    assert seen == [2, 4]
    assert device.counts.waits == 2 * 2 + 1 + (minimizer != "sgd")


def test_numbers_read_late_are_the_same(
    tmp_path: Path, stripes: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten steps an epoch, read after every fourth and the last: weights and curve do not depend on it."""
    recipes, seen = [], list[Any]()
    for every, name in ((1, "soon"), (4, "late")):
        monkeypatch.setitem(READ_EVERY, "cpu", every)
        seen.clear()
        recipes.append(train(config(), stripes, TRAIN, None, tmp_path / name, on_progress=seen.append))
    soon, late = recipes
    assert [at.step for at in seen] == [4, 8, 10, 14, 18, 20, 24, 28, 30]
    assert (soon["weights_sha256"], soon["curve"]) == (late["weights_sha256"], late["curve"])


def test_a_loss_read_late_is_told_with_its_step_and_not_kept(
    tmp_path: Path, stripes: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sixth batch is poisoned; the eighth step is the next whose state would be kept."""
    batch, calls = Augmenter.batch, list[None]()

    def poisoned(self: Augmenter, *arguments: Any) -> Tensor:
        calls.append(None)
        images = batch(self, *arguments)
        return images.float() * float("nan") if len(calls) == 6 else images

    monkeypatch.setitem(READ_EVERY, "cpu", 4)
    monkeypatch.setattr(Augmenter, "batch", poisoned)
    save_every_step(monkeypatch)
    with pytest.raises(TransferZooError, match="diverged at step 6: the loss is nan"):
        train(config(), stripes, TRAIN, None, tmp_path)
    assert len(calls) == 8
    assert torch.load(tmp_path / "resume.pt", weights_only=True)["position"]["step"] == 4


def test_what_minimizers_launch() -> None:
    """The goals that `launches.py` prints, on its small network: over a bare SAM, and over SAM."""
    side = launches.NETWORKS[SMALL_NETWORK]
    model, channels = launches.network(SMALL_NETWORK)
    closure = launches.losses(model.train(), (2, channels, side, side))

    def launched(spec: str) -> float:
        minimizer = Minimizer(read_rule(spec), model, launches.sgd(model))
        return launches.training_step(partial(minimizer.step, closure), 1).launches

    with launches.as_on_a_gpu():
        bare = launches.training_step(launches.bare_sam(model, closure), 1).launches
        sam, gsam = launched("sam"), launched("gsam")
    assert bare < sam <= launches.SAM * bare
    assert sam < gsam <= launches.GSAM * sam
