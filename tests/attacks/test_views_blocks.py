"""Views of blocks and warps against literal loops over one image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy.fft import dct
from scipy.interpolate import RBFInterpolator
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import rotate

from helpers.attacks import blank_unit
from helpers.views import chained, gradient, noise_images, objective, uniform
from transferzoo.attacks.engine import seeded
from transferzoo.attacks.techniques.views_blocks import BlockShuffle
from transferzoo.attacks.techniques.views_structure import Change, StructureInvariance
from transferzoo.attacks.techniques.views_warp import DeformationWarp

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPES = [(3, 8, 8), (1, 13, 20), (2, 30, 11)]


def compare(
    found: Tensor, images: Tensor, copies: int, draw: Callable[[torch.Generator], Callable[[Tensor], Tensor]]
) -> None:
    """Compare directions with the gradients through views that `draw` makes of an image's generator."""
    generators = seeded(0, "test", range(len(images)))
    for image, generator, direction in zip(images, generators, found, strict=True):
        wanted = chained(image, [draw(generator) for _ in range(copies)])
        torch.testing.assert_close(direction, wanted, rtol=0, atol=1e-10)


# ---------------------------------------------------------------- structure invariance


def without_high_frequencies(block: Tensor) -> Tensor:
    for axis in (1, 2):
        side = block.shape[axis]
        waves = torch.from_numpy(dct(np.eye(side), axis=0, norm="ortho"))
        spectrum = torch.tensordot(waves, block, dims=([1], [axis])).clone()
        spectrum[side - int(0.4 * side) :] = 0
        block = torch.tensordot(waves.T, spectrum, dims=([1], [0])).movedim(0, axis)
    return block


def changed(block: Tensor, change: int, amount: float, noise: Tensor, kept: Tensor) -> Tensor:
    height, width = sides = block.shape[1:]
    smaller = [int(0.8 * side) + 1 for side in sides]
    shrunk = interpolate(block[None], smaller, mode="bilinear")
    results = {
        "SHIFT_DOWN": block.roll(int(amount * height), 1),
        "SHIFT_ALONG": block.roll(int(amount * width), 2),
        "FLIP_DOWN": block.flip(1),
        "FLIP_ALONG": block.flip(2),
        "TURN": block.rot90(2, (1, 2)),
        "SCALE": amount * block,
        "NOISE": (block + noise).clamp(0, 1),
        "RESIZE": interpolate(shrunk, list(sides), mode="bilinear")[0],
        "LOW_PASS": without_high_frequencies(block),
        "DROP": torch.stack(
            [plane / 0.9 if u >= 0.1 else 0 * plane for plane, u in zip(block, kept, strict=True)]
        ),
    }
    return results[Change(change).name]


def drawn_structure(
    generator: torch.Generator, shape: tuple[int, ...], splits: int, seen: list[int]
) -> Callable[[Tensor], Tensor]:
    channels, *sides = shape
    cuts = []
    for side in sides:
        keys = uniform(generator, side - 1).tolist()
        cuts.append([0, *sorted(sorted(range(1, side), key=lambda i: keys[i - 1])[: splits - 1]), side])
    changes = [int(10 * u) for u in uniform(generator, splits**2)]
    amounts = uniform(generator, splits**2).tolist()
    noise = 0.1 * (2 * uniform(generator, *shape) - 1)
    kept = uniform(generator, channels, splits**2)
    seen += changes

    def view(image: Tensor) -> Tensor:
        result = image.clone()
        for i in range(len(cuts[0]) - 1):
            for j in range(len(cuts[1]) - 1):
                rows, columns = slice(*cuts[0][i : i + 2]), slice(*cuts[1][j : j + 2])
                k = i * splits + j
                result[:, rows, columns] = changed(
                    image[:, rows, columns], changes[k], amounts[k], noise[:, rows, columns], kept[:, k]
                )
        return result

    return view


@pytest.mark.parametrize("shape", [*SHAPES, (1, 2, 5)])
@pytest.mark.parametrize("splits", [3, 1])
def test_sia_is_the_literal_loop(shape: tuple[int, ...], splits: int) -> None:
    images, copies = noise_images(6, shape), 3 if splits == 3 else 12
    seen: list[int] = []
    found = StructureInvariance(splits, copies).wrap(gradient, blank_unit(6, shape))(images)
    compare(found, images, copies, lambda g: drawn_structure(g, shape, splits, seen))
    assert set(seen) == set(Change)


# ---------------------------------------------------------------- shuffle and rotation


