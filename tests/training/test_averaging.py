"""Averaged weights (SWA, WASAM): when they are taken, what is stored, and how a resume goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from helpers.stripes import config, draw, stop_at
from transferzoo.base.atomic import sha256
from transferzoo.minimizers import Minimizer
from transferzoo.models.classifier import load_checkpoint
from transferzoo.models.predict import predict
from transferzoo.training.feeds import Memory
from transferzoo.training.loop import seed_of
from transferzoo.training.schedules import learning_rate
from transferzoo.training.trainer import train

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.zoo.schema import DatasetSpec

pytestmark = pytest.mark.usefixtures("one_thread")

TEST = draw(97, 1)


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, list[Tensor]]]:
    """Return the steps after which weights were collected, with these weights."""
    seen: list[tuple[int, list[Tensor]]] = []
    collect = Minimizer.collect

    def spy(self: Minimizer) -> None:
        seen.append((self.steps, [p.detach().double() for p in self.model.parameters()]))
        collect(self)

    monkeypatch.setattr(Minimizer, "collect", spy)
    return seen


@pytest.mark.parametrize(
    ("minimizer", "steps"),
    [
        ("swa:start=0.5,rate=0.02", [30, 40]),
        ("swa:start=0,per_epoch=2", [5, 10, 15, 20, 25, 30, 35, 40]),
        ("wasam:start=0.6,per_epoch=3", [27, 30, 34, 37, 40]),
        ("wasam:rho=0.1,start=0.75,per_epoch=10,base=adamw", list(range(31, 41))),
    ],
)
def test_averaging(
    tmp_path: Path,
    stripes: DatasetSpec,
    walked: list[tuple[float, float]],
    collected: list[tuple[int, list[Tensor]]],
    minimizer: str,
    steps: list[int],
) -> None:
    """Weights are taken when they should be; what is stored is their mean, with its own statistics."""
    wanted = config(epochs=4, minimizer=minimizer, learning_rate=0.05, validation=32, save_every="epoch")
    recipe = train(wanted, stripes, draw(192, 0), TEST, tmp_path)
    assert [step for step, _ in collected] == steps
    start, rate = (20, 0.02) if "rate" in minimizer else (40, 0.0)
    plain = [learning_rate(wanted, step / 40) for step in range(40)]
    assert [rate for rate, _ in walked] == plain[:start] + [rate] * (40 - start)
    feed = Memory(draw(192, 0), stripes, wanted)
    assert feed.held is not None
    for epoch in range(1, 5):
        folder = tmp_path / "epochs" / f"{epoch:04d}"
        classifier = load_checkpoint(folder, stripes)
        taken = [weights for step, weights in collected if step <= 10 * epoch]
        if taken:
            for stored, *weights in zip(classifier.model.parameters(), *taken, strict=True):
                torch.testing.assert_close(
                    stored.double(), torch.stack(weights).mean(0), rtol=1e-5, atol=1e-6
                )
            _check_statistics(classifier, feed)
        right = float((predict(classifier, feed.held.images) == feed.held.labels).float().mean())
        assert recipe["curve"][epoch - 1]["validation_accuracy"] == pytest.approx(right, abs=1e-6)
    assert recipe["validation"]["accuracy"] == pytest.approx(right, abs=1e-6)
    last = tmp_path / "epochs" / "0004" / "model.safetensors"
    assert last.read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def _check_statistics(classifier: nn.Module, feed: Memory) -> None:
    """Check every running average against the mean over batches of what reaches the layer."""
    layers = [m for m in classifier.modules() if isinstance(m, nn.BatchNorm2d)]
    assert layers
    stored = [(m.running_mean.clone(), m.running_var.clone()) for m in layers]  # type: ignore[union-attr]
    moments: dict[int, list[tuple[Tensor, Tensor]]] = {index: [] for index in range(len(layers))}

    def hook(index: int) -> Any:
        def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].transpose(0, 1).flatten(1)
            moments[index].append((x.mean(1), x.var(1)))

        return note

    handles = [layer.register_forward_pre_hook(hook(index)) for index, layer in enumerate(layers)]
    classifier.train()
    with torch.no_grad():
        for images, _ in feed.epoch(seed_of(0, "statistics"), 0, 1):
            classifier(images)
    classifier.eval()
    for handle in handles:
        handle.remove()
    for index, (layer, (mean, var)) in enumerate(zip(layers, stored, strict=True)):
        assert len(moments[index]) == feed.count // 16
        means, variances = (torch.stack(parts).mean(0) for parts in zip(*moments[index], strict=True))
        torch.testing.assert_close(mean, means, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(var, variances, rtol=1e-3, atol=1e-5)
        layer.running_mean, layer.running_var = mean, var


def test_resume_in_the_middle_of_averaging(
    tmp_path: Path, stripes: DatasetSpec, collected: list[tuple[int, list[Tensor]]]
) -> None:
    wanted = config(epochs=4, minimizer="wasam:start=0.4,per_epoch=2", validation=32)
    train(wanted, stripes, draw(192, 0), TEST, tmp_path / "whole")
    assert len(collected) == 5
    del collected[:]
    with pytest.raises(KeyboardInterrupt):
        train(wanted, stripes, draw(192, 0), TEST, tmp_path / "cut", on_progress=stop_at(37))
    assert [step for step, _ in collected] == [20, 25, 30, 35]
    assert torch.load(tmp_path / "cut" / "resume.pt", weights_only=True)["minimizer"]["averaged"] == 3
    train(wanted, stripes, draw(192, 0), TEST, tmp_path / "cut")
    assert sha256(tmp_path / "cut" / "model.safetensors") == sha256(tmp_path / "whole" / "model.safetensors")


def test_averaging_leaves_the_training_alone(
    tmp_path: Path, stripes: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measuring the mean after each epoch changes neither weights, statistics nor the order of images."""
    seen: list[bytes] = []
    step = Minimizer.step

    def spy(self: Minimizer, *closures: Any) -> Tensor:
        seen.extend(tensor.detach().numpy().tobytes() for tensor in self.model.state_dict().values())
        return step(self, *closures)

    monkeypatch.setattr(Minimizer, "step", spy)
    for minimizer in ("swa:start=0", "sgd"):
        wanted = config(epochs=3, minimizer=minimizer, validation=32, select="accuracy")
        train(wanted, stripes, draw(192, 0), None, tmp_path / minimizer)
    half = len(seen) // 2
    assert len(set(seen)) > 100
    assert seen[:half] == seen[half:]
