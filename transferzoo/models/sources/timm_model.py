"""Pretrained models of timm by their names there: repositories of timm's on the Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from transferzoo.base.errors import UnknownNameError, UsageError, near_names
from transferzoo.models.sources.hub_repository import HubRepository
from transferzoo.zoo.model_source import model_source
from transferzoo.zoo.source_facts import Example

if TYPE_CHECKING:
    from transferzoo.models.unlisted_options import UnlistedOptions
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec

OWNER = "timm"
_PLACE = re.compile(r"\w+\.\w+")


@model_source("timm")
@dataclass(frozen=True)
class TimmModel(HubRepository):
    """A model of timm with the tag of its weights, "resnet18.a1_in1k"."""

    pattern: ClassVar[str] = "NAME.TAG"
    written: ClassVar[str] = "timm:NAME[.TAG]"
    examples: ClassVar[tuple[Example, ...]] = (
        Example("a pretrained model of timm", "timm:resnet18"),
        Example("one with other weights", "timm:resnet18.fb_swsl_ig1b_ft_in1k"),
    )

    @classmethod
    def parse(cls, place: str) -> Self:
        if not _PLACE.fullmatch(place):
            raise ValueError(f"timm:{cls.pattern}")
        return cls(f"{OWNER}/{place}")

    @classmethod
    def unlisted(cls, written: str, dataset: DatasetSpec, options: UnlistedOptions) -> ModelSpec:
        """Return the repository that timm names; timm is asked only where no tag says which weights."""
        repo = f"{OWNER}/{written}" if _PLACE.fullmatch(written) else _default(written)
        return HubRepository.unlisted(repo, dataset, options)

    @property
    def place(self) -> str:
        return self.repo.removeprefix(f"{OWNER}/")


def _default(name: str) -> str:
    """Return the repository of the weights that timm takes for a model where none are named.

    Raises:
        UnknownNameError: timm has no such model.
        UsageError: it has no weights.
    """
    import timm

    if not timm.is_model(name):
        near = near_names(name, timm.list_models())
        raise UnknownNameError("model of timm", name, near)  # timm knows too many to list
    found = timm.get_pretrained_cfg(name) if timm.list_pretrained(name) else None
    if found is None or not found.hf_hub_id:
        raise UsageError(
            f"timm has no weights of '{name}' on the Hub",
            expected="a trained model",
            hint=f"train one, `transferzoo train --architecture {name}`, or name another",
        )
    return str(found.hf_hub_id)
