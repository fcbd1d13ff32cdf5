"""Pictures of adversarial images, for people to look at."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import torch

from transferzoo.base.atomic import write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

ROWS, SCALE, GAP = 10, 4, 4
LONGEST = 80
"""Bytes that are kept of the name of an image's file: with what is put around them file systems take them."""


def save_picture(folder: Path, image: Tensor, identity: int, name: str) -> None:
    """Write an image, uint8 (C, H, W), as a PNG named by its id and, where it has one, by its file's name.

    Raises:
        TransferZooError: the folder cannot be written.
    """
    stem = re.sub(r"[^\w.-]+", "-", PurePosixPath(name).stem)
    file = stem.encode()[:LONGEST].decode(errors="ignore")
    write_bytes(folder / (f"{identity}-{file}.png" if file else f"{identity}.png"), _png(image))


def save_sheet(folder: Path, images: Tensor, clean: Tensor) -> None:
    """Write a sheet of the first ten images, uint8 (N, C, H, W).

    Its rows are clean, adversarial, and their difference, magnified so that the largest one of the sheet
    spans black to white, with grey for none.

    Raises:
        TransferZooError: the folder cannot be written.
    """
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
