"""Augmentation of a whole batch at once: random crops and flips, drawn per image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from transferzoo.base.on_device import carried

if TYPE_CHECKING:
    from torch import Tensor

CPU = torch.device("cpu")


class Augmenter:
    """Training images in memory, padded once, handed out as augmented batches.

    Args:
        images: uint8 (N, C, H, W).
        kind: "crop-flip" pads by 1/14 of the size (2 pixels of 28), crops at random and mirrors half of the
            images left to right; "crop" does not mirror; "none" does nothing.
    """

    def __init__(self, images: Tensor, kind: str) -> None:
        self._height, self._width = images.shape[2:]
        self._flips = kind == "crop-flip"
        self._pad = 0 if kind == "none" else max(1, round(self._height / 14))
        padded = F.pad(images, (self._pad,) * 4)
        self._pixels = padded.permute(0, 2, 3, 1).contiguous()

    def batch(
        self,
        indices: Tensor,
        generator: torch.Generator,
        part: slice = slice(None),
        device: torch.device = CPU,
    ) -> Tensor:
        """Return augmented images.

        Args:
            indices: positions (B,), on the CPU.
            generator: source of the draws, on the CPU; three a batch, of B numbers each.
            part: which of the images are made; the draws do not depend on it.
            device: where they are made, and all images kept from now on.

        Returns:
            uint8 (B, C, H, W), or fewer where `part` says so, channels-last in memory.
        """
        count = len(indices)
        top = torch.randint(0, 2 * self._pad + 1, (count, 1), generator=generator)
        left = torch.randint(0, 2 * self._pad + 1, (count, 1), generator=generator)
        mirrored = torch.rand((count, 1), generator=generator) < (0.5 if self._flips else 0.0)
        self._pixels = self._pixels.to(device)
        draws = carried(torch.cat([indices[:, None], top, left, mirrored], 1)[part], device)
        indices, top, left, mirrored = draws.split(1, 1)
        rows = top + torch.arange(self._height, device=device)
        columns = torch.arange(self._width, device=device).expand(len(draws), -1)
        columns = left + torch.where(mirrored > 0, columns.flip(1), columns)
        return self._pixels[indices[:, :, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
