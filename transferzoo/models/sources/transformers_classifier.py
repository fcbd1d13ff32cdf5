"""Image classifiers of transformers, in a folder on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from transferzoo.zoo.model_source import LoadableSource, model_source
from transferzoo.zoo.schema import ROLES, ModelSpec

if TYPE_CHECKING:
    from transferzoo.models.classifier import Classifier
    from transferzoo.models.resolve import UnlistedOptions
    from transferzoo.zoo.schema import DatasetSpec


@model_source("transformers")
@dataclass(frozen=True)
class TransformersClassifier(LoadableSource):
    """A folder with config.json, model.safetensors and preprocessor_config.json.

    Attributes:
        path: of the folder.
    """

    path: Path

    pattern: ClassVar[str] = "PATH"
    written: ClassVar[str] = ""
    is_path: ClassVar[bool] = True

    @classmethod
    def parse(cls, place: str) -> Self:
        if not place:
            raise ValueError("transformers:PATH")
        return cls(Path(place).expanduser())

    @classmethod
    def unlisted(cls, written: str, dataset: DatasetSpec, options: UnlistedOptions) -> ModelSpec:
        path = Path(written).expanduser().resolve()
        return ModelSpec(name=path.name, dataset=dataset.name, roles=ROLES, source=cls(path))

    @property
    def place(self) -> str:
        return str(self.path)

    @property
    def group(self) -> str:
        return self.path.parent.name

    def beside(self, folder: Path) -> Self:
        return type(self)(folder / self.path)

    def load(self, dataset: DatasetSpec, weights: Path | None = None) -> Classifier:
        from transferzoo.models.classifier import tried
        from transferzoo.models.transformers_folder import load_transformers

        return tried(load_transformers(self.path, dataset), self.path.name, dataset)

    def identity(self) -> tuple[str, str]:
        from transferzoo.models.transformers_folder import identity

        return identity(self.path)

    def versions(self) -> dict[str, str]:
        from transferzoo.models.transformers_folder import package

        return {"transformers": str(package().__version__)}
