"""How long something takes, for people."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return a time as people say it, nothing only where it is: "0.4 s", "90 s", "12 min", "3.5 h".

    Args:
        seconds: 0 or more.
    """
    if seconds < 1:
        return f"{seconds:.1g} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
