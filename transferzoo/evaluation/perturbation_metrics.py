"""How visible a perturbation is, and pictures of it for people to look at."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import torch

from transferzoo.base.atomic import write_bytes
from transferzoo.results.records import Visibility

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from torch import Tensor

ROWS, SCALE, GAP = 10, 4, 4
WINDOW = 11
"""Side of the smallest image that has an SSIM."""


def measure(surrogate: str, attack: str, images: Tensor, clean: Tensor) -> Visibility:
    """Measure how far images are from the clean ones.

    Args:
        surrogate: full name, to be kept.
        attack: canonical form, to be kept.
        images: uint8 (N, C, H, W).
        clean: uint8 (N, C, H, W).

    Returns:
        `ssim` is None unless `has_ssim`.
    """
    change = images.to(torch.int16) - clean.to(torch.int16)
    moved = change.flatten(1).any(1)
    squares = change.double().square().flatten(1)
    noise = 10 * (255**2 / squares[moved].mean(1)).log10()
    known: list[float] = []
    if has_ssim(images):
        known = [_ssim(a, b) for a, b in zip(images[moved].numpy(), clean[moved].numpy(), strict=True)]
    return Visibility(
        surrogate,
        attack,
        len(images),
        int((~moved).sum()),
        l0=round(float(change.any(1).double().mean()), 6),
        l2=round(float(squares.sum(1).sqrt().mean() / 255), 6),
        linf=round(float(change.abs().flatten(1).amax(1).double().mean()), 6),
        psnr=round(float(noise.mean()), 4) if len(noise) else None,
        ssim=round(sum(known) / len(known), 6) if known else None,
    )


def has_ssim(images: Tensor) -> bool:
    """Return whether the SSIM of images (N, C, H, W) can be measured: large ones, with the extra."""
    if min(images.shape[2:]) < WINDOW:
        return False
    try:
        import_module("skimage.metrics")
    except ImportError:
        return False
    return True


def _ssim(image: np.ndarray, clean: np.ndarray) -> float:
    from skimage.metrics import structural_similarity

    return float(
        structural_similarity(  # type: ignore[no-untyped-call]
            image,
            clean,
            channel_axis=0,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def save_pictures(folder: Path, images: Tensor, clean: Tensor, ids: Sequence[int]) -> None:
    """Write every image as a PNG named by its id, and a sheet of the first ten.

    The sheet's rows are clean, adversarial, and their difference, magnified so that the largest one of the
    sheet spans black to white, with grey for none.

    Raises:
        TransferZooError: the folder cannot be written.
    """
    for image, name in zip(images, ids, strict=True):
        write_bytes(folder / f"{name}.png", _png(image))
    write_bytes(folder / "sheet.png", _png(_sheet(images[:ROWS], clean[:ROWS])))


def _sheet(images: Tensor, clean: Tensor) -> Tensor:
    """Return a picture, uint8 (C, H, W): a column an image."""
    change = images.float() - clean.float()
    magnified = (127.5 + change * (127.5 / change.abs().max().clamp_min(1))).round().to(torch.uint8)
    rows = [_framed(part) for part in (clean, images, magnified)]
    return torch.cat([torch.cat(list(row), 2) for row in rows], 1)


def _framed(images: Tensor) -> Tensor:
    """Return small images enlarged, with a white frame."""
    times = SCALE if max(images.shape[2:]) <= 64 else 1
    larger = images.repeat_interleave(times, 2).repeat_interleave(times, 3)
    return torch.nn.functional.pad(larger, (GAP,) * 4, value=255)


def _png(image: Tensor) -> bytes:
    """Return an image, uint8 (1 or 3, H, W), as a PNG file."""
    import io

    from PIL import Image

    file, pixels = io.BytesIO(), image.permute(1, 2, 0).numpy()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return file.getvalue()