def drawn_shuffle(
    generator: torch.Generator, shape: tuple[int, ...], splits: int, angle: float
) -> Callable[[Tensor], Tensor]:
    draws = uniform(generator, 4 * splits + splits**2).tolist()
    axes = []
    for axis, side in enumerate(shape[1:]):
        shares = [1 + u for u in draws[2 * axis * splits : (2 * axis + 1) * splits]]
        keys = draws[(2 * axis + 1) * splits : (2 * axis + 2) * splits]
        cuts = [round(side * sum(shares[:i]) / sum(shares)) for i in range(splits + 1)]
        axes.append((cuts, sorted(range(splits), key=keys.__getitem__)))

    def view(image: Tensor) -> Tensor:
        (down, rows), (along, columns) = axes
        lines = []
        for i in rows:
            line = []
            for j in columns:
                block = image[:, down[i] : down[i + 1], along[j] : along[j + 1]]
                degrees = angle * (2 * draws[4 * splits + i * splits + j] - 1)
                line.append(rotate(block, degrees, InterpolationMode.BILINEAR) if block.numel() else block)
            lines.append(torch.cat(line, 2))
        return torch.cat(lines, 1)

    return view


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("splits", "angle"), [(2, 24.0), (3, 24.0), (3, 0.0), (1, 180.0), (12, 60.0)])
def test_bsr_is_the_literal_loop(shape: tuple[int, ...], splits: int, angle: float) -> None:
    images = noise_images(4, shape)
    found = BlockShuffle(splits, angle, copies=3).wrap(gradient, blank_unit(4, shape))(images)
    compare(found, images, 3, lambda g: drawn_shuffle(g, shape, splits, angle))


# ---------------------------------------------------------------- warps


def literal_warp(image: Tensor, moves: Tensor, mesh: int) -> Tensor:
    """Warp an image (C, H, W) by SciPy's splines and a sum over all pixels of the image."""
    _, height, width = image.shape
    line = np.linspace(-1, 1, mesh)
    points = np.array([(x, y) for y in line for x in line])
    inner = [k for k, (x, y) in enumerate(points) if abs(x) < 1 and abs(y) < 1]
    pixels = np.array(
        [((2 * j + 1) / width - 1, (2 * i + 1) / height - 1) for i in range(height) for j in range(width)]
    )
    cardinal = RBFInterpolator(points, np.eye(mesh**2)[:, inner], kernel="thin_plate_spline", degree=1)
    x, y = (torch.from_numpy(pixels) + torch.from_numpy(cardinal(pixels)) @ moves).T
    columns = ((x + 1) * width - 1) / 2
    rows = ((y + 1) * height - 1) / 2
    along = (1 - (columns[:, None] - torch.arange(width)).abs()).clamp_min(0)
    down = (1 - (rows[:, None] - torch.arange(height)).abs()).clamp_min(0)
    return torch.einsum("chw,ph,pw->cp", image, down, along).view(image.shape)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 7, 12)])
@pytest.mark.parametrize(("mesh", "noise", "rho"), [(3, 1.0, 0.01), (4, 0.3, 0.1)])
def test_decowa_is_the_literal_warp(shape: tuple[int, ...], mesh: int, noise: float, rho: float) -> None:
    images = noise_images(3, shape)
    found = DeformationWarp(mesh, noise, rho, copies=2).wrap(gradient, blank_unit(3, shape))(images)
    generators = seeded(0, "test", range(3))
    for image, generator, direction in zip(images, generators, found, strict=True):
        views = []
        for _ in range(2):
            moves = (noise * (2 * uniform(generator, (mesh - 2) ** 2, 2) - 1)).requires_grad_()
            (slope,) = torch.autograd.grad(objective(literal_warp(image, moves, mesh)), moves)
            assert slope.abs().max() > 0.01
            harder = moves.detach() - rho * slope
            views.append(lambda x, harder=harder: literal_warp(x, harder, mesh))
        torch.testing.assert_close(direction, chained(image, views), rtol=0, atol=1e-10)


def test_decowa_resists() -> None:
    """The warp that the inner step chooses lowers the loss, on average over draws."""
    images, values = noise_images(1, (3, 16, 16)).expand(40, -1, -1, -1), []

    def record(views: Tensor) -> Tensor:
        values.append(math.fsum(objective(view).item() for view in views))
        return gradient(views)

    DeformationWarp(noise=0.5, rho=1e-4, copies=1).wrap(record, blank_unit(40, (3, 16, 16)))(images)
    first, second = values
    assert second < first
