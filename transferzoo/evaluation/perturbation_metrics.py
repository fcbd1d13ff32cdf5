"""How visible a perturbation is, and pictures of it for people to look at."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import torch

from transferzoo.base.atomic import write_bytes
from transferzoo.base.errors import ModelError
from transferzoo.results.records import Visibility

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import Tensor

    from transferzoo.results.records import SurrogateAttack

ROWS, SCALE, GAP = 10, 4, 4
LONGEST = 80
"""Bytes that are kept of the name of an image's file: with what is put around them file systems take them."""
WINDOW = 11
"""Side of the smallest image that has an SSIM."""


def require_change(found: Visibility) -> None:
    """Refuse images that are all as they were: their success rate would be that of clean images.

    Raises:
        ModelError: none is changed.
    """
    if found.unchanged == found.n:
        raise ModelError(
            f"the gradient of '{found.surrogate}' is zero: none of {found.n} images was changed",
            expected="a surrogate whose output follows its input smoothly",
            hint="attack from another model; rounding, thresholds and saturated outputs have no gradient",
        )


class PerturbationMetrics:
    """How far images are from the clean ones, added up batch by batch.

    Args:
        ssim: the structural similarity too, where `has_ssim`; it takes some 10 ms an image of 224 pixels.
    """

    def __init__(self, *, ssim: bool = False) -> None:
        self._ssim = ssim
        self._count, self._moved = 0, 0
        self._sums = dict.fromkeys(("l0", "l2", "linf", "psnr"), 0.0)
        self._similar: list[float] = []

    def add(self, images: Tensor, clean: Tensor) -> None:
        """Measure a batch: adversarial and clean images, uint8 (N, C, H, W)."""
        change = (images.to(torch.int16) - clean.to(torch.int16)).flatten(2)
        squares = change.to(torch.int32).square().flatten(1).sum(1).double()
        moved = squares > 0
        self._count += len(images)
        self._moved += int(moved.sum())
        self._sums["l0"] += float((change != 0).any(1).double().mean(1).sum())
        self._sums["l2"] += float(squares.sqrt().sum() / 255)
        self._sums["linf"] += float(change.abs().flatten(1).amax(1).double().sum())
        values = images[0].numel()
        self._sums["psnr"] += float((10 * (255**2 / (squares[moved] / values)).log10()).sum())
        if self._ssim and has_ssim(images):
            pairs = zip(images[moved].numpy(), clean[moved].numpy(), strict=True)
            self._similar += [_ssim(image, other) for image, other in pairs]

    def result(self, pair: SurrogateAttack) -> Visibility:
        """Return the means over all images, for what crafted them."""
        means = {name: total / max(self._count, 1) for name, total in self._sums.items()}
        return Visibility(
            pair.surrogate,
            pair.attack,
            self._count,
            self._count - self._moved,
            l0=round(means["l0"], 6),
            l2=round(means["l2"], 6),
            linf=round(means["linf"], 6),
            psnr=round(self._sums["psnr"] / self._moved, 4) if self._moved else None,
            ssim=round(sum(self._similar) / len(self._similar), 6) if self._similar else None,
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
