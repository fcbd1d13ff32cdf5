"""Digests of a model's weights, by which models are told apart."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch import nn


def state_digest(model: nn.Module) -> str:
    """Return the SHA-256 of a model's weights and buffers, 64 hexadecimal digits."""
    state = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        state.update(key.encode() + _bytes_of(tensor))
    return state.hexdigest()


def weights_digest(model: nn.Module) -> str | None:
    """Return the SHA-256 of a model's parameters, whatever they are called and whatever file they came in.

    The rows of a weight, which are the classes in the last one, may come in another order. None where it has
    no parameter.
    """
    parts = sorted(_rows_digest(weight.detach().cpu()) for weight in model.parameters())
    return hashlib.sha256(b"".join(parts)).hexdigest() if parts else None


def _rows_digest(weight: Tensor) -> bytes:
    """Return a digest of the rows of a tensor (N, …), in whatever order they are."""
    if weight.ndim > 1:
        content, count = memoryview(_bytes_of(weight)), len(weight)
        size = len(content) // max(count, 1)
        parts = (content[at * size : (at + 1) * size] for at in range(count))
        rows = b"".join(sorted(hashlib.sha256(part).digest() for part in parts))
    else:
        rows = _bytes_of(weight.flatten().sort().values)
    return hashlib.sha256(repr(tuple(weight.shape)).encode() + rows).digest()


def _bytes_of(value: object) -> bytes:
    """Return what tells an entry of a state dict from others; quantised modules have more than tensors there.

    Raises:
        TypeError: it is of a type that is not read.
    """
    if isinstance(value, Tensor):
        tensor = value.detach().cpu()
        if tensor.is_quantized:
            return _bytes_of(tensor.int_repr()) + _bytes_of(tensor.dequantize())
        dense = tensor if tensor.layout == torch.strided else tensor.to_dense()
        return dense.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(value, tuple | list):
        return b"".join(_bytes_of(part) for part in value)
    if isinstance(value, dict):
        return b"".join(_bytes_of(part) for entry in sorted(value.items()) for part in entry)
    if value is None or isinstance(value, bool | int | float | str | bytes | torch.dtype):
        return repr(value).encode()
    raise TypeError(f"{type(value).__name__} beside its weights")
