"""Competing methods: training on adversarial images, and collected weights (LGV)."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from helpers.stripes import config, draw, stop_at
from transferzoo.attacks.engine import perturb
from transferzoo.base.atomic import sha256
from transferzoo.base.errors import TransferZooError, UsageError
from transferzoo.base.train_config import Adversarial
from transferzoo.minimizers import Minimizer
from transferzoo.models.classifier import Classifier, load_checkpoint
from transferzoo.models.predict import predict
from transferzoo.training.feeds import Memory
from transferzoo.training.loop import seed_of
from transferzoo.training.trainer import train

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.attacks.engine import Attack
    from transferzoo.zoo.schema import DatasetSpec

pytestmark = pytest.mark.usefixtures("one_thread")

TRAIN, TEST = draw(64, 0), draw(97, 1)


def digest(folder: Path) -> str:
    return sha256(folder / "model.safetensors")


# ---------------------------------------------------------------- adversarial training


class Seen:
    """What the model of a training saw, in both modes, and what it was told to learn."""

    def __init__(self) -> None:
        self.learned: list[Tensor] = []
        self.attacked: list[Tensor] = []
        self.modes: list[bool] = []


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    found, forward = Seen(), Classifier.forward

    def spy(self: Classifier, images: Tensor) -> Tensor:
        (found.learned if self.model.training else found.attacked).append(images.detach().clone())
        found.modes.append(self.model.training)
        return forward(self, images)

    monkeypatch.setattr(Classifier, "forward", spy)
    return found


@pytest.mark.parametrize(
    ("spec", "norm", "radius", "steps"),
    [
        ("l2:0.5", 2, 0.5, 3),
        ("linf:16/255,steps=7", float("inf"), 16 / 255, 7),
        ("linf:8/255,step=eps/4,steps=2", float("inf"), 8 / 255, 2),
    ],
)
def test_adversarial_training(
    tmp_path: Path, stripes: DatasetSpec, seen: Seen, spec: str, norm: float, radius: float, steps: int
) -> None:
    """Every batch is replaced by images in the ball around it that the model finds harder."""
    wanted = config(epochs=2, augment="none", adversarial=spec)
    recipe = train(wanted, stripes, TRAIN, None, tmp_path)
    assert recipe["config"]["adversarial"] == Adversarial.model_validate(spec).model_dump()
    assert seen.modes == ([False] * steps + [True]) * 8
    feed = Memory(TRAIN, stripes, wanted)
    clean = [images for epoch in range(2) for images, _ in feed.epoch(seed_of(0, f"epoch {epoch}"), 0, 1)]
    norms = []
    for images, adversarial in zip(clean, seen.learned, strict=True):
        assert float(adversarial.min()) >= 0
        assert float(adversarial.max()) <= 1
        norms += (adversarial - images).flatten(1).norm(norm, dim=1).tolist()
    assert max(norms) <= radius * (1 + 1e-5)
    assert sorted(norms)[len(norms) // 2] > 0.4 * radius, "more than half of the images move that far"
    assert all(torch.equal(images, seen.attacked[index * steps]) for index, images in enumerate(clean))


def test_adversarial_images_raise_the_loss(
    tmp_path: Path, stripes: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's own loop, from the current weights, in evaluation mode."""
    gains: list[float] = []

    def perturbed(
        attack: Attack, classifier: Classifier, images: Tensor, labels: Tensor, *rest: Any, **more: Any
    ) -> Tensor:
        moved = perturb(attack, classifier, images, labels, *rest, **more)
        classifier.eval()
        with torch.no_grad():
            before, after = (functional.cross_entropy(classifier(i), labels) for i in (images, moved))
        classifier.train()
        gains.append(float(after - before))
        return moved

    monkeypatch.setattr("transferzoo.training.loop.perturb", perturbed)
    train(config(epochs=3, adversarial="linf:32/255"), stripes, TRAIN, None, tmp_path)
    assert len(gains) == 12
    assert min(gains) > 0


def test_a_robust_model_is_robust(tmp_path: Path, stripes: DatasetSpec) -> None:
    """Trained on images of a larger ball, it learns, and otherwise than on clean ones."""
    for name, images in (("clean", None), ("robust", "linf:24/255")):
        recipe = train(
            config(epochs=4, adversarial=images, minimizer="sam"),
            stripes,
            draw(160, 0),
            TEST,
            tmp_path / name,
        )
        assert recipe["accuracy"]["accuracy"] > 0.8
    assert digest(tmp_path / "clean") != digest(tmp_path / "robust")


