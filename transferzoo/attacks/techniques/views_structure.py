"""Views of the image whose blocks are changed, each in its own way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, auto
from typing import TYPE_CHECKING, ClassVar

from transferzoo.attacks.techniques import TECHNIQUES, View
from transferzoo.attacks.techniques.oracles import mean, through
from transferzoo.attacks.techniques.ranges import Count, Few
from transferzoo.attacks.techniques.strips import block_numbers, of_blocks, strips_until
from transferzoo.attacks.techniques.work_unit import sent
from transferzoo.base.on_device import carried

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.attacks.techniques import Oracle
    from transferzoo.attacks.techniques.strips import Strips
    from transferzoo.attacks.techniques.work_unit import WorkUnit


class Change(IntEnum):
    """What happens to a block."""

    SHIFT_DOWN = 0
    SHIFT_ALONG = auto()
    FLIP_DOWN = auto()
    FLIP_ALONG = auto()
    TURN = auto()
    SCALE = auto()
    NOISE = auto()
    RESIZE = auto()
    LOW_PASS = auto()
    DROP = auto()


@TECHNIQUES.register("sia")
@dataclass(frozen=True)
class StructureInvariance(View):
    """Structure invariance (SIA): the mean gradient over images whose blocks are changed one by one.

    Rows and columns are cut at splits − 1 random places each, and every block draws one of ten changes: a
    cyclic shift down or along, a flip down or along, a turn by 180°, a factor U(0, 1), noise U(−r, r) clipped
    to [0, 1] (r: how far one value may go, ε in L∞), bilinear shrinking to ⌊0.8·side⌋ + 1 and back, removal
    of the ⌊0.4·side⌋ highest DCT frequencies of either axis, or dropping each channel with probability 0.1
    (the others count 10/9). Each image has draws of its own, new ones at every step.

    These are the ten of the authors' own repository; TransferAttack has the first seven. Both draw once for
    the whole batch, and r = 16/255 is fixed there.

    Attributes:
        splits: strips an axis, 1..16; at most as many as the side has pixels.
        copies: transforms of an image, from 1.
    """

    paper: ClassVar[str] = "Wang et al. 2023, https://arxiv.org/abs/2309.14700"

    splits: Few = 3
    copies: Count = 20

    @property
    def cost(self) -> int:
        """See `Technique.cost`."""
        return self.copies

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""
        view = through(lambda images: self.transform(images, unit), oracle)
        return lambda images: mean(view(images) for _ in range(self.copies))

    def transform(self, images: Tensor, unit: WorkUnit) -> Tensor:
        """Return T(x): all ten changes of all blocks, of which each block takes its own.

        The unit draws the cuts down and along, the changes, their amounts, the noise and what is dropped.
        """
        import torch

        channels, height, width = images.shape[1:]
        down, along = (
            strips_until(carried(_cut(unit.uniform(side - 1), self.splits), images.device), side)
            for side in (height, width)
        )
        block, number = block_numbers(down, along, self.splits), self.splits**2
        change = of_blocks(carried((unit.uniform(1, number) * len(Change)).long(), images.device), block)
        amount = of_blocks(sent(unit.uniform(1, number), images), block)
        noisy = (images + unit.noise(unit.radius)).clamp(0, 1)
        kept = of_blocks(sent(unit.uniform(channels, number) >= 0.1, images), block) / 0.9
        result = _moved(images, change, amount, down, along)
        result = torch.where(change == Change.SCALE, amount * images, result)
        result = torch.where(change == Change.NOISE, noisy, result)
        result = torch.where(change == Change.DROP, kept * images, result)
        for kind, matrices in ((Change.RESIZE, _resize), (Change.LOW_PASS, _low_pass)):
            rows, columns = (matrices(strips, images)[:, None] for strips in (down, along))
            result = torch.where(change == kind, rows @ images @ columns.mT, result)
        return result


def _cut(draws: Tensor, splits: int) -> Tensor:
    """Return where strips end, int64 (N, splits): after the smallest of the draws (N, side − 1), and last."""
    from torch.nn.functional import pad

    cuts = draws.argsort(1)[:, : splits - 1].sort(1).values + 1
    return pad(cuts, (0, 1), value=draws.shape[1] + 1)


def _moved(images: Tensor, change: Tensor, amount: Tensor, down: Strips, along: Strips) -> Tensor:
    """Return the images with their blocks shifted, flipped or turned; change and amount: (N, 1, H, W)."""
    import torch

    def source(strips: Strips, across: int, shift: Change, flip: Change) -> Tensor:
        place, start, length = (values[:, None].unsqueeze(across) for values in strips[1:])
        shifted = (place - (amount * length).long()) % length
        flipped = torch.where((change == flip) | (change == Change.TURN), length - 1 - place, place)
        return start + torch.where(change == shift, shifted, flipped)

    rows = source(down, 3, Change.SHIFT_DOWN, Change.FLIP_DOWN)
    columns = source(along, 2, Change.SHIFT_ALONG, Change.FLIP_ALONG)
    pixels = (rows * images.shape[-1] + columns).flatten(2).expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, pixels).view_as(images)


def _resize(strips: Strips, like: Tensor) -> Tensor:
    """Return the matrices (N, side, side) that shrink every strip and enlarge it again."""
    small = (4 * strips.length // 5 + 1).to(like)
    _, place, start, length = (values.to(like) for values in strips)
    return _bilinear(place, start, length, small) @ _bilinear(place, start, small, length)


def _bilinear(place: Tensor, start: Tensor, target: Tensor, source: Tensor) -> Tensor:
    """Return the weights of strips of `source` pixels in those of strips of `target` that start there too."""
    import torch

    centre = start + ((place + 0.5) * source / target - 0.5).clamp_min(0).minimum(source - 1)
    line = torch.arange(centre.shape[1], device=centre.device).to(centre)
    return (1 - (centre[..., None] - line).abs()).clamp_min(0)


def _low_pass(strips: Strips, like: Tensor) -> Tensor:
    """Return the matrices (N, side, side) that keep the low frequencies of every strip: DᵀD of these, D."""
    import torch

    number, place, _, length = (values.to(like) for values in strips)
    kept = strips.place < strips.length - 2 * strips.length // 5
    weight = kept * torch.where(place > 0, 2, 1) / length
    waves = ((place[..., None] * (place[:, None] + 0.5)) * (torch.pi / length[..., None])).cos()
    waves = waves * (number[..., None] == number[:, None])
    return waves.mT @ (weight[..., None] * waves)
