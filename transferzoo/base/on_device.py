"""Bringing values to the device that computes, without waiting for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def carried(values: Tensor, device: torch.device) -> Tensor:
    """Return values on a device, which is not waited for if they come from the CPU."""
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    late = device.type == "mps"  # it would read what is freed by then
    return values.to(device, non_blocking=not late)
