"""Image classifiers of transformers, in a folder on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from transferzoo.models.sources.at_path import AtPath
from transferzoo.models.transformers_folder import is_transformers
from transferzoo.zoo.model_source import model_source
from transferzoo.zoo.source_facts import Example, InputForm

if TYPE_CHECKING:
    from transferzoo.models.classifier import Classifier
    from transferzoo.models.unlisted_options import UnlistedOptions
    from transferzoo.zoo.schema import DatasetSpec


@model_source("transformers")
@dataclass(frozen=True)
class TransformersClassifier(AtPath):
    """A folder with config.json, model.safetensors and preprocessor_config.json."""

    written: ClassVar[str] = ""
    installed: ClassVar[str] = "pip install 'transferzoo[transformers]'"
    examples: ClassVar[tuple[Example, ...]] = (Example("a folder of transformers", "./my-vit", installed),)
    forks: ClassVar[bool] = True

    @classmethod
    def recognises(cls, written: str, options: UnlistedOptions) -> bool:
        return is_transformers(Path(written).expanduser())

    def reads(self) -> InputForm | None:
        from transferzoo.models.transformers_folder import input_form

        return input_form(self.path)

    def load(self, dataset: DatasetSpec, weights: Path | None = None) -> Classifier:
        from transferzoo.models.predictor import tried
        from transferzoo.models.transformers_folder import load_transformers

        return tried(load_transformers(self.path, dataset), self.path.name, dataset)

    def identity(self) -> tuple[str, str]:
        from transferzoo.models.transformers_folder import identity

        return identity(self.path)

    def class_names(self) -> tuple[str, ...]:
        from transferzoo.models.transformers_folder import class_names

        return class_names(self.path)

    def versions(self) -> dict[str, str]:
        from transferzoo.models.transformers_folder import package

        return {"transformers": str(package().__version__)}
