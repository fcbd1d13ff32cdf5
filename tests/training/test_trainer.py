"""The training loop: it learns, repeats itself to the byte, says what it did, and stops with a sentence."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import torch

from helpers.stripes import config, draw
from transferzoo.base.atomic import sha256
from transferzoo.base.errors import DataError, ModelError, TransferZooError, UsageError
from transferzoo.models.classifier import load_checkpoint
from transferzoo.models.predict import predict
from transferzoo.training.augment import Augmenter
from transferzoo.training.objective import objective
from transferzoo.training.trainer import Progress, train

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from transferzoo.zoo.schema import DatasetSpec

pytestmark = pytest.mark.usefixtures("one_thread")

TRAIN, TEST = draw(160, 0), draw(97, 1)


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"storage": "fp16", "minimizer": "sam:rho=0.05"},
        {"minimizer": "adamw", "learning_rate": 0.01},
        {"precision": "bf16", "augment": "crop"},
    ],
    ids=["sgd", "sam-fp16", "adamw", "bf16"],
)
def test_it_learns_and_the_recipe_is_true(
    tmp_path: Path, stripes: DatasetSpec, changes: dict[str, Any]
) -> None:
    wanted = config(epochs=4, **changes)
    recipe = train(wanted, stripes, TRAIN, TEST, tmp_path)
    assert recipe == json.loads((tmp_path / "recipe.json").read_text())
    assert sorted(content(tmp_path)) == ["config.json", "model.safetensors", "recipe.json"]
    assert recipe["config"] == wanted.model_dump(mode="json")
    assert recipe["fingerprint"] == wanted.fingerprint()
    assert recipe["weights_sha256"] == sha256(tmp_path / "model.safetensors")
    assert recipe["data"]["n"] == 160
    assert [line["epoch"] for line in recipe["curve"]] == [1, 2, 3, 4]
    assert recipe["curve"][-1]["loss"] < recipe["curve"][0]["loss"] / 2
    assert recipe["versions"]["torch"] == torch.__version__.partition("+")[0]
    correct = int((predict(load_checkpoint(tmp_path, stripes), TEST.images) == TEST.labels).sum())
    assert recipe["accuracy"] == {"n": 97, "correct": correct, "accuracy": round(correct / 97, 6)}
    assert correct / 97 > 0.8, "chance is a third"


@pytest.mark.parametrize("minimizer", ["sgd", "sam"])
def test_same_configuration_same_bytes(tmp_path: Path, stripes: DatasetSpec, minimizer: str) -> None:
    wanted = config(epochs=1, minimizer=minimizer)
    train(wanted, stripes, TRAIN, None, tmp_path / "one")
    state = torch.random.get_rng_state()
    torch.rand(7)  # what ran before must not matter
    train(wanted, stripes, TRAIN, None, tmp_path / "two")
    torch.random.set_rng_state(state)
    train(wanted.model_copy(update={"seed": 1}), stripes, TRAIN, TEST, tmp_path / "other")
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator is left alone"
    one, two, other = (sha256(tmp_path / name / "model.safetensors") for name in ("one", "two", "other"))
    assert one == two != other


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({}, [0.1] * 2 + [0.01] * 2 + [0.001] * 2),
        ({"schedule": "constant"}, [0.1] * 6),
        ({"decay_at": (0.5,), "decay": 0.5}, [0.1] * 3 + [0.05] * 3),
    ],
)
def test_rates_and_progress(
    tmp_path: Path, stripes: DatasetSpec, changes: dict[str, Any], rates: list[float]
) -> None:
    seen: list[Progress] = []
    recipe = train(
        config(epochs=6, batch_size=150, **changes), stripes, TRAIN, None, tmp_path, on_progress=seen.append
    )
    assert [line["learning_rate"] for line in recipe["curve"]] == pytest.approx(rates, rel=1e-12)
    assert [(at.epoch, at.epochs, at.step, at.steps) for at in seen] == [(i, 6, i, 6) for i in range(1, 7)]
    assert recipe["curve"][-1]["loss"] == pytest.approx(seen[-1].loss, abs=1e-6)
    assert recipe["accuracy"] is None


def test_a_finished_folder_is_left_alone(tmp_path: Path, stripes: DatasetSpec) -> None:
    recipe = train(config(epochs=1), stripes, TRAIN, TEST, tmp_path)
    before = content(tmp_path)
    assert train(config(epochs=1), stripes, TRAIN, TEST, tmp_path, on_progress=_no_step) == recipe
    assert content(tmp_path) == before
    for other, data in ((config(epochs=2), TRAIN), (config(epochs=1), draw(160, 5))):
        with pytest.raises(UsageError, match=r"holds another training run: .*choose another with --output"):
            train(other, stripes, data, TEST, tmp_path, on_progress=_no_step)
        assert content(tmp_path) == before
    (tmp_path / "resume.pt").write_bytes(b"left by a kill at the last moment")
    train(config(epochs=1), stripes, TRAIN, TEST, tmp_path, on_progress=_no_step)
    assert content(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(before["model.safetensors"][:-1])
    with pytest.raises(ModelError, match=r"are not those its recipe\.json describes; delete"):
        train(config(epochs=1), stripes, TRAIN, TEST, tmp_path, on_progress=_no_step)


def test_an_unfinished_folder_belongs_to_its_configuration(tmp_path: Path, stripes: DatasetSpec) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(config(), stripes, TRAIN, TEST, tmp_path, on_progress=_stop_in_the_second_epoch)
    before = content(tmp_path)
    assert list(before) == ["resume.pt"]
    with pytest.raises(UsageError, match="holds another training run"):
        train(config(seed=1), stripes, TRAIN, TEST, tmp_path, on_progress=_no_step)
    assert content(tmp_path) == before
    steps: list[int] = []
    train(config(), stripes, TRAIN, TEST, tmp_path, on_progress=lambda at: steps.append(at.step))
    assert steps == list(range(11, 31))


def test_weights_of_unknown_origin_are_not_overwritten(tmp_path: Path, stripes: DatasetSpec) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"somebody's")
    with pytest.raises(UsageError, match="holds another training run"):
        train(config(), stripes, TRAIN, TEST, tmp_path, on_progress=_no_step)
    assert content(tmp_path) == {"model.safetensors": b"somebody's"}


@pytest.mark.parametrize("keep", [0, 10, 0.5, -1])
def test_a_damaged_state_is_a_sentence(tmp_path: Path, stripes: DatasetSpec, keep: float) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(config(), stripes, TRAIN, TEST, tmp_path, on_progress=_stop_in_the_second_epoch)
    whole = (tmp_path / "resume.pt").read_bytes()
    for damaged in (whole[: int(keep * len(whole)) if 0 < keep < 1 else int(keep)], b"hello" * 100):
        (tmp_path / "resume.pt").write_bytes(damaged)
        with pytest.raises(TransferZooError, match=r"cannot read .*resume\.pt: .*; delete it to start"):
            train(config(), stripes, TRAIN, TEST, tmp_path)
        assert content(tmp_path) == {"resume.pt": damaged}


def _tensors(value: object) -> Iterator[torch.Tensor]:
    """Yield the tensors of several floating-point values in nested dictionaries and lists."""
    if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel() > 1:
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _tensors(inner)


@pytest.mark.parametrize("part", ["model", "minimizer", "curve", "seconds"])
def test_a_state_of_other_bytes_is_a_sentence(tmp_path: Path, stripes: DatasetSpec, part: str) -> None:
    """A flipped bit would train on, and end well with other weights; the format itself does not see it."""
    with pytest.raises(KeyboardInterrupt):
        train(config(minimizer="swa"), stripes, TRAIN, TEST, tmp_path, on_progress=_stop_in_the_second_epoch)
    state = torch.load(tmp_path / "resume.pt", weights_only=True)
    if part in ("model", "minimizer"):
        next(_tensors(state[part])).view(-1)[0] += 1e-3
    else:
        state[part] = state[part] * 2
    torch.save(state, tmp_path / "resume.pt")
    before = content(tmp_path)
    with pytest.raises(TransferZooError, match=r"cannot read .*resume\.pt: .*; delete it to start"):
        train(config(minimizer="swa"), stripes, TRAIN, TEST, tmp_path)
    assert content(tmp_path) == before


def test_divergence_is_a_sentence(tmp_path: Path, stripes: DatasetSpec) -> None:
    wild = config(learning_rate=1e30, decay=1e-30, decay_at=(0.01,), epochs=2)
    with pytest.raises(TransferZooError, match=r"^training diverged at step \d+: the loss is (nan|inf);"):
        train(wild, stripes, TRAIN, TEST, tmp_path / "first")
    assert not (tmp_path / "first").exists()


@pytest.mark.parametrize("minimizer", ["sgd", "sam", "gsam"])
def test_too_little_memory_is_a_sentence_whose_step_works(
    tmp_path: Path, stripes: DatasetSpec, monkeypatch: pytest.MonkeyPatch, minimizer: str
) -> None:
    fits = 5

    def bounded(*arguments: Any) -> Any:
        if len(arguments[2]) > fits:
            raise torch.OutOfMemoryError("full")
        return objective(*arguments)

    monkeypatch.setattr("transferzoo.training.loop.objective", bounded)
    told = r"^memory runs out at step 1, with (\d+) images at once; add --micro-batch (\d+): "
    sizes: list[int] = []
    wanted = {"minimizer": minimizer, "batch_size": 24, "epochs": 1}
    for _ in range(9):
        micro_batch = {"micro_batch": sizes[-1]} if sizes else {}
        try:
            train(config(**wanted, **micro_batch), stripes, TRAIN, None, tmp_path / str(len(sizes)))
        except TransferZooError as error:
            found = re.match(told, str(error))
            assert found and int(found[1]) == (sizes or [24])[-1], error
            sizes.append(int(found[2]))
        else:
            break
    assert sizes == [12, 6, 3]
    fits = 0
    with pytest.raises(TransferZooError, match="with 1 images at once; choose a smaller network"):
        train(config(**wanted, micro_batch=1), stripes, TRAIN, None, tmp_path / "none")


@pytest.mark.parametrize(
    ("factor", "sign"), [(1e38, "the loss is nan"), (1e22, "a weight is not finite")], ids=["loss", "average"]
)
def test_divergence_keeps_the_last_good_epoch(
    tmp_path: Path, stripes: DatasetSpec, monkeypatch: pytest.MonkeyPatch, factor: float, sign: str
) -> None:
    """The last batch of the last epoch is poisoned: with 1e22 only a running variance overflows."""
    batch = Augmenter.batch
    calls: list[None] = []

    def poisoned(self: Augmenter, *arguments: Any) -> torch.Tensor:
        calls.append(None)
        images = batch(self, *arguments)
        return images if len(calls) < 30 else images.float() * factor

    monkeypatch.setattr(Augmenter, "batch", poisoned)
    with pytest.raises(TransferZooError, match=f"diverged at step 30: {sign}; .* stays"):
        train(config(), stripes, TRAIN, TEST, tmp_path)
    assert list(content(tmp_path)) == ["resume.pt"]
    state = torch.load(tmp_path / "resume.pt", weights_only=True)
    assert len(state["curve"]) == 2
    assert all(tensor.isfinite().all() for tensor in state["model"].values())


def test_too_few_images(tmp_path: Path, stripes: DatasetSpec) -> None:
    with pytest.raises(DataError, match=r"too few training images: expected .* \(16\), got 15"):
        train(config(), stripes, TRAIN.select(range(15)), TEST, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_rates_that_cannot_be(rate: float) -> None:
    with pytest.raises(UsageError, match="option 'learning_rate' is wrong"):
        config(learning_rate=rate)


def test_unwritable_output(tmp_path: Path, stripes: DatasetSpec) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TransferZooError, match=r"cannot write to .*/file/run: .*; choose a folder"):
        train(config(epochs=1), stripes, TRAIN, TEST, tmp_path / "file" / "run", on_progress=_no_step)
    (tmp_path / "proc").symlink_to("/proc")  # even its owner cannot make files there
    with pytest.raises(TransferZooError, match=r"cannot write to .*/proc/run: .*; choose a folder"):
        train(config(epochs=1), stripes, TRAIN, TEST, tmp_path / "proc" / "run", on_progress=_no_step)


@pytest.mark.parametrize("kind", ["crop-flip", "crop", "none"])
def test_augmentation_is_a_loop_over_images(kind: str) -> None:
    images = torch.randint(0, 256, (40, 3, 28, 28), dtype=torch.uint8)
    chosen = torch.tensor([5, 0, 39, 5, *range(30)])
    batch = Augmenter(images, kind).batch(chosen, torch.Generator().manual_seed(4))
    draws = torch.Generator().manual_seed(4)
    pad = 0 if kind == "none" else 2
    tops = torch.randint(0, 2 * pad + 1, (34,), generator=draws)
    lefts = torch.randint(0, 2 * pad + 1, (34,), generator=draws)
    flips = torch.rand(34, generator=draws) < 0.5
    for row, index in enumerate(chosen.tolist()):
        expected = torch.zeros(3, 28 + 2 * pad, 28 + 2 * pad, dtype=torch.uint8)
        expected[:, pad : pad + 28, pad : pad + 28] = images[index]
        top, left = int(tops[row]), int(lefts[row])
        expected = expected[:, top : top + 28, left : left + 28]
        if kind == "crop-flip" and flips[row]:
            expected = expected.flip(2)
        assert torch.equal(batch[row], expected)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    if kind == "none":
        assert torch.equal(batch, images[chosen])
    else:
        assert len(set(zip(tops.tolist(), lefts.tolist(), strict=True))) > 10, "a draw an image"


def _no_step(at: Progress) -> None:
    raise AssertionError(f"trained at {at}")


def _stop_in_the_second_epoch(at: Progress) -> None:
    if at.epoch == 2 and at.step == 13:
        raise KeyboardInterrupt
