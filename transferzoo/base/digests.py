"""Digests: of files, each taken once in a process, and of tensors."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from transferzoo.base.foreign_files import check_regular

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

_digests: dict[tuple[int, str, int, int, int], str] = {}


def digest_of(path: Path, digits: int) -> str:
    """Return a file's SHA-256 (64 digits), or the SHA-1 that is its name in git (40 digits)."""
    real = path.resolve()
    state = real.stat()
    key = (digits, str(real), state.st_ino, state.st_size, state.st_mtime_ns)
    if key not in _digests:
        start = hashlib.sha256() if digits == 64 else hashlib.sha1(b"blob %d\0" % state.st_size)
        check_regular(real)
        with real.open("rb") as stream:
            _digests[key] = hashlib.file_digest(stream, lambda: start).hexdigest()
    return _digests[key]


def tensors_digest(*tensors: Tensor) -> str:
    """Return the SHA-256 of the bytes of tensors on the CPU, one after the other, without a copy of them."""
    return tensors_state(*tensors).hexdigest()


def tensors_state(*tensors: Tensor, after: hashlib._Hash | None = None) -> hashlib._Hash:
    """Return what `tensors_digest` is of, to be gone on from: `after` is that of tensors before these."""
    import torch

    state = after.copy() if after else hashlib.sha256()
    for tensor in tensors:
        if tensor.numel():
            flat = tensor.contiguous().reshape(-1).view(torch.uint8)  # NumPy has no bfloat16
            state.update(flat.numpy().data)
    return state
