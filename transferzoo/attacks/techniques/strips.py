"""Images cut into strips along both axes, and so into blocks: what techniques that treat blocks share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Strips(NamedTuple):
    """For every pixel of a line, int64 (N, side): in which strip it lies, and where that strip is.

    Attributes:
        number: of the strip, from 0.
        place: place of the pixel in it.
        start: where the strip begins.
        length: how long it is.
    """

    number: Tensor
    place: Tensor
    start: Tensor
    length: Tensor


def strips_until(ends: Tensor, side: int) -> Strips:
    """Return the consecutive strips of lines of `side` pixels that end before `ends`, int64 (N, n)."""
    import torch

    pixel = torch.arange(side, device=ends.device)
    number = (pixel >= ends[..., None]).sum(1)
    lengths = lengths_until(ends)
    start, length = (ends - lengths).gather(1, number), lengths.gather(1, number)
    return Strips(number, pixel - start, start, length)


def lengths_until(ends: Tensor) -> Tensor:
    """Return the lengths of such strips, int64 (N, n)."""
    return ends.diff(dim=1, prepend=ends.new_zeros(len(ends), 1))


def block_numbers(down: Strips, along: Strips, splits: int) -> Tensor:
    """Return the number of the block of every pixel, int64 (N, H, W), row by row."""
    return down.number[:, :, None] * splits + along.number[:, None]


def of_blocks(values: Tensor, block: Tensor) -> Tensor:
    """Give every pixel the values (N, K, blocks) of its block (N, H, W): (N, K, H, W)."""
    places = block.flatten(1)[:, None].expand(-1, values.shape[1], -1)
    return values.gather(2, places).view(*values.shape[:2], *block.shape[1:])
