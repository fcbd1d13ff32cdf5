"""Networks exported to ONNX."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


class Normalised(nn.Module):
    """A network that reads pixels, as an exported model has to."""

    def __init__(self, network: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.network, self.mean, self.std = network, mean, std

    def forward(self, images: Tensor) -> Tensor:
        said: Tensor = self.network((images - self.mean) / self.std)
        return said


def export(
    network: nn.Module,
    file: Path,
    *size: int,
    dynamic: tuple[int, ...] = (0,),
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Export a network of images of a size (N, C, H, W); `dynamic` dimensions are left open."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the exporter that needs no further package
        torch.onnx.export(
            network.eval(),
            (torch.zeros(size, dtype=dtype),),
            str(file),
            dynamo=False,
            input_names=["images"],
            dynamic_axes={"images": {place: f"d{place}" for place in dynamic}},
        )
    return file
