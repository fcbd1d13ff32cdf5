"""Checks of options that several techniques have."""

from __future__ import annotations

from transferzoo.base.spec_strings import require

MOST = 1000


def require_count(name: str, option: str, value: int) -> None:
    """Check a number of copies, points or steps.

    Raises:
        UsageError: out of range.
    """
    what = f"option '{option}' of '{name}' is out of range"
    require(1 <= value <= MOST, what, expected=f"1 to {MOST}", got=value)


def require_length(name: str, option: str, value: float) -> None:
    """Check a radius, a weight of the past, or another number that may be 0.

    Raises:
        UsageError: negative, NaN or infinite.
    """
    what = f"option '{option}' of '{name}' is out of range"
    require(0 <= value < float("inf"), what, expected="at least 0", got=value)
