"""How this version and this machine compute: what results depend on beside what is asked.

Every key of a run, a training or a cell of a study carries it, and leaves out all options at their defaults:
so a new option orphans no finished work, and what would give other bytes is never reused.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import NamedTuple

from transferzoo.base.distributed import this_device
from transferzoo.base.version import __version__

ARITHMETIC = 1
"""Raised when all results come to have other bytes: a formula, a draw, a default of engine or trainer.

What changes those of one technique, minimizer or defence raises its `revision`.
"""


class Environment(NamedTuple):
    """What keys say of a process.

    Attributes:
        arithmetic: `ARITHMETIC` of its version.
        device: kind of its device, "cpu" or "cuda".
        math: the precision of products of float32 matrices as PyTorch names it, "highest", with "+tf32" where
            cuDNN may round convolutions to TF32; `FIXED` where a GPU's is fixed.
    """

    arithmetic: int
    device: str
    math: str


FIXED = "highest+deterministic"


def environment(*, fixed: bool = False) -> Environment:
    """Return what keys say of this process.

    Args:
        fixed: whether all that the key stands for is computed under `fixed_math`.
    """
    import torch

    device = this_device().type
    if fixed and device == "cuda":
        return Environment(ARITHMETIC, device, FIXED)
    rounds = device == "cuda" and torch.backends.cudnn.allow_tf32
    math = torch.get_float32_matmul_precision() + ("+tf32" if rounds else "")
    return Environment(ARITHMETIC, device, math)


_version = cache(version)  # which looks through every folder of sys.path


def versions(*others: str) -> dict[str, str]:
    """Return the versions of the packages that results depend on, this one's as the code has it."""
    return {"transferzoo": __version__, **{name: _version(name) for name in ("torch", "timm", *others)}}
