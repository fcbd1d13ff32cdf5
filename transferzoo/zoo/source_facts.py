"""What the form of a model's source says of itself, and of a model before it is loaded: frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class InputForm(NamedTuple):
    """What images a model reads.

    Attributes:
        channels: 1 (grey) or 3 (RGB).
        size: height and width in pixels.
        mean: subtracted from [0, 1] pixels, a value a channel; empty where it is not known.
        std: divides them then; likewise.
    """

    channels: int
    size: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


class WebFile(NamedTuple):
    """A file of weights on the web, outside of the Hub.

    Attributes:
        url: where it is downloaded from.
        path: where it lies on this machine then.
        size: bytes, as its publisher states them.
    """

    url: str
    path: Path
    size: int


@dataclass(frozen=True)
class Example:
    """A model in a form, for a user to look up.

    Attributes:
        have: what the user has, in a few words.
        written: what to write then, with the options that it needs.
        needs: what has to be installed, a command; empty for nothing.
        surrogate: whether images can be crafted on it, in words: "yes", "no", or on what it depends.
    """

    have: str
    written: str
    needs: str = ""
    surrogate: str = "yes"
