"""OPS against loops over one image with functions of torch and torchvision."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad
from torchvision.transforms.functional import affine, hflip, vflip

from helpers.attacks import DOUBLE, blank_unit, make_attack
from helpers.literal_attack import EPSILON, STEP, Walk, check, unit_mean
from transferzoo.attacks.techniques.estimators_operators import operated

pytestmark = pytest.mark.usefixtures("one_thread")

TURNS = [5, -5, 15, -15, 45, -45, 90, -90, 180]
RATIOS = [1.1, 1.3, 1.5, 1.7, 1.9, 2.1, 2.3, 2.5, 2.7, 2.9]


def literal_operator(number: int, image: Tensor, draws: list[float]) -> Tensor:
    """Return an image (C, H, W) through the operator of a number."""
    height, width = image.shape[1:]
    if number == 0:
        return image
    if number < 3:
        flipped: Tensor = vflip(image) if number == 1 else hflip(image)
        return flipped
    if number < 5:
        axis = number - 2
        by = int(draws[0] * image.shape[axis])
        head, tail = image.split([image.shape[axis] - by, by], axis)
        return torch.cat([tail, head], axis)
    if number < 14:
        turned: Tensor = affine(image, angle=-TURNS[number - 5], translate=[0, 0], scale=1, shear=[0, 0])
        return turned
    if number < 21:
        return image / (number - 12)
    ratio = RATIOS[number - 21]
    padded = [int(side * ratio + 1e-9) for side in (height, width)]
    sizes = [s + int(draws[0] * (p - s + 1)) for s, p in zip((height, width), padded, strict=True)]
    room = [p - s for p, s in zip(padded, sizes, strict=True)]
    top, left = (int(u * (r + 1)) for u, r in zip(draws[1:], room, strict=True))
    larger = interpolate(image[None], sizes, mode="bilinear")
    framed = pad(larger, (left, room[1] - left, top, room[0] - top))
    return interpolate(framed, (height, width), mode="bilinear")[0]


def literal_view(image: Tensor, draws: list[float]) -> Tensor:
    for number in range(2 + int(3 * draws[0])):
        which, *own = draws[1 + 4 * number : 5 + 4 * number]
        image = literal_operator(int(31 * which), image, own)
    return image


def test_every_operator_is_the_literal_one() -> None:
    image = torch.rand(3, 13, 20, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    for number in range(31):
        draws = [0.1, (number + 0.5) / 31, 0.3, 0.8, 0.6, 0.0, 0.0, 0.0, 0.0, *[0.0] * 8]
        found = operated(image[None], torch.tensor([draws], dtype=DOUBLE))[0]
        wanted = literal_operator(number, image, draws[2:5])
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12, msg=f"operator {number}")


def test_compositions_are_the_literal_ones_image_by_image() -> None:
    images = torch.rand(12, 3, 16, 16, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    draws = blank_unit(12).uniform(17)
    wanted = [literal_view(image, row) for image, row in zip(images, draws.tolist(), strict=True)]
    torch.testing.assert_close(operated(images, draws), torch.stack(wanted), rtol=0, atol=1e-12)


def test_levels_and_operators_have_equal_chances() -> None:
    draws = blank_unit(9300).uniform(2)
    for column, kinds in ((0, 3), (1, 31)):
        counts = Counter((draws[:, column] * kinds).long().tolist())
        assert len(counts) == kinds
        share = 9300 / kinds
        assert all(abs(count - share) < 5 * share**0.5 for count in counts.values())


def test_ops_is_the_literal_loop() -> None:
    def literal(walk: Walk) -> Tensor:
        at, momentum = walk.clean, torch.zeros_like(walk.clean)
        for _ in range(3):
            total = walk.slope(at)
            for _ in range(3):
                u = torch.rand(1, generator=walk.generator, dtype=DOUBLE).item()
                near = at + walk.noise(1.0) * 1.5 * EPSILON * (int(u * 6) + 1) / 4
                for _ in range(4):
                    draws = torch.rand(17, generator=walk.generator, dtype=DOUBLE).tolist()
                    leaf = near.clone().requires_grad_()
                    view = literal_view(leaf, draws)
                    loss = -walk.model(view[None])[0].log_softmax(0)[walk.label]
                    total = total + torch.autograd.grad(loss, leaf)[0]
            momentum = momentum + unit_mean(total / 13)
            at = walk.boxed(at + STEP * momentum.sign())
        return at

    check("mi+ops:neighbours=3,ops=4,beta=1.5", literal, steps=3)


def test_what_ops_costs() -> None:
    assert make_attack("ops", steps=10).cost() == 9010
    assert make_attack("ops:neighbours=3,ops=3", steps=10).cost() == 100
