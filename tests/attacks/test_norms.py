"""The balls: projections, and stored bytes that keep box and budget."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from transferzoo.attacks.norms import NORMS

LINF = [
    Fraction(16, 255),
    Fraction(4, 255),
    Fraction(1, 255),
    Fraction(1, 510),
    Fraction(33, 510),
    Fraction(1),
]
L2 = [Fraction(1, 2), Fraction(3, 255), Fraction(1, 510), Fraction(3), Fraction("0.123")]
CASES = [("linf", epsilon) for epsilon in LINF] + [("l2", epsilon) for epsilon in L2]


def _perturbed(norm: str, epsilon: Fraction, dtype: torch.dtype, seed: int) -> tuple[Tensor, Tensor]:
    """Return images on the border of the ball and the box, and the clean ones."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randint(-60, 316, (40, 3, 9, 7), generator=generator).clamp(0, 255).to(torch.uint8)
    pixels = clean.to(dtype) / 255
    scale = torch.rand(40, 1, 1, 1, generator=generator) * 3
    sparse = torch.rand(clean.shape, generator=generator) < torch.rand(40, 1, 1, 1, generator=generator)
    delta = (torch.randn(clean.shape, generator=generator) * scale * sparse).to(dtype) * float(epsilon)
    delta = NORMS[norm].project(delta, float(epsilon)).clamp(-pixels, 1 - pixels)
    return pixels + delta, clean


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("norm", "epsilon"), CASES)
def test_bytes_keep_the_budget(norm: str, epsilon: Fraction, dtype: torch.dtype) -> None:
    for seed in range(5):
        perturbed, clean = _perturbed(norm, epsilon, dtype, seed)
        stored = NORMS[norm].quantise(perturbed, clean, epsilon)
        change = stored.long() - clean.long()
        assert stored.dtype == torch.uint8
        if norm == "linf":
            assert change.abs().max().item() <= 255 * epsilon
        else:
            assert change.square().sum((1, 2, 3)).max().item() <= (255 * epsilon) ** 2
        assert (NORMS[norm].distance(stored, clean) <= float(epsilon)).all()
        if epsilon < Fraction(1, 255):
            assert torch.equal(stored, clean)


@pytest.mark.parametrize("level", [*range(0, 256, 15), 255])
def test_sixteen_levels_stay_sixteen(level: int) -> None:
    clean = torch.full((1, 1, 1, 2), level, dtype=torch.uint8)
    wanted = clean.long() + torch.tensor([16, -16])
    perturbed = (clean / 255 + torch.tensor([16 / 255, -16 / 255])).clamp(0, 1)
    stored = NORMS["linf"].quantise(perturbed, clean, Fraction(16, 255))
    assert torch.equal(stored.long(), wanted.clamp(0, 255))


def test_linf_takes_the_nearest_level_inside() -> None:
    clean = torch.full((1, 1, 1, 5), 100, dtype=torch.uint8)
    perturbed = (100 + torch.tensor([0.4, 0.6, -1.4, 2.5, -2.5], dtype=torch.float64).view(1, 1, 1, 5)) / 255
    stored = NORMS["linf"].quantise(perturbed, clean, Fraction(5, 510))
    assert (stored.long() - 100).flatten().tolist() == [0, 1, -1, 2, -2]


def _literal_l2(perturbed: Tensor, clean: Tensor, epsilon: Fraction) -> list[int]:
    """Round one image, then take back one outward rounding after the other, the largest first."""
    wanted = (perturbed * 255 - clean).flatten().tolist()
    change = [round(value) for value in wanted]
    for i in sorted(range(len(wanted)), key=lambda i: abs(wanted[i]) - abs(change[i])):
        if sum(level**2 for level in change) <= (255 * epsilon) ** 2:
            break
        change[i] -= int(math.copysign(1, change[i]))
    return change


@pytest.mark.parametrize("epsilon", [Fraction(1, 10), Fraction(7, 255)])
def test_l2_takes_back_the_fewest_roundings(epsilon: Fraction) -> None:
    perturbed, clean = _perturbed("l2", epsilon, torch.float64, seed=3)
    stored = NORMS["l2"].quantise(perturbed, clean, epsilon)
    plain = (perturbed * 255).round().long() - clean.long()
    assert (plain.square().sum((1, 2, 3)).double() > (255 * float(epsilon)) ** 2).any()
    for image, before, found in zip(perturbed, clean, stored, strict=True):
        assert (found.long() - before.long()).flatten().tolist() == _literal_l2(image, before, epsilon)


@pytest.mark.parametrize("norm", NORMS)
def test_projection_is_idempotent_and_leaves_the_inside_alone(norm: str) -> None:
    delta = torch.randn(20, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    project = NORMS[norm].project
    once = project(delta, 2.0)
    torch.testing.assert_close(project(once, 2.0), once, rtol=1e-15, atol=0)
    assert torch.equal(project(delta, 100.0), delta)
    assert torch.equal(project(torch.zeros(1, 1, 2, 2), 0.5), torch.zeros(1, 1, 2, 2))


def test_directions() -> None:
    gradient = torch.tensor([[3.0, -4.0], [0.0, 0.0], [3e-30, -4e-30]]).view(3, 1, 1, 2)
    assert NORMS["linf"].direction(gradient).flatten().tolist() == [1, -1, 0, 0, 1, -1]
    torch.testing.assert_close(
        NORMS["l2"].direction(gradient).flatten(), torch.tensor([0.6, -0.8, 0, 0, 0.6, -0.8])
    )


def test_distance_is_exact() -> None:
    clean = torch.zeros(1, 3, 224, 224, dtype=torch.uint8)
    assert NORMS["l2"].distance(clean + 255, clean).item() == math.sqrt(3 * 224 * 224 * 255**2) / 255
    assert NORMS["linf"].distance(clean + 16, clean).item() == 16 / 255
