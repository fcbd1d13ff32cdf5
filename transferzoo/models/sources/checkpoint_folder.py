"""Checkpoint folders on this machine, and weight files that become one once it is known what they fit."""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from transferzoo.base.errors import UsageError, reason
from transferzoo.base.foreign_files import read_json
from transferzoo.base.frozen_model import fingerprint
from transferzoo.models.architectures import ARCHITECTURES
from transferzoo.models.build import OWN_NETWORK, read
from transferzoo.models.open_clip_files import is_open_clip
from transferzoo.models.recipe_file import checked
from transferzoo.models.sources.open_clip_classifier import OpenClipFolder
from transferzoo.models.sources.program_file import is_scripted
from transferzoo.models.sources.transformers_classifier import TransformersClassifier
from transferzoo.models.transformers_folder import is_transformers
from transferzoo.zoo.model_source import LoadableSource, model_source
from transferzoo.zoo.schema import ROLES, ModelSpec, WeightFile, assets
from transferzoo.zoo.source_facts import Example, InputForm

if TYPE_CHECKING:
    from collections.abc import Callable

    from transferzoo.models.classifier import Classifier
    from transferzoo.models.unlisted_options import UnlistedOptions
    from transferzoo.zoo.model_source import State
    from transferzoo.zoo.schema import DatasetSpec

WEIGHTS = ".safetensors"
"""What the name of a weight file ends with."""
PICKLES = (".pt", ".pth", ".pth.tar", ".th", ".bin", ".ckpt", ".pkl", ".pickle")
"""What the names of pickled weights end with, which are read as tensors only."""
_FUNCTION = re.compile(r"[\w.]+:\w+")
"""A spec of an architecture has KEY=VALUE behind the colon."""


class CheckpointFolder(LoadableSource):
    """A folder in timm's format: `model.safetensors` and `config.json`."""

    forks: ClassVar[bool] = True

    @property
    @abstractmethod
    def folder(self) -> Path: ...

    def reads(self) -> InputForm | None:
        from transferzoo.models import checkpoint

        pretrained = checkpoint.read_config(self.folder)["pretrained_cfg"]
        channels, height, width = pretrained["input_size"]
        if channels not in (1, 3) or height != width:
            return None
        return InputForm(channels, height, tuple(pretrained["mean"]), tuple(pretrained["std"]))

    def load(self, dataset: DatasetSpec, weights: Path | None = None) -> Classifier:
        from transferzoo.models.classifier import load_checkpoint

        return load_checkpoint(self.folder, dataset, weights)

    def identity(self) -> tuple[str, str]:
        from transferzoo.models import checkpoint

        return checkpoint.digest(self.folder), fingerprint(checkpoint.description(self.folder))

    def class_names(self) -> tuple[str, ...]:
        from transferzoo.datasets.labels import numbered
        from transferzoo.models import checkpoint

        config = checkpoint.read_config(self.folder)
        count, names = config["num_classes"], checkpoint.class_names(config["pretrained_cfg"])
        return tuple(names) if len(names) == count else numbered(count)

    def collected(self) -> list[Path]:
        from transferzoo.models import checkpoint

        return checkpoint.samples(self.folder)


@model_source("builtin")
@dataclass(frozen=True)
class BuiltIn(CheckpointFolder):
    """A checkpoint folder in the package.

    Attributes:
        name: its path within `assets`.
    """

    name: str

    pattern: ClassVar[str] = "FOLDER"
    written: ClassVar[str] = ""
    state: ClassVar[State] = "built-in"

    @classmethod
    def parse(cls, place: str) -> Self:
        if not place:
            raise ValueError("builtin:FOLDER")
        return cls(place)

    @classmethod
    def unlisted(cls, written: str, dataset: DatasetSpec, options: UnlistedOptions) -> ModelSpec:
        name = Path(written).name
        return ModelSpec(name=name, dataset=dataset.name, roles=ROLES, source=cls(written))

    @property
    def place(self) -> str:
        return self.name

    @property
    def folder(self) -> Path:
        return assets() / self.name


