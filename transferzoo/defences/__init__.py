"""Defences: what a target does to images before it looks at them.

A defence is a subclass of `Defence`, a frozen dataclass, under `@DEFENCES.register(NAME)`. It gives one or
several views of the images; the class that the model sees in most of them is the defended model's. Draws come
from the image's id, so that they do not depend on what else is shown. Written behind a target's name:
`vgg|jpeg:quality=75`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferzoo.base.options import Options, Terms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


@dataclass(frozen=True)
class Defence(Options, ABC):
    """What a target does to images.

    Attributes:
        paper: where it comes from.
        packages: whose versions the result depends on.
    """

    paper: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def views(self, images: Tensor, ids: Tensor) -> Iterator[Tensor]:
        """Yield what the model is shown, in [0, 1], float32 (N, C, H', W'), one view at a time.

        Args:
            images: uint8 (N, C, H, W), on the CPU.
            ids: what seeds an image's draws, int64 (N,).
        """


DEFENCES: Terms[Defence] = Terms("defence", "transferzoo.defences", Defence, "jpeg:quality=75")


def read_defence(spec: str) -> Defence:
    """Read a defence such as "jpeg:quality=75".

    Raises:
        UsageError: it cannot be read or an option is out of range.
        UnknownNameError: no such defence or option.
    """
    return DEFENCES.read(spec)


def show_defence(spec: str) -> str:
    """Return the canonical form of a defence, every option filled in."""
    return read_defence(spec).spec
