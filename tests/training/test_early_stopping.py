"""Which epoch becomes the checkpoint: by transfer, by accuracy or the last; and the images that decide it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional

from helpers.stripes import config, draw, spec, stop_at, validators
from transferzoo.base.atomic import sha256
from transferzoo.base.errors import DataError, ModelError, TransferZooError, UsageError
from transferzoo.minimizers import Minimizer
from transferzoo.models.classifier import Classifier, load_checkpoint
from transferzoo.models.predict import predict
from transferzoo.training.early_stopping import TransferScorer
from transferzoo.training.feeds import Memory, hold_out, left_to_train
from transferzoo.training.trainer import train

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from torch import Tensor

    from transferzoo.base.train_config import TrainConfig
    from transferzoo.datasets import Batch
    from transferzoo.zoo.schema import DatasetSpec

pytestmark = pytest.mark.usefixtures("one_thread")

TRAIN, TEST = draw(220, 0), draw(97, 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("selection")


@pytest.fixture(scope="module")
def stripes(place: Path) -> DatasetSpec:
    return spec(place)


@pytest.fixture(scope="module")
def judges(place: Path) -> dict[str, Path]:
    return validators(place)


def selecting(judges: Iterable[str], **changes: Any) -> TrainConfig:
    values = {"select": "transfer", "validation": 60, "epochs": 4, "augment": "none", **changes}
    return config(validators=tuple(judges), **values)


def rates(surrogate: Classifier, held: Batch, targets: list[Classifier]) -> list[float]:
    """Craft with BIM (ε = 80/255, step ε/10, 5 steps) on the first 40 images all targets know."""
    right = torch.ones(len(held), dtype=torch.bool)
    for target in targets:
        right &= predict(target, held.images) == held.labels
    chosen = right.nonzero().flatten()[:40]
    clean, labels = held.images[chosen].double() / 255, held.labels[chosen]
    surrogate = surrogate.double()
    moved = clean.clone()
    for _ in range(5):
        leaf = moved.clone().requires_grad_()
        functional.cross_entropy(surrogate(leaf), labels, reduction="sum").backward()
        assert leaf.grad is not None
        moved = moved + 8 / 255 * leaf.grad.sign()
        moved = torch.minimum(torch.maximum(moved, clean - 80 / 255), clean + 80 / 255).clamp(0, 1)
    images = (moved * 255).round().to(torch.uint8)
    return [float((predict(target, images) != labels).double().mean()) for target in targets]


def test_the_epoch_that_transfers_best_is_kept(
    tmp_path: Path, stripes: DatasetSpec, judges: dict[str, Path]
) -> None:
    recipe = train(
        selecting(judges, save_every="epoch", epochs=6), stripes, TRAIN, TEST, tmp_path, validators=judges
    )
    _, held = hold_out(TRAIN, 60)
    assert held is not None
    targets = [load_checkpoint(folder, stripes) for folder in judges.values()]
    means = []
    for epoch, line in enumerate(recipe["curve"], 1):
        surrogate = load_checkpoint(tmp_path / "epochs" / f"{epoch:04d}", stripes)
        accuracy = float((predict(surrogate, held.images) == held.labels).float().mean())
        assert line["validation_accuracy"] == pytest.approx(accuracy, abs=1e-6)
        found = rates(surrogate, held, targets)
        assert line["transfer"]["targets"] == pytest.approx(dict(zip(judges, found, strict=True)), abs=1e-6)
        assert line["transfer"]["rate"] == pytest.approx(sum(found) / 2, abs=1e-6)
        means.append(sum(found) / 2)
    assert len(set(means)) > 2
    best = means.index(max(means)) + 1
    assert recipe["selected_epoch"] == best < 6, "the last epoch would say nothing"
    chosen = tmp_path / "epochs" / f"{best:04d}" / "model.safetensors"
    assert sha256(chosen) == sha256(tmp_path / "model.safetensors") == recipe["weights_sha256"]
    assert recipe["validation"]["transfer"] == recipe["curve"][best - 1]["transfer"]
    assert recipe["validation"]["n"] == 60
    right = int((predict(load_checkpoint(tmp_path, stripes), TEST.images) == TEST.labels).sum())
    assert recipe["accuracy"]["correct"] == right


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the success rates that will be measured, one after the other; the real judge is not asked."""
    script: list[float] = []
    monkeypatch.setattr(
        TransferScorer, "rate", lambda self, model: {"rate": script.pop(0), "n": 1, "targets": {}}
    )
    return script


