"""Errors a user can act on: what was wrong, what was expected, what came, what to do next.

The command line prints `str(error)` on stderr and exits with `error.exit_code`; nothing else of a user's
mistake reaches the terminal. Library callers catch `TransferZooError`.
"""

from __future__ import annotations

from difflib import get_close_matches
from textwrap import shorten
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


ALL_NAMES, FEW_NAMES = 40, 10
"""How many names a sentence has where none is like the one that came, and beside those that are like it."""


def few(names: Sequence[str], most: int = 5) -> str:
    """Return the first names of a list, for a sentence: each in one line, whatever a folder is called."""
    return ", ".join(" ".join(name.split()) for name in names[:most]) + (", …" if len(names) > most else "")


def near_names(name: str, known: Iterable[str], likeness: float = 0.5) -> list[str]:
    """Return up to three names that are like one, whatever its capitals are; the likest first."""
    small = {one.lower(): one for one in known}
    return [small[one] for one in get_close_matches(name.lower(), small, n=3, cutoff=likeness)]


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

    def __reduce__(self) -> tuple[object, ...]:
        """Return how another process makes it again: by its sentence, not by its parts."""
        return _again, (type(self), str(self))


def _again(kind: type[TransferZooError], sentence: str) -> TransferZooError:
    error = kind.__new__(kind)
    Exception.__init__(error, sentence)
    return error


class UsageError(TransferZooError):
    """The request itself is wrong: an option, a name, a spec string, a zoo file; exit code 2."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that nothing is registered under; near names are offered.

    Args:
        kind: what the name should denote, for example "surrogate" or "option of technique 'mi'".
        name: the name that came.
        known: the names that exist.
        others: what else may be written, besides names.
        aliases: names that are understood too, which are offered where they are near.
        meant: what may have been meant, besides near names.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        known: Iterable[str],
        *,
        others: str = "",
        aliases: Iterable[str] = (),
        meant: Sequence[str] = (),
    ) -> None:
        names = sorted(set(known))
        near = [*meant, *near_names(name, [*names, *aliases])]
        hint = f"did you mean {' or '.join(near)}?" if near else ""
        noun, of, whole = kind.partition(" of ")
        shown = few(names, FEW_NAMES if near else ALL_NAMES)
        expected = (f"one of {shown}" if names else "none") + (f"; or {others}" if others else "")
        super().__init__(f"unknown {noun} '{name}'{of}{whole}", expected=expected, hint=hint.rstrip("?"))
        self.known = names


class ModelError(TransferZooError):
    """A checkpoint or model cannot be used: truncated, wrong architecture, NaN, wrong classes."""


class DataError(TransferZooError):
    """A data set cannot be found or read, or no image is left to attack."""


def refusal(error: OSError) -> str:
    """Return why the operating system refuses, for a sentence that names the file itself."""
    return (error.strerror or str(error) or type(error).__name__).lower()


def reason(error: BaseException) -> str:
    """Return the type and the message of an exception that others raised, in one line."""
    message = shorten(str(error), 300, placeholder=" …").rstrip(".")
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
