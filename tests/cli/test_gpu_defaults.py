"""What `attack` does by itself on a GPU, and when it offers bfloat16."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from helpers.stripes import draw
from transferzoo.base import distributed
from transferzoo.cli import attack_job
from transferzoo.cli.attack_request import AttackRequest
from transferzoo.evaluation import crafting
from transferzoo.models import load, optimize

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    "device, said, fits",
    [(CPU, None, False), (GPU, None, True), (CPU, "auto", True), (GPU, "50", False), (GPU, "auto", True)],
)
def test_memory_says_how_many_images_on_a_gpu(
    device: torch.device, said: str | None, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "this_device", lambda: device)
    assert attack_job.fits_batches(AttackRequest(batch_size=said)) is fits


@pytest.mark.parametrize("device, as_is, last", [(CPU, False, False), (GPU, False, True), (GPU, True, False)])
def test_models_have_channels_last_on_a_gpu(
    device: torch.device, as_is: bool, last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = torch.nn.Conv2d(3, 4, 3)
    move = model.to
    monkeypatch.setattr(model, "to", lambda *to, **how: model if to else move(**how))  # there is no GPU here
    monkeypatch.setattr(load, "load_classifier", lambda *_: model)
    spec: Any = SimpleNamespace(source=SimpleNamespace(as_is=as_is))
    load.load_on(device, spec, spec)
    assert model.weight.is_contiguous(memory_format=torch.channels_last) is last


class Surrogate(torch.nn.Module):
    """A surrogate, with `--precision bf16` if it is rounded."""

    def __init__(self, *, rounded: bool) -> None:
        super().__init__()
        self.rounded, self.mean = rounded, torch.zeros(1)


@pytest.mark.parametrize(
    "device, able, exact, rounded, images, offered",
    [
        (GPU, True, 0.2, 0.1, 40, "2.0"),
        (GPU, True, 0.2, 0.1, 20, None),
        (GPU, True, 0.2, 0.19, 400, None),
        (GPU, False, 0.2, 0.1, 40, None),
        (CPU, True, 0.2, 0.1, 40, None),
    ],
    ids=["long", "short", "no faster", "without it", "on a CPU"],
)
def test_bf16_is_offered_where_it_saves_time(
    device: torch.device,
    able: bool,
    exact: float,
    rounded: float,
    images: int,
    offered: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of an attack of ten gradients an image; nothing is timed where the processor lacks it."""
    timed: list[bool] = []

    def seconds(model: Surrogate, _: torch.Tensor) -> float:
        timed.append(model.rounded)
        return rounded if model.rounded else exact

    task = SimpleNamespace(
        models=[SimpleNamespace(name="mine", source=SimpleNamespace(as_is=False))], cost=10
    )
    config = SimpleNamespace(images=1000, batch_size=100)
    job: Any = SimpleNamespace(config=config, crafting_tasks=[task], data=draw(images, 0))
    monkeypatch.setattr(distributed, "this_device", lambda: device)
    monkeypatch.setattr(crafting, "load_surrogates", lambda *_: [Surrogate(rounded=False)])
    monkeypatch.setattr(optimize, "best_precision", lambda _: "bf16" if able else "fp32")
    monkeypatch.setattr(optimize, "gradient_seconds", seconds)
    monkeypatch.setattr(optimize, "optimize", lambda *_, **__: Surrogate(rounded=True))
    found = attack_job.gain_of_bf16(job)
    if offered is None:
        assert found is None
    else:
        assert f"a gradient of mine is {offered} times as fast here" in str(found)
    assert bool(timed) is (able and device == GPU)
