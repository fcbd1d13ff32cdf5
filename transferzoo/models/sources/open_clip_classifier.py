"""Zero-shot classifiers of open_clip, in a folder on this machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from transferzoo.models.sources.at_path import AtPath
from transferzoo.zoo.model_source import model_source
from transferzoo.zoo.source_facts import Example

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.models.classifier import Classifier
    from transferzoo.models.unlisted_options import UnlistedOptions
    from transferzoo.zoo.schema import DatasetSpec


@model_source("open_clip_folder")
@dataclass(frozen=True)
class OpenClipFolder(AtPath):
    """A folder with open_clip_config.json and open_clip_model.safetensors.

    Attributes:
        prompt: a sentence with {} for the name of a class; empty for the usual one.
    """

    prompt: str = ""

    written: ClassVar[str] = ""
    installed: ClassVar[str] = "pip install 'transferzoo[open_clip]'"
    examples: ClassVar[tuple[Example, ...]] = (Example("a folder of open_clip", "./my-clip", installed),)
    forks: ClassVar[bool] = True
    takes_prompt: ClassVar[bool] = True

    def asked_by(self, options: UnlistedOptions) -> Self:
        return replace(self, prompt=options.prompt)

    def load(self, dataset: DatasetSpec, weights: Path | None = None) -> Classifier:
        from transferzoo.models.open_clip_folder import USUAL_PROMPT, load_open_clip
        from transferzoo.models.predictor import tried

        loaded = load_open_clip(self.path, dataset, self.prompt or USUAL_PROMPT)
        return tried(loaded, self.path.name, dataset)

    def identity(self) -> tuple[str, str]:
        from transferzoo.models.open_clip_folder import USUAL_PROMPT, identity

        return identity(self.path, self.prompt or USUAL_PROMPT)

    def versions(self) -> dict[str, str]:
        from transferzoo.models.open_clip_folder import package

        return {"open_clip": str(package().__version__)}