@pytest.mark.parametrize(
    ("script", "best"), [([0.1, 0.5, 0.5, 0.2], 2), ([0.0, 0.0, 0.0, 0.0], 1), ([0.1, 0.2, 0.3, 0.4], 4)]
)
def test_ties_take_the_earlier_epoch(
    tmp_path: Path,
    stripes: DatasetSpec,
    judges: dict[str, Path],
    scripted: list[float],
    script: list[float],
    best: int,
) -> None:
    scripted += [*script, 0.9]
    wanted = selecting(judges, save_every="epoch")
    recipe = train(wanted, stripes, TRAIN, None, tmp_path, validators=judges)
    assert [line["transfer"]["rate"] for line in recipe["curve"]] == script
    assert recipe["selected_epoch"] == best
    chosen = tmp_path / "epochs" / f"{best:04d}" / "model.safetensors"
    assert chosen.read_bytes() == (tmp_path / "model.safetensors").read_bytes()


@pytest.mark.parametrize("stop", [23, 33])
def test_a_resume_remembers_the_best_epoch(
    tmp_path: Path, stripes: DatasetSpec, judges: dict[str, Path], scripted: list[float], stop: int
) -> None:
    """Ten steps an epoch; the second of four is the best."""
    wanted = selecting(judges)
    script = [0.1, 0.8, 0.2, 0.3]
    scripted += [*script, 0.8]
    whole = train(wanted, stripes, TRAIN, None, tmp_path / "whole", validators=judges)
    scripted += script[: stop // 10]
    with pytest.raises(KeyboardInterrupt):
        train(wanted, stripes, TRAIN, None, tmp_path / "cut", validators=judges, on_progress=stop_at(stop))
    assert not scripted
    scripted += [*script[stop // 10 :], 0.8]
    again = train(wanted, stripes, TRAIN, None, tmp_path / "cut", validators=judges)
    assert not scripted
    for recipe in (whole, again):
        del recipe["seconds"]
    assert again == whole
    assert whole["selected_epoch"] == 2
    files = [tmp_path / name / "model.safetensors" for name in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("select", ["last", "accuracy"])
def test_other_selections(tmp_path: Path, stripes: DatasetSpec, select: str) -> None:
    wanted = selecting((), select=select, save_every="epoch", learning_rate=0.3)
    recipe = train(wanted, stripes, TRAIN, None, tmp_path)
    curve = [line["validation_accuracy"] for line in recipe["curve"]]
    best = 4 if select == "last" else curve.index(max(curve)) + 1
    assert recipe.get("selected_epoch", 4) == best
    assert ("selected_epoch" in recipe) == (select == "accuracy")
    files = sorted((tmp_path / "epochs").iterdir())
    assert [file.name for file in files] == ["0001", "0002", "0003", "0004"]
    prints = [sha256(file / "model.safetensors") for file in files]
    assert len(set(prints)) == 4
    assert prints[best - 1] == sha256(tmp_path / "model.safetensors")
    assert "transfer" not in recipe["curve"][0]


def test_selecting_changes_only_what_is_kept(
    tmp_path: Path, stripes: DatasetSpec, judges: dict[str, Path]
) -> None:
    """The training itself is the one without any selection."""
    folders = [tmp_path / select for select in ("last", "accuracy", "transfer")]
    for folder in folders:
        wanted = selecting(judges, select=folder.name, save_every="epoch", epochs=2)
        train(wanted, stripes, TRAIN, None, folder, validators=judges)
    for epoch in ("0001", "0002"):
        files = [folder / "epochs" / epoch / "model.safetensors" for folder in folders]
        assert len({file.read_bytes() for file in files}) == 1


def test_validation_images_are_never_trained_on(
    tmp_path: Path, stripes: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every seed holds out the same images; what the model sees while it trains is all of the others."""
    seen: set[bytes] = set()
    forward = Classifier.forward

    def spy(self: Classifier, images: Tensor) -> Tensor:
        if self.model.training:
            seen.update(image.numpy().tobytes() for image in (images * 255).round().to(torch.uint8))
        return forward(self, images)

    monkeypatch.setattr(Classifier, "forward", spy)
    feeds = [Memory(TRAIN, stripes, selecting((), select="last", seed=seed)) for seed in (0, 1)]
    held = feeds[0].held
    assert held is not None
    assert feeds[1].held is not None
    assert torch.equal(held.ids, feeds[1].held.ids)
    assert len(set(held.ids.tolist())) == 60
    assert not torch.equal(held.ids, torch.arange(60)), "drawn, not the first ones"
    train(selecting((), select="accuracy", seed=5, minimizer="swa:start=0"), stripes, TRAIN, None, tmp_path)
    every, kept_out = ({image.numpy().tobytes() for image in batch.images} for batch in (TRAIN, held))
    assert len(every) == 220
    assert seen == every - kept_out


def test_holding_out() -> None:
    kept, held = hold_out(TRAIN, 60)
    assert held is not None
    assert sorted([*kept.ids.tolist(), *held.ids.tolist()]) == list(range(220))
    assert torch.equal(kept.images, TRAIN.images[kept.ids])
    assert torch.equal(held.labels, TRAIN.labels[held.ids])
    assert hold_out(TRAIN, 0) == (TRAIN, None)
    for count in (220, 1000):
        with pytest.raises(UsageError, match=f"too many validation images: .* 220 .*got {count}"):
            left_to_train(220, config(validation=count))


def test_the_judge_hands_the_model_back(stripes: DatasetSpec, judges: dict[str, Path], place: Path) -> None:
    model = load_checkpoint(place / "one", stripes)
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    judge = TransferScorer.of(stripes, TEST, judges, torch.device("cpu"))
    first = judge.rate(model)
    assert first["targets"].keys() == judges.keys()
    assert first["n"] == 40
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert judge.rate(model) == first
    assert judge.rate(load_checkpoint(place / "two", stripes)) != first, "it depends on the model"


def test_validation_targets_that_do_not_fit(
    tmp_path: Path, stripes: DatasetSpec, judges: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any step: classes that differ, a model that does not classify, no image in common."""
    monkeypatch.setattr(Minimizer, "step", None)
    wanted = selecting(judges)
    more = stripes.model_copy(update={"classes": (*stripes.classes, "dotted")})
    with pytest.raises(ModelError, match="wrong number of classes: expected 4 as the data set, got 3"):
        train(wanted, more, TRAIN, None, tmp_path, validators=judges)
    wrong = type(TRAIN)(TRAIN.images, (TRAIN.labels + 1) % 3, TRAIN.ids)
    with pytest.raises(ModelError, match="'stripes/one' does not classify these images"):
        train(wanted, stripes, wrong, None, tmp_path, validators=judges)
    monkeypatch.setattr("transferzoo.training.early_stopping.require_accuracy", lambda *_: 1.0)
    with pytest.raises(DataError, match="no validation image is left"):
        train(wanted, stripes, wrong, None, tmp_path, validators=judges)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("changes", [{"save_every": "epoch"}, {"select": "accuracy", "validation": 60}])
def test_divergence_is_told_before_anything_is_measured(
    tmp_path: Path, stripes: DatasetSpec, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    step = Minimizer.step

    def spoil(self: Minimizer, *closures: Any) -> Tensor:
        loss = step(self, *closures)
        if self.steps == 20:
            next(self.model.parameters()).data.view(-1)[0] = float("inf")
        return loss

    monkeypatch.setattr(Minimizer, "step", spoil)
    data = TRAIN.select(range(160 + changes.get("validation", 0)))
    with pytest.raises(TransferZooError, match="diverged at step 20: a weight is not finite"):
        train(config(**changes), stripes, data, None, tmp_path)
    state = torch.load(tmp_path / "resume.pt", weights_only=True)
    assert len(state["curve"]) == 1
    assert [file.name for file in tmp_path.rglob("epochs/*")] == (["0001"] if len(changes) == 1 else [])
