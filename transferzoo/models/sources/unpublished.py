"""Models of the zoo that nobody has published: a recipe makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn, Self

from transferzoo.base.errors import ModelError, UsageError
from transferzoo.zoo.model_source import ModelSource, model_source

if TYPE_CHECKING:
    from collections.abc import Callable

    from transferzoo.models.unlisted_options import UnlistedOptions
    from transferzoo.zoo.model_source import State
    from transferzoo.zoo.schema import DatasetSpec, WeightFile


@model_source("train")
@dataclass(frozen=True)
class Unpublished(ModelSource):
    """Weights that are yet to be trained; the entry of the zoo file names the recipe."""

    pattern: ClassVar[str] = ""
    written: ClassVar[str] = ""
    state: ClassVar[State] = "train"

    @classmethod
    def parse(cls, place: str) -> Self:
        if place:
            raise ValueError("train, with the recipe in a key of its own")
        return cls()

    @classmethod
    def unlisted(cls, written: str, dataset: DatasetSpec, options: UnlistedOptions) -> NoReturn:
        raise UsageError(
            "'train:' stands for no model by itself",
            expected="the name of one of the zoo",
            hint="`transferzoo list surrogates` and `transferzoo list targets` name them",
        )

    @property
    def place(self) -> str:
        return ""

    def download(
        self, weights: WeightFile | None, notify: Callable[[str], None] = lambda sentence: None
    ) -> NoReturn:
        raise ModelError("nobody has published these weights", hint="train them with their recipe")
