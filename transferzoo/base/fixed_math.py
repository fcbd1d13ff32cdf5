"""The arithmetic of a GPU, fixed where results are made that shall be had again.

PyTorch lets cuDNN round what it convolves to TF32, with 10 bits of 23, and takes the fastest algorithm, which
may add in another order every time. On a CPU there is nothing to fix.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def fixed_math(device: torch.device) -> Iterator[None]:
    """Compute in float32 as IEEE has it, by deterministic algorithms, inside the block, if it is on a GPU.

    An operator that has no deterministic algorithm computes all the same, and PyTorch warns of it. PyTorch's
    settings are put back afterwards.

    Args:
        device: where the block computes; nothing happens unless it is of CUDA.
    """
    if device.type != "cuda":
        yield
        return
    import torch

    os.environ.setdefault(WORKSPACE, ":4096:8")  # read at the first call of cuBLAS
    put_back = _rounding(), _choice()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=torch.get_deterministic_debug_mode() < 2)
    try:
        yield
    finally:
        for each in put_back:
            each()


def _rounding() -> Callable[[], None]:
    """Return what puts back how a GPU rounds, set by PyTorch's older names or by the newer ones."""
    import torch

    backends: Any = torch.backends
    try:
        convolutions, products = backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError:  # by the newer names: PyTorch reads no older ones then
        operators = backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul, backends.mkldnn.matmul
        before = [(each, each.fp32_precision) for each in operators]

        def put_back() -> None:
            for each, precision in before:
                each.fp32_precision = precision

        return put_back

    def put_back_older() -> None:
        backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)

    return put_back_older


def _choice() -> Callable[[], None]:
    """Return what puts back how algorithms are chosen."""
    import torch

    benchmark, mode = torch.backends.cudnn.benchmark, torch.get_deterministic_debug_mode()

    def put_back() -> None:
        torch.backends.cudnn.benchmark = benchmark
        torch.set_deterministic_debug_mode(mode)

    return put_back
