"""Schedules against closed forms, and what the trainer makes of them at every step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from helpers.stripes import config, draw, stop_at
from transferzoo.base.atomic import sha256
from transferzoo.training.schedules import learning_rate, rho_factor
from transferzoo.training.trainer import train

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.zoo.schema import DatasetSpec

pytestmark = pytest.mark.usefixtures("one_thread")

TRAIN = draw(160, 0)
STEPS = 120
RISE = {n: [0.001] + [0.1 * step / n for step in range(1, n)] for n in (30, 60)}
"""Warm-up over n steps; it starts at a hundredth of the rate, not at zero."""


def rates(**changes: Any) -> list[float]:
    return [learning_rate(config(**changes), step / STEPS) for step in range(STEPS)]


def radii(**changes: Any) -> list[float]:
    return [rho_factor(config(**changes), step / STEPS) for step in range(STEPS)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0.1] * 40 + [0.01] * 40 + [0.001] * 40),
        ({"decay_at": (0.25, 0.5), "decay": 0.5}, [0.1] * 30 + [0.05] * 30 + [0.025] * 60),
        ({"decay_at": ()}, [0.1] * 120),
        ({"schedule": "constant", "learning_rate": 0.3}, [0.3] * 120),
        ({"schedule": "linear"}, [0.1 * (120 - step) / 120 for step in range(120)]),
        ({"schedule": "cosine"}, [0.1 * math.cos(math.pi * step / 240) ** 2 for step in range(120)]),
        ({"warmup": 0.25}, RISE[30] + [0.1] * 10 + [0.01] * 40 + [0.001] * 40),
        (
            {"schedule": "linear", "warmup": 0.5},
            RISE[60] + [0.1 * (60 - step) / 60 for step in range(60)],
        ),
        (
            {"schedule": "cosine", "warmup": 0.5},
            RISE[60] + [0.1 * math.cos(math.pi * step / 120) ** 2 for step in range(60)],
        ),
        ({"schedule": "constant", "warmup": 0.5}, RISE[60] + [0.1] * 60),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_learning_rate(changes: dict[str, Any], expected: list[float]) -> None:
    assert rates(**changes) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_learning_rate_is_torchs(kind: str) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler: torch.optim.lr_scheduler.LRScheduler = (
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        if kind == "cosine"
        else torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, STEPS)
    )
    expected = []
    for _ in range(STEPS):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates(schedule=kind) == pytest.approx(expected, rel=1e-6)


def test_radius_is_constant_by_default() -> None:
    assert radii() == radii(rho_floor=0.4) == radii(schedule="cosine", warmup=0.2) == [1.0] * STEPS


def test_radius_warms_up() -> None:
    assert radii(rho_warmup=0.5) == pytest.approx([min(1.0, step / 60) for step in range(STEPS)])
    floored = [0.25 + 0.75 * min(1.0, step / 60) for step in range(STEPS)]
    assert radii(rho_warmup=0.5, rho_floor=0.25) == pytest.approx(floored)


@pytest.mark.parametrize("changes", [{"schedule": "linear"}, {"schedule": "cosine", "warmup": 0.25}, {}])
def test_radius_follows_the_rate_as_in_gsam(changes: dict[str, Any]) -> None:
    """GSAM's: ρ_t = ρ_min + (ρ_max − ρ_min)(η_t − η_min) / (η_max − η_min); here 0.1 and 0.4 of ρ."""
    largest, smallest = 0.4, 0.1
    lowest = 0.001 if not changes else 0.0
    expected = [
        smallest + (largest - smallest) * (rate - lowest) / (0.1 - lowest) for rate in rates(**changes)
    ]
    found = radii(rho_schedule="rate", rho_floor=smallest / largest, **changes)
    assert [largest * factor for factor in found] == pytest.approx(expected, abs=1e-9)
    assert len(set(found)) > 2
    assert max(found) == pytest.approx(1.0)


def test_radius_that_follows_a_constant_rate_is_constant() -> None:
    assert radii(rho_schedule="rate", schedule="constant") == [1.0] * STEPS


def test_radius_that_falls_late_as_in_le_sam() -> None:
    """Up over a twentieth, constant, and by half a cosine to nothing over the last fifth."""
    found = radii(rho_schedule="late", rho_warmup=0.05)
    up, down = STEPS // 20, STEPS * 4 // 5
    assert found[:up] == pytest.approx([step / up for step in range(up)])
    assert found[up : down + 1] == [1.0] * (down + 1 - up)
    falling = [(1 + math.cos(math.pi * step / (STEPS - down))) / 2 for step in range(STEPS - down)]
    assert found[down:] == pytest.approx(falling, abs=1e-9)


SCHEDULED = {
    "schedule": "cosine",
    "warmup": 0.2,
    "rho_schedule": "rate",
    "rho_warmup": 0.4,
    "rho_floor": 0.3,
    "minimizer": "sam",
}


@pytest.mark.parametrize("changes", [SCHEDULED, SCHEDULED | {"minimizer": "sam:base=adamw"}, {"decay": 0.5}])
def test_the_trainer_follows_the_schedules(
    tmp_path: Path, stripes: DatasetSpec, walked: list[tuple[float, float]], changes: dict[str, Any]
) -> None:
    """Twenty steps in two epochs, each at its own fraction of the training, also across an interruption."""
    wanted = config(epochs=2, learning_rate=0.01, **changes)
    train(wanted, stripes, TRAIN, None, tmp_path / "whole")
    fractions = [step / 20 for step in range(20)]
    expected = [(learning_rate(wanted, at), rho_factor(wanted, at)) for at in fractions]
    assert walked == expected
    assert len({rate for rate, _ in expected}) > 2
    with pytest.raises(KeyboardInterrupt):
        train(wanted, stripes, TRAIN, None, tmp_path / "again", on_progress=stop_at(13))
    del walked[:]
    train(wanted, stripes, TRAIN, None, tmp_path / "again")
    assert walked == expected[10:]


def test_the_radius_reaches_the_weights(tmp_path: Path, stripes: DatasetSpec) -> None:
    """A floor of one undoes any schedule of the radius; another floor does not."""
    one, full, half = (
        config(epochs=1, minimizer="sam:rho=0.2", rho_schedule=kind, rho_floor=floor)
        for kind, floor in (("constant", 0.0), ("rate", 1.0), ("rate", 0.5))
    )
    prints = []
    for number, wanted in enumerate((one, full, half)):
        train(wanted, stripes, TRAIN, None, tmp_path / str(number))
        prints.append(sha256(tmp_path / str(number) / "model.safetensors"))
    assert prints[0] == prints[1] != prints[2]
