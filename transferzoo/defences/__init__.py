"""Defences: what a target does to images before it looks at them.

A defence is a frozen dataclass with one `@DEFENCES.register(NAME)`. It gives one or several views of the
images; the class that the model sees in most of them is the defended model's. Draws come from the image's id,
so that they do not depend on what else is shown. Written behind a target's name: `vgg|jpeg:quality=75`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from transferzoo.base.registry import Registry
from transferzoo.base.spec_strings import build_one, parse_terms, show_term

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


class Defence(Protocol):
    """What a target does to images.

    Attributes:
        paper: where it comes from.
        packages: whose versions the result depends on.
    """

    paper: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]

    def views(self, images: Tensor, ids: Tensor) -> Iterator[Tensor]:
        """Yield what the model is shown, in [0, 1], float32 (N, C, H', W'), one view at a time.

        Args:
            images: uint8 (N, C, H, W), on the CPU.
            ids: what seeds an image's draws, int64 (N,).
        """
        ...


DEFENCES: Registry[type[Defence]] = Registry("defence", "transferzoo.defences")


def read_defence(spec: str) -> Defence:
    """Read a defence such as "jpeg:quality=75".

    Raises:
        UsageError: it cannot be read or an option is out of range.
        UnknownNameError: no such defence or option.
    """
    return build_one(spec, DEFENCES, "jpeg:quality=75")


def show_defence(spec: str) -> str:
    """Return the canonical form of a defence, every option filled in."""
    defence = read_defence(spec)
    return show_term(parse_terms(spec)[0].name, defence)
