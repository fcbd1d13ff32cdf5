"""Zero-shot classifiers of open_clip by their names there: repositories of the Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from transferzoo.base.errors import UnknownNameError, UsageError
from transferzoo.models.open_clip_files import CONFIG
from transferzoo.models.sources.hub_repository import HubRepository
from transferzoo.models.sources.open_clip_classifier import OpenClipFolder
from transferzoo.zoo.model_source import ModelSource, model_source
from transferzoo.zoo.source_facts import Example

if TYPE_CHECKING:
    from collections.abc import Callable

    from transferzoo.models.unlisted_options import UnlistedOptions
    from transferzoo.zoo.model_source import LoadableSource, State
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec, WeightFile

_PLACE = re.compile(r"(?P<architecture>[\w.-]+)/(?P<tag>[\w.-]+)")


@model_source("open_clip")
@dataclass(frozen=True)
class OpenClipModel(ModelSource):
    """Weights that open_clip knows by name: a repository of the Hub.

    Attributes:
        architecture: "ViT-B-32".
        tag: of the weights, "laion2b_s34b_b79k".
        prompt: as `OpenClipFolder` has it.
    """

    architecture: str
    tag: str
    prompt: str = ""

    pattern: ClassVar[str] = "ARCHITECTURE/TAG"
    written: ClassVar[str] = f"open_clip:{pattern}"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            "a zero-shot model of open_clip", "open_clip:ViT-B-32/laion2b_s34b_b79k", OpenClipFolder.installed
        ),
    )
    state: ClassVar[State] = "hub"
    takes_prompt: ClassVar[bool] = True

    @classmethod
    def parse(cls, place: str) -> Self:
        match = _PLACE.fullmatch(place)
        if match is None:
            raise ValueError(cls.written)
        return cls(match["architecture"], match["tag"])

    @classmethod
    def unlisted(cls, written: str, dataset: DatasetSpec, options: UnlistedOptions) -> ModelSpec:
        """Return the repository that open_clip names, which is then a model of the Hub like others."""
        try:
            source = cls.parse(written)
        except ValueError:
            raise UsageError(f"'{written}' is no model of open_clip", expected=cls.written) from None
        found = HubRepository.unlisted(source.repository(), dataset, options)
        return found.model_copy(update={"name": source.architecture, "origin": "open_clip"})

    @property
    def place(self) -> str:
        return f"{self.architecture}/{self.tag}"

    def asked_by(self, options: UnlistedOptions) -> Self:
        return replace(self, prompt=options.prompt)

    def download(
        self, weights: WeightFile | None, notify: Callable[[str], None] = lambda sentence: None
    ) -> LoadableSource:
        return HubRepository(self.repository(), prompt=self.prompt).download(weights, notify)

    def repository(self) -> str:
        """Return the repository of the Hub that open_clip names for it, "OWNER/NAME".

        Raises:
            TransferZooError: open_clip is not installed.
            UnknownNameError: it has no such model, or no such weights of it.
            UsageError: the weights are not on the Hub.
        """
        from transferzoo.models.open_clip_folder import package

        known: dict[str, list[str]] = {}
        open_clip: Any = package()
        for architecture, tag in open_clip.list_pretrained():
            known.setdefault(architecture, []).append(tag)
        if self.architecture not in known:
            raise UnknownNameError("model of open_clip", self.architecture, known)
        if self.tag not in known[self.architecture]:
            raise UnknownNameError(
                f"weights of open_clip:{self.architecture}", self.tag, known[self.architecture]
            )
        found = open_clip.pretrained.get_pretrained_cfg(self.architecture, self.tag)
        owner, _, name = str(found.get("hf_hub", "")).rstrip("/").partition("/")
        if not name or "/" in name:
            raise UsageError(
                f"the weights {self.place} of open_clip are not on the Hub",
                expected=f"a repository with {CONFIG}",
                hint="choose other weights",
            )
        return f"{owner}/{name}"