def test_divergence_while_images_are_perturbed(tmp_path: Path, stripes: DatasetSpec) -> None:
    wild = config(adversarial="l2:0.1", learning_rate=1e30, epochs=2)
    with pytest.raises(TransferZooError, match=r"^training diverged at step \d+: "):
        train(wild, stripes, TRAIN, None, tmp_path / "run")


# ---------------------------------------------------------------- collected weights (LGV)

LGV = "lgv:epochs=2,per-epoch=4,lr=0.05"
NAMES = [f"samples/000{number}.safetensors" for number in range(1, 9)]


@pytest.mark.parametrize("storage", ["fp32", "fp16"])
def test_collected_weights(
    tmp_path: Path, stripes: DatasetSpec, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    """The training first; then constant steps. Eight samples, listed; the checkpoint is their mean."""
    rates: list[float] = []
    step = Minimizer.step

    def spy(self: Minimizer, *closures: Any) -> Tensor:
        rates.append(self.optimizer.param_groups[0]["lr"])
        return step(self, *closures)

    monkeypatch.setattr(Minimizer, "step", spy)
    wanted = config(epochs=1, collect=LGV, storage=storage, learning_rate=0.02, decay_at=())
    recipe = train(wanted, stripes, TRAIN, TEST, tmp_path)
    assert rates == [0.02] * 4 + [0.05] * 8
    assert len(recipe["curve"]) == 3
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "config.json",
        "model.safetensors",
        "recipe.json",
        "samples",
    ]
    assert recipe["samples"] == {name: sha256(tmp_path / name) for name in NAMES}
    assert len(set(recipe["samples"].values())) == 8
    samples = []
    for name in NAMES:
        alone = tmp_path / "alone" / name[-16:-12]
        alone.mkdir(parents=True)
        shutil.copy(tmp_path / "config.json", alone)
        shutil.copy(tmp_path / name, alone / "model.safetensors")
        model = load_checkpoint(alone, stripes)
        assert len(predict(model, TEST.images)) == 97
        samples.append([p.detach().double() for p in model.model.parameters()])
    kind = torch.float16 if storage == "fp16" else torch.float32
    assert {t.dtype for t in load_file(tmp_path / NAMES[0]).values()} == {kind, torch.int64}
    mean = load_checkpoint(tmp_path, stripes)
    tolerance = 2e-3 if storage == "fp16" else 1e-5
    for stored, *weights in zip(mean.model.parameters(), *samples, strict=True):
        torch.testing.assert_close(
            stored.double(), torch.stack(weights).mean(0), rtol=tolerance, atol=tolerance
        )
    if storage == "fp32":
        _statistics_are_those_of_the_weights(mean, Memory(TRAIN, stripes, wanted))


def _statistics_are_those_of_the_weights(classifier: Classifier, feed: Memory) -> None:
    first = next(m for m in classifier.modules() if isinstance(m, nn.BatchNorm2d))
    assert first.running_mean is not None
    stored, inputs = first.running_mean.clone(), []
    handle = first.register_forward_pre_hook(lambda module, given: inputs.append(given[0].mean((0, 2, 3))))
    with torch.no_grad():
        for images, _ in feed.epoch(seed_of(0, "statistics"), 0, 1):
            classifier(images)
    handle.remove()
    torch.testing.assert_close(stored, torch.stack(inputs).mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stop", [2, 6, 7, 11])
def test_a_collection_goes_on_where_it_was(tmp_path: Path, stripes: DatasetSpec, stop: int) -> None:
    wanted = config(epochs=1, collect=LGV)
    whole = train(wanted, stripes, TRAIN, None, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(wanted, stripes, TRAIN, None, tmp_path / "cut", on_progress=stop_at(stop))
    again = train(wanted, stripes, TRAIN, None, tmp_path / "cut")
    assert again["samples"] == whole["samples"]
    assert again["weights_sha256"] == whole["weights_sha256"]
    assert again == json.loads((tmp_path / "cut" / "recipe.json").read_text())
    assert train(wanted, stripes, TRAIN, None, tmp_path / "cut") == again


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"collect": "lgv:per_epoch=5"}, "collected that often: expected per_epoch of at most 4, .* got 5"),
        ({"minimizer": "swa:per_epoch=5"}, "collected that often: expected per_epoch of at most 4"),
        ({"minimizer": "swa:start=0.9"}, r"no weights would be averaged: expected a start of at most 0\.75"),
        ({"minimizer": "swa", "collect": "lgv"}, "averaged and collected at once"),
        ({"micro_batch": 5}, r"the batch cannot be shared out evenly: .*5 divide, got 16 images"),
        ({"micro_batch": 32}, "the batch cannot be shared out evenly"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, stripes: DatasetSpec, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        train(config(epochs=1, **changes), stripes, TRAIN, None, tmp_path / "run")
    assert not (tmp_path / "run").exists()
