"""Images and perturbed ones."""

from __future__ import annotations

import torch
from torch import Tensor


def pictures(channels: int = 3, side: int = 24) -> tuple[Tensor, Tensor]:
    """Return perturbed images and clean ones, uint8 (4, C, H, W); the third is as it was."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.randint(0, 256, (4, channels, side, side), generator=generator)
    noise = torch.randint(-20, 21, clean.shape, generator=generator)
    noise[2] = 0
    noise[:, :, :3] = 0
    return (clean + noise).clamp(0, 255).to(torch.uint8), clean.to(torch.uint8)
