"""Repositories of the Hugging Face Hub, whose files are checked against the Hub's digests."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from transferzoo.base.errors import UsageError
from transferzoo.models.open_clip_files import is_open_clip
from transferzoo.models.sources.checkpoint_folder import LocalFolder
from transferzoo.models.sources.open_clip_classifier import OpenClipFolder
from transferzoo.models.sources.transformers_classifier import TransformersClassifier
from transferzoo.models.transformers_folder import is_transformers
from transferzoo.zoo.model_source import ModelSource, model_source
from transferzoo.zoo.schema import NAMED_ON_HUB, ROLES, ModelSpec
from transferzoo.zoo.source_facts import Example

if TYPE_CHECKING:
    from collections.abc import Callable

    from transferzoo.models.unlisted_options import UnlistedOptions
    from transferzoo.zoo.model_source import LoadableSource, State
    from transferzoo.zoo.schema import DatasetSpec, WeightFile

_PLACE = re.compile(r"(?P<repo>[^/@]+/[^/@]+)(@(?P<revision>.+))?")


@model_source("hub", NAMED_ON_HUB.removesuffix(":"))
@dataclass(frozen=True)
class HubRepository(ModelSource):
    """A model of timm, transformers or open_clip on the Hub, or a repository with a weight file.

    Attributes:
        repo: "OWNER/NAME".
        revision: a commit, tag or branch; None for the default branch.
        prompt: of a zero-shot model of open_clip; empty for the usual one.
    """

    repo: str
    revision: str | None = None
    prompt: str = ""

    pattern: ClassVar[str] = "OWNER/NAME[@REVISION]"
    written: ClassVar[str] = f"{NAMED_ON_HUB}{pattern}"
    examples: ClassVar[tuple[Example, ...]] = (
        Example("a repository of timm on the Hub", "hf-hub:OWNER/NAME"),
        Example("a commit, tag or branch of it", "hf-hub:OWNER/NAME@REVISION"),
        Example(
            "a repository of transformers on the Hub", "hf-hub:OWNER/OTHER", TransformersClassifier.installed
        ),
        Example("a repository of open_clip on the Hub", "hf-hub:OWNER/CLIP", OpenClipFolder.installed),
    )
    state: ClassVar[State] = "hub"
    takes_weights: ClassVar[bool] = True
    takes_prompt: ClassVar[bool] = True

    @classmethod
    def parse(cls, place: str) -> Self:
        match = _PLACE.fullmatch(place)
        if match is None:
            raise ValueError(f"hub:{cls.pattern}")
        return cls(match["repo"], match["revision"])

    @classmethod
    def unlisted(cls, written: str, dataset: DatasetSpec, options: UnlistedOptions) -> ModelSpec:
        try:
            source = cls.parse(written)
        except ValueError:
            raise UsageError(f"'{written}' is no repository of the Hub", expected=cls.written) from None
        return ModelSpec(name=written, dataset=dataset.name, roles=ROLES, source=source, origin="the Hub")

    @property
    def place(self) -> str:
        return self.repo + (f"@{self.revision}" if self.revision else "")

    @property
    def group(self) -> str:
        return self.repo.partition("/")[0]

    def asked_by(self, options: UnlistedOptions) -> Self:
        return replace(self, prompt=options.prompt)

    def download(
        self, weights: WeightFile | None, notify: Callable[[str], None] = lambda sentence: None
    ) -> LoadableSource:
        from transferzoo.models.download import download_checkpoint, download_weights

        if weights is None:
            folder = download_checkpoint(self.repo, self.revision)
            if is_open_clip(folder):
                return OpenClipFolder(folder, self.prompt)
            return TransformersClassifier(folder) if is_transformers(folder) else LocalFolder(folder)
        return LocalFolder(download_weights(self.repo, self.revision, weights, notify))
