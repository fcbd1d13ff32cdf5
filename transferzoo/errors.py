"""Errors a user can act on: what was wrong, what was expected, what came, what to do next.

The command line prints `str(error)` on stderr and exits with `error.exit_code`; nothing else of a user's
mistake reaches the terminal. Library callers catch `TransferZooError`.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class TransferZooError(Exception):
    """A failure with a sentence for the user; exit code 1.

    Args:
        what: what went wrong, without a final full stop.
        expected: what would have been right.
        got: what came instead.
        hint: the next step.
    """

    exit_code = 1

    def __init__(self, what: str, *, expected: str = "", got: str = "", hint: str = "") -> None:
        sentence = what
        if expected:
            sentence += f": expected {expected}"
        if got:
            sentence += f"{',' if expected else ':'} got {got}"
        if hint:
            sentence += f"; {hint}"
        super().__init__(sentence if sentence.endswith("?") else sentence + ".")


class UsageError(TransferZooError):
    """The request itself is wrong: an option, a name, a spec string, a zoo file; exit code 2."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that nothing is registered under; near names are offered.

    Args:
        kind: what the name should denote, for example "surrogate" or "option of technique 'mi'".
        name: the name that came.
        known: the names that exist.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(set(known))
        near = get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else ""
        listed = ", ".join(names[:40]) + (", …" if len(names) > 40 else "")
        noun, of, whole = kind.partition(" of ")
        expected = f"one of {listed}" if names else "none"
        super().__init__(f"unknown {noun} '{name}'{of}{whole}", expected=expected, hint=hint.rstrip("?"))
        self.known = names


class ModelError(TransferZooError):
    """A checkpoint or model cannot be used: truncated, wrong architecture, NaN, wrong classes."""


class DataError(TransferZooError):
    """A data set cannot be found or read, or no image is left to attack."""
