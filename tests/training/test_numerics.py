"""What a step computes: the loss, clipping, micro-batches and precision, against steps made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from helpers.stripes import config, draw
from transferzoo.base.atomic import sha256
from transferzoo.base.distributed import Team
from transferzoo.models import build
from transferzoo.models.classifier import Classifier
from transferzoo.training.feeds import Memory
from transferzoo.training.loop import Loop, seed_of
from transferzoo.training.trainer import train

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.base.train_config import TrainConfig
    from transferzoo.zoo.schema import DatasetSpec

pytestmark = pytest.mark.usefixtures("one_thread")

TRAIN, TEST = draw(64, 0), draw(97, 1)


def digest(folder: Path) -> str:
    return sha256(folder / "model.safetensors")


def trained(stripes: DatasetSpec, **changes: Any) -> tuple[Loop, Classifier]:
    """Return a loop and its classifier after some steps on the first epoch, without any file."""
    wanted = config(epochs=1, augment="none", **changes)
    loop, classifier = fresh(stripes, wanted)
    loop.epoch(0, lambda at: None, lambda number: None)
    return loop, classifier


def fresh(stripes: DatasetSpec, wanted: TrainConfig) -> tuple[Loop, Classifier]:
    torch.manual_seed(0)
    model, _ = build.create(wanted.architecture, stripes)
    classifier = Classifier(model, size=None, channels=1, mean=stripes.mean, std=stripes.std)
    return Loop(
        wanted, classifier, Memory(TRAIN, stripes, wanted), Team(device=torch.device("cpu"))
    ), classifier


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_four_steps_by_hand(stripes: DatasetSpec, smoothing: float, clip: float) -> None:
    """In float64: torch's own SGD on torch's own loss, smoothed over the classes and clipped."""
    changes: dict[str, Any] = {"label_smoothing": smoothing, "clip": clip, "precision": "fp64"}
    _, found = trained(stripes, **changes)
    wanted = config(epochs=1, augment="none", **changes)
    _, other = fresh(stripes, wanted)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    rates = [0.1, 0.1, 0.01, 0.001]
    for number, (images, labels) in enumerate(
        Memory(TRAIN, stripes, wanted).epoch(seed_of(0, "epoch 0"), 0, 1)
    ):
        optimizer.param_groups[0]["lr"] = rates[number]
        optimizer.zero_grad()
        logits = other(images.double())
        every = functional.one_hot(labels, 3).double() * (1 - smoothing) + smoothing / 3
        (-(every * logits.log_softmax(1)).sum(1).mean()).backward()
        if clip:
            square = sum(float(p.grad.square().sum()) for p in other.parameters() if p.grad is not None)
            for parameter in other.parameters():
                assert parameter.grad is not None
                parameter.grad *= min(1.0, clip / (square**0.5 + 1e-6))
        optimizer.step()
    for one, two in zip(found.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)


def test_micro_batches_make_the_perturbation(stripes: DatasetSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two passes for each micro-batch of 4, and the radius is about its own gradient; or one for all."""
    sizes: list[int] = []
    forward = Classifier.forward

    def spy(self: Classifier, images: Tensor) -> Tensor:
        sizes.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(Classifier, "forward", spy)
    weights = {}
    for size, synced in ((0, False), (4, False), (4, True), (16, False)):
        del sizes[:]
        loop, classifier = trained(
            stripes, minimizer="sam:rho=0.3", micro_batch=size, sync_perturbation=synced
        )
        assert sizes == [size or 16] * (4 * 2 * 16 // (size or 16))
        assert loop.together == ({"m": 4} if size == 4 and not synced else {})
        weights[size, synced] = [p.detach().clone() for p in classifier.parameters()]

    def equal(one: tuple[int, bool], two: tuple[int, bool]) -> bool:
        return all(torch.equal(a, b) for a, b in zip(weights[one], weights[two], strict=True))

    assert equal((0, False), (16, False))
    assert not equal((0, False), (4, False))
    assert not equal((4, True), (4, False))


@pytest.mark.parametrize(
    ("changes", "kind"),
    [({"precision": "fp64"}, torch.float64), ({"precision": "bf16"}, torch.bfloat16), ({}, torch.float32)],
)
def test_precision(
    tmp_path: Path,
    stripes: DatasetSpec,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    kind: torch.dtype,
) -> None:
    """What the model computes in; weights are stored as float32 in any case."""
    kinds: set[torch.dtype] = set()
    forward = Classifier.forward

    def spy(self: Classifier, images: Tensor) -> Tensor:
        logits = forward(self, images)
        if self.model.training:
            kinds.add(logits.dtype)
        return logits

    monkeypatch.setattr(Classifier, "forward", spy)
    wanted = config(epochs=1, validation=16, adversarial="l2:0.1", save_every="epoch", **changes)
    train(wanted, stripes, TRAIN, TEST, tmp_path)
    assert kinds == {kind}
    stored = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32, torch.int64}


def test_compile_compiles_the_model(
    tmp_path: Path, stripes: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a compiler that changes nothing: called once, and never without the option."""
    compiled: list[object] = []

    def compiler(function: Any, **_: Any) -> Any:
        compiled.append(function)
        return function

    monkeypatch.setattr(torch, "compile", compiler)
    for name, wanted in (("plain", config(epochs=1)), ("compiled", config(epochs=1, compile=True))):
        train(wanted, stripes, TRAIN, None, tmp_path / name)
        assert len(compiled) == (name == "compiled")
    assert digest(tmp_path / "plain") == digest(tmp_path / "compiled")
