"""How visible a perturbation is."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import torch

from transferzoo.base.errors import ModelError
from transferzoo.results.records import Visibility

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from transferzoo.results.records import SurrogateAttack

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
        self._sums = dict.fromkeys(("l0", "l2", "linf", "psnr", "mean"), 0.0)
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
        self._sums["mean"] += float(change.abs().double().flatten(1).mean(1).sum())
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
            mean=round(means["mean"], 6),
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
