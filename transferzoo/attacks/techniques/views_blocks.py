"""Views of the image cut into blocks, which move or are left out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferzoo.attacks.techniques import TECHNIQUES, View
from transferzoo.attacks.techniques.oracles import mean, through
from transferzoo.attacks.techniques.ranges import Count, Few
from transferzoo.attacks.techniques.strips import (
    Strips,
    block_numbers,
    lengths_until,
    of_blocks,
    strips_until,
)
from transferzoo.attacks.techniques.work_unit import sent
from transferzoo.base.on_device import carried

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from transferzoo.attacks.techniques import Oracle
    from transferzoo.attacks.techniques.work_unit import WorkUnit


@TECHNIQUES.register("bsr")
@dataclass(frozen=True)
class BlockShuffle(View):
    """Block shuffle and rotation (BSR): the mean gradient over images whose blocks change places and turn.

    Rows and columns are cut into `splits` strips, of lengths in proportion to draws of U(1, 2), the cuts
    rounded. The strips of either axis are shuffled, and every block turns about its centre by
    U(−angle, angle), bilinearly, 0 where nothing of the block arrives. Each image has draws of its own, new
    ones at every step.

    The paper's code draws lengths from U(0, 1) and angles from a truncated normal of 0.2 radians. That of
    TransferAttack has 3 splits, turns a whole strip instead of every block, and cuts and shuffles each strip
    along the other axis by itself. Both cut and shuffle the whole batch alike.

    Attributes:
        splits: strips an axis, 1..16.
        angle: largest turn, in degrees, 0..180.
        copies: transforms of an image, from 1.
    """

    paper: ClassVar[str] = "Wang et al. 2024, https://arxiv.org/abs/2308.10299"
    small = MappingProxyType({"angle": 6.0})

    splits: Few = 2
    angle: Annotated[float, Field(ge=0, le=180, description="in degrees")] = 24.0
    copies: Count = 20

    @property
    def cost(self) -> int:
        """See `Technique.cost`."""
        return self.copies

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""
        draws = 4 * self.splits + self.splits**2

        def views(images: Tensor) -> Iterator[Tensor]:
            for drawn in unit.uniform(self.copies, draws).unbind(1):
                yield through(partial(self.transform, draws=drawn), oracle)(images)

        return lambda images: mean(views(images))

    def transform(self, images: Tensor, draws: Tensor) -> Tensor:
        """Return T(x).

        One line of zeros is put between the strips first, so that what is sampled beside a block is 0.

        Args:
            images: x, (N, C, H, W).
            draws: of U[0, 1), (N, 4·splits + splits²): lengths and order of the rows, of the columns; angles.
        """
        import torch
        from torch.nn.functional import grid_sample

        n = self.splits
        down, rows = _shuffled(draws[:, : 2 * n], images.shape[2], images)
        along, columns = _shuffled(draws[:, 2 * n : 4 * n], images.shape[3], images)
        angles = (self.angle * (2 * draws[:, 4 * n :] - 1)).deg2rad()
        turns = sent(torch.stack([angles.cos(), angles.sin()], 1), images)
        cosine, sine = of_blocks(turns, block_numbers(down, along, n)).unbind(1)
        y, x = (_from_centre(down).to(images)[:, :, None], _from_centre(along).to(images)[:, None])
        places = [
            _beside(cosine * x - sine * y, along, 1, n - 1),
            _beside(sine * x + cosine * y, down, 2, n - 1),
        ]
        apart = rows[:, None] @ images @ columns[:, None].mT
        return grid_sample(apart, torch.stack(places, -1), align_corners=False)


def _shuffled(draws: Tensor, side: int, like: Tensor) -> tuple[Strips, Tensor]:
    """Return shuffled strips and the matrices (N, side + n − 1, side) that put a 0 between the unshuffled.

    Args:
        draws: for the lengths of the strips and for their order, (N, 2n).
        side: length of the line.
        like: whose dtype and device the results take.

    Returns:
        For every pixel of the new line its strip of the old one, and the matrices.
    """
    import torch

    shares, keys = draws.chunk(2, 1)
    sums = (1 + shares).cumsum(1)
    ends = carried((sums / sums[:, -1:] * side).round().long(), like.device)
    order = carried(keys.argsort(1), like.device)
    lengths, old = lengths_until(ends), strips_until(ends, side)
    slots = strips_until(lengths.gather(1, order).cumsum(1), side)
    number = order.gather(1, slots.number)
    start = (ends - lengths).gather(1, number)
    lines = torch.arange(side + ends.shape[1] - 1, device=like.device)
    apart = lines[:, None] == (old.start + old.place + old.number)[:, None]
    return Strips(number, slots.place, start, slots.length), apart.to(like)


def _from_centre(strips: Strips) -> Tensor:
    return strips.place - (strips.length - 1) / 2


def _beside(offset: Tensor, strips: Strips, across: int, gaps: int) -> Tensor:
    """Return where to sample the strips set apart, in [−1, 1].

    Args:
        offset: from the centre of the strip, (N, H, W); at a pixel beside the strip, a 0, it ends.
        strips: of the pixels along the axis.
        across: the other axis.
        gaps: zeros between the strips.
    """
    number, _, start, length = (values.to(offset).unsqueeze(across) for values in strips)
    place = (offset + (length - 1) / 2).clamp_min(-1).minimum(length)
    return (2 * (place + start + number) + 1) / (strips.number.shape[1] + gaps) - 1


@TECHNIQUES.register("maskblock")
@dataclass(frozen=True)
class MaskBlock(View):
    """MaskBlock: the mean gradient over the images with one block of a grid set to 0, for every block.

    Nothing is drawn: splits² copies of every image at every step. Pixel i of a side s is in strip
    ⌊i·splits/s⌋. TransferAttack has blocks of 56 pixels instead, 4 × 4 at 224, and masks nothing of the rest
    where the side is not a multiple.

    Attributes:
        splits: blocks an axis, 1..16; at 1 the image is black.
    """

    paper: ClassVar[str] = "Fan et al. 2022, https://arxiv.org/abs/2208.06538"

    splits: Few = 4

    @property
    def cost(self) -> int:
        """See `Technique.cost`."""
        return self.splits**2

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""
        import torch

        sides, device = unit.images.shape[-2:], unit.images.device
        down, along = (torch.arange(side, device=device) * self.splits // side for side in sides)

        def directions(images: Tensor) -> Iterator[Tensor]:
            for row in range(self.splits):
                for column in range(self.splits):
                    kept = (down[:, None] != row) | (along != column)
                    yield oracle(kept * images) * kept

        return lambda images: mean(directions(images))
