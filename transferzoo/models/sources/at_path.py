"""What the forms of models that are one file or folder on this machine have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from transferzoo.zoo.model_source import LoadableSource
from transferzoo.zoo.schema import ROLES, ModelSpec, Role

if TYPE_CHECKING:
    from transferzoo.models.unlisted_options import UnlistedOptions
    from transferzoo.zoo.schema import DatasetSpec


@dataclass(frozen=True)
class AtPath(LoadableSource):
    """A file or folder.

    Attributes:
        path: of it.
        suffixes: what the names of such files end with, in small letters.
        roles: what they may serve as where no zoo file says so.
    """

    path: Path

    pattern: ClassVar[str] = "PATH"
    is_path: ClassVar[bool] = True
    suffixes: ClassVar[tuple[str, ...]] = ()
    roles: ClassVar[tuple[Role, ...]] = ROLES

    @classmethod
    def parse(cls, place: str) -> Self:
        if not place:
            raise ValueError(f"{cls.form}:PATH")
        return cls(Path(place).expanduser())

    @classmethod
    def recognises(cls, written: str, options: UnlistedOptions) -> bool:
        return written.lower().endswith(cls.suffixes) and not Path(written).expanduser().is_dir()

    @classmethod
    def unlisted(cls, written: str, dataset: DatasetSpec, options: UnlistedOptions) -> ModelSpec:
        path = Path(written).expanduser().absolute()
        name = path.name if path.is_dir() else path.stem
        return ModelSpec(name=name, dataset=dataset.name, roles=cls.roles, source=cls(path))

    @property
    def place(self) -> str:
        return str(self.path)

    @property
    def group(self) -> str:
        return self.path.parent.name

    def beside(self, folder: Path) -> Self:
        return type(self)(folder / self.path)
