"""Small-image classifier families: what an architecture is, and the registry of them.

A family is one file with a builder function under `@architecture(...)`; the function's name is the name in
this registry and in timm's. Nothing here imports torch: the builders do, when called.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from transferzoo.base.errors import UnknownNameError, UsageError
from transferzoo.base.options import Option
from transferzoo.base.plugins import is_built_in
from transferzoo.base.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

Stem = Literal["strided", "plain"]
"""A 3×3 convolution with stride 2 (a quarter of the work behind it) or 1, without a max-pool."""

ARGUMENTS = ("num_classes", "in_chans", "width")
"""What every builder takes, each with a default."""
STEM_STRIDES: dict[str, int] = {"strided": 2, "plain": 1}
RANGES: dict[str, Any] = {
    "num_classes": Annotated[int, Field(ge=1)],
    "in_chans": Annotated[int, Field(ge=1)],
    "img_size": Annotated[int, Field(ge=8)],
    "stem": Stem,
}
"""What arguments that several architectures have may be; others, the width aside, any value of their type."""


@dataclass(frozen=True)
class Architecture:
    """A classifier family member that can be built at any width.

    Args:
        name: the registered name, timm's too.
        family: what it is a small version of, for example "resnet".
        paper: authors, year and arXiv number.
        width_step: every width is a multiple of this.
        least_width: the smallest width; `width_step` unless more is needed.
        builder: keyword arguments (all with defaults) → module.
    """

    name: str
    family: str
    paper: str
    width_step: int
    least_width: int
    builder: Callable[..., nn.Module]

    kind: ClassVar[str] = "architecture"

    @property
    def defaults(self) -> dict[str, Any]:
        """Every argument `build` takes, with its default value."""
        parameters = signature(self.builder).parameters.values()
        return {"img_size": 28, **{parameter.name: parameter.default for parameter in parameters}}

    @property
    def fixes_img_size(self) -> bool:
        """Whether the weights depend on the image size; if not, the model takes any size."""
        return "img_size" in signature(self.builder).parameters

    def build(self, **arguments: Any) -> nn.Module:
        """Return a new classifier: images (N, in_chans, img_size, img_size) → logits (N, num_classes).

        Args:
            **arguments: `num_classes` ≥ 1, `in_chans` ≥ 1, `img_size` ≥ 8 pixels, `width` (base channels or
                embedding dimension, a multiple of `width_step` from `least_width`) and, where the family has
                a stem, `stem`.

        Raises:
            UsageError: an argument this architecture does not have, or a value it cannot take.
        """
        settings = self.defaults
        for key, value in arguments.items():
            if key not in settings:
                raise UnknownNameError(f"option of {self.kind} '{self.name}'", key, settings)
            Option(self, key, self._hint(key, type(settings[key]))).check(value)
        settings |= arguments
        if not self.fixes_img_size:
            del settings["img_size"]
        return self.builder(**settings)

    def _hint(self, key: str, kind: type) -> Any:
        """Return what an argument may be, as a field's annotation says it."""
        step = self.width_step if self.width_step > 1 else None
        width = Annotated[int, Field(ge=self.least_width, multiple_of=step)]
        return {"width": width, **RANGES}.get(key, kind)


ARCHITECTURES: Registry[Architecture] = Registry("architecture", "transferzoo.models.architectures")


def architecture(
    *, family: str, paper: str, width_step: int = 1, least_width: int = 0
) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Return a decorator that registers a builder function under its own name; see `Architecture`.

    Raises:
        UsageError: the name is taken, or an argument is missing or has no default.
    """

    def decorate(builder: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        name = builder.__name__
        taken = signature(builder).parameters
        if missing := [one for one in ARGUMENTS if one not in taken or taken[one].default is Parameter.empty]:
            wanted = f"{' and '.join(missing)} with a default"
            raise UsageError(f"architecture '{name}' is not whole", expected=wanted)
        entry = Architecture(name, family, paper, width_step, least_width or width_step, builder)
        ARCHITECTURES.register(name, builder.__module__)(entry)
        if "timm.models" in sys.modules and not is_built_in(builder.__module__):  # ours came with its import
            from transferzoo.models.architectures.entrypoints import register

            register(sys.modules["timm.models"], [name])
        return builder

    return decorate