@model_source("local")
@dataclass(frozen=True)
class LocalFolder(CheckpointFolder):
    """A checkpoint folder, or one with a weight file.

    Attributes:
        path: of the folder.
    """

    path: Path

    pattern: ClassVar[str] = "PATH"
    written: ClassVar[str] = f"a checkpoint folder, WEIGHTS{WEIGHTS} or .pt with --architecture"
    examples: ClassVar[tuple[Example, ...]] = (
        Example("a checkpoint folder of timm", "./my-model"),
        Example("a weight file", "net.safetensors --architecture small_vgg"),
        Example("what a training script saved", "net.pt --architecture small_vgg"),
    )
    takes_weights: ClassVar[bool] = True
    is_path: ClassVar[bool] = True

    @classmethod
    def parse(cls, place: str) -> Self:
        if not place:
            raise ValueError("local:PATH")
        return cls(Path(place).expanduser())

    @classmethod
    def recognises(cls, written: str, options: UnlistedOptions) -> bool:
        path = Path(written).expanduser()
        return path.is_dir() or (written.lower().endswith((WEIGHTS, *PICKLES)) and not is_scripted(path))

    @classmethod
    def unlisted(cls, written: str, dataset: DatasetSpec, options: UnlistedOptions) -> ModelSpec:
        path = Path(written).expanduser()
        if path.is_dir():
            folder = path.resolve()
            if is_transformers(folder):
                return TransformersClassifier.unlisted(written, dataset, options)
            if is_open_clip(folder):
                return OpenClipFolder.unlisted(written, dataset, options)
            classified = trained_on(folder) or dataset.name
            return ModelSpec(name=folder.name, dataset=classified, roles=ROLES, source=cls(folder))
        path = path.absolute()  # a link keeps its name and its neighbours
        weights = _described(path, written, dataset, options)
        name = path.name.removesuffix(".tar").rpartition(".")[0]
        return ModelSpec(
            name=name, dataset=dataset.name, roles=ROLES, source=cls(path.parent), weights=weights
        )

    @property
    def place(self) -> str:
        return str(self.path)

    @property
    def folder(self) -> Path:
        return self.path

    @property
    def group(self) -> str:
        return self.path.parent.name

    def beside(self, folder: Path) -> Self:
        return type(self)(folder / self.path)

    def download(
        self, weights: WeightFile | None, notify: Callable[[str], None] = lambda sentence: None
    ) -> LoadableSource:
        if weights is None:
            return self
        from transferzoo.models.conversion import convert_weights

        origin = {"folder": self.place, "file": weights.file}
        return LocalFolder(convert_weights(self.path / weights.file, weights, origin, notify))


def _described(path: Path, written: str, dataset: DatasetSpec, options: UnlistedOptions) -> WeightFile:
    """Return what a bare weight file holds: it reads the data set's pixels.

    They are normalised as the user says. Otherwise an architecture of timm's has its own way for colours; all
    else was trained here, in the data set's way.

    Raises:
        UsageError: nobody says which network it fits, what is said cannot be read, or mean and std are not of
            the data set's channels.
    """
    if not options.architecture:
        described = (path.parent / "config.json").is_file()
        raise UsageError(
            f"'{written}' does not say which network its weights fit",
            expected="its architecture too, --architecture SPEC of `attack`, `audit`, `sharpness` and "
            "`train` (architecture= in Python)",
            hint="or name its folder, which has a config.json" if described else OWN_NETWORK,
        )
    if (
        _FUNCTION.fullmatch(options.architecture)
        and options.architecture.partition(":")[0] not in ARCHITECTURES
    ):
        raise UsageError(
            f"'{options.architecture}' is no architecture",
            expected="one as small_vgg:width=12",
            hint=f"{OWN_NETWORK}, instead of the file",
        )
    read(options.architecture)
    for name, values in (("mean", options.mean), ("std", options.std)):
        if len(values) not in (0, dataset.channels):
            raise UsageError(
                f"--{name} does not fit '{dataset.name}'",
                expected=f"{dataset.channels} value(s), one a channel",
                got=str(len(values)),
            )
    ours = options.architecture.partition(":")[0] in ARCHITECTURES or dataset.channels == 1
    return WeightFile(
        file=path.name,
        architecture=options.architecture,
        pickle=path.suffix.lower() != WEIGHTS,
        mean=options.mean or (dataset.mean if ours else ()),
        std=options.std or (dataset.std if ours else ()),
        input_size=(dataset.channels, dataset.size, dataset.size),
        arguments={"num_classes": len(dataset.classes)},
    )


def trained_on(folder: Path) -> str | None:
    """Return the data set that the recipe.json of a folder names, if there is one and it names any.

    Raises:
        UsageError: the file is damaged.
    """
    recipe = folder / "recipe.json"
    try:
        return str(checked(read_json(recipe))["config"]["dataset"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"cannot read {recipe}",
            expected="what `transferzoo train` wrote",
            got=reason(error),
            hint="delete it, or copy the checkpoint again",
        ) from None
