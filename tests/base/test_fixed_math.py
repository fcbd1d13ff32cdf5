"""The arithmetic of a GPU is fixed around the work and put back; its keys have it, those of a CPU do not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from helpers.attacks import craft, make_attack, random_images
from transferzoo.attacks import engine
from transferzoo.base import environment as module
from transferzoo.base.environment import ARITHMETIC, environment
from transferzoo.base.fixed_math import WORKSPACE, fixed_math
from transferzoo.models import optimize, predict
from transferzoo.models.classifier import Classifier

if TYPE_CHECKING:
    from collections.abc import Iterator

GPU = torch.device("cuda")
FIXED = (False, "highest", False, 1)


def state() -> tuple[bool, str, bool, int]:
    return (
        torch.backends.cudnn.allow_tf32,
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.benchmark,
        torch.get_deterministic_debug_mode(),
    )


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(WORKSPACE, raising=False)
    before = state()
    yield
    os.environ.pop(WORKSPACE, None)
    torch.backends.cudnn.allow_tf32, precision, torch.backends.cudnn.benchmark, mode = before
    torch.set_float32_matmul_precision(precision)
    torch.set_deterministic_debug_mode(mode)


@pytest.mark.parametrize(
    "own", [(True, "highest", False, 0), (True, "medium", True, 1), (False, "high", True, 2)]
)
def test_settings_hold_inside_and_are_put_back(own: tuple[bool, str, bool, int]) -> None:
    torch.backends.cudnn.allow_tf32, _, torch.backends.cudnn.benchmark, _ = own
    torch.set_float32_matmul_precision(own[1])
    torch.set_deterministic_debug_mode(own[3])
    strict = 2 if own[3] == 2 else 1  # who refuses other algorithms goes on refusing them
    with fixed_math(torch.device("cpu")):
        assert state() == own
        assert WORKSPACE not in os.environ
    with pytest.raises(KeyError), fixed_math(GPU):
        assert state() == (*FIXED[:3], strict)
        assert os.environ[WORKSPACE] == ":4096:8"
        with fixed_math(GPU):
            pass
        assert state() == (*FIXED[:3], strict)
        raise KeyError
    assert state() == own


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="only newer PyTorch has the names")
def test_settings_by_newer_names_are_put_back() -> None:
    """PyTorch reads no older name then, and raises."""
    backends: Any = torch.backends
    cudnn, cuda = backends.cudnn, backends.cuda
    before = cudnn.conv.fp32_precision, cuda.matmul.fp32_precision
    try:
        cudnn.conv.fp32_precision, cuda.matmul.fp32_precision = "ieee", "tf32"
        with pytest.raises(RuntimeError):
            state()
        with fixed_math(GPU):
            assert state()[:3] == FIXED[:3]
        assert (cudnn.conv.fp32_precision, cuda.matmul.fp32_precision) == ("ieee", "tf32")
    finally:
        cudnn.conv.fp32_precision, cuda.matmul.fp32_precision = before


class Watched(nn.Module):
    """Notes PyTorch's settings at every pass, and fails at the second where it shall."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 10, dtype=torch.float64)
        self.seen: list[tuple[bool, str, bool, int]] = []
        self.fails = fails

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(state())
        if self.fails and len(self.seen) == 2:
            raise KeyError
        scores: torch.Tensor = self.layer(images.flatten(1))
        return scores


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for user in (engine, optimize, predict):
        monkeypatch.setattr(user, "fixed_math", lambda _: fixed_math(GPU))


@pytest.mark.usefixtures("as_on_a_gpu")
def test_crafting_and_predicting_are_fixed() -> None:
    before, model, batch = state(), Watched(), random_images(2, 1, 2)
    assert before != FIXED
    craft(make_attack("mi", steps=2), model, batch)
    assert model.seen == [FIXED] * 2
    predict.predict(model, batch.images)
    predict.logits_of(model, batch.images)
    assert model.seen == [FIXED] * 4
    assert state() == before
    failing = Watched(fails=True)
    with pytest.raises(KeyError):
        craft(make_attack("mi", steps=2), failing, batch)
    assert failing.seen == [FIXED] * 2
    assert state() == before


@pytest.mark.usefixtures("as_on_a_gpu")
def test_folds_are_compared_in_fixed_math() -> None:
    model = Watched()
    optimize.folded(
        Classifier(model, channels=1).double().eval(), torch.rand(1, 1, 2, 2, dtype=torch.float64)
    )
    assert model.seen == [FIXED]


def test_keys_of_a_gpu_have_its_math(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = (ARITHMETIC, "cpu", "highest")
    monkeypatch.setattr(module, "this_device", lambda: torch.device("cpu"))
    assert environment() == environment(fixed=True) == cpu, "keys of finished work on a CPU"
    monkeypatch.setattr(module, "this_device", lambda: GPU)
    torch.backends.cudnn.allow_tf32 = True
    rounding, fixed = environment(), environment(fixed=True)
    torch.backends.cudnn.allow_tf32 = False
    assert len({cpu, rounding, fixed, environment()}) == 4
    assert environment(fixed=True) == fixed
