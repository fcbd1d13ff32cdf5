"""The zoo: zoo.yaml → data sets, models, attack presets and training recipes, as frozen records.

The packaged file is merged under the user's own (`--zoo FILE` or `TRANSFERZOO_ZOO`), entry by entry.
Nothing here imports torch.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import Field

from transferzoo.config import Record, TrainConfig
from transferzoo.errors import UnknownNameError, UsageError
from transferzoo.specs import ROLES, DatasetSpec, ModelSpec, Preset, Role
from transferzoo.yaml_file import YamlFile, read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

T = TypeVar("T")


class _File(Record):
    datasets: dict[str, DatasetSpec] = Field(default_factory=dict)
    models: dict[str, dict[str, ModelSpec]] = Field(default_factory=dict)
    attacks: dict[str, Preset] = Field(default_factory=dict)
    recipes: dict[str, TrainConfig] = Field(default_factory=dict)


@dataclass(frozen=True)
class Zoo:
    """What the zoo files hold. The first data set is the default one.

    Attributes:
        datasets: name → data set.
        models: full name → model.
        presets: name → named attack.
        recipes: name → training configuration.
    """

    datasets: Mapping[str, DatasetSpec]
    models: Mapping[str, ModelSpec]
    presets: Mapping[str, Preset]
    recipes: Mapping[str, TrainConfig]

    @property
    def default_dataset(self) -> str:
        """Name of the data set used when nothing else is said."""
        return next(iter(self.datasets))

    def dataset(self, name: str) -> DatasetSpec:
        """Return a data set.

        Raises:
            UnknownNameError: no such data set.
        """
        return _look_up("data set", name, self.datasets)

    def recipe(self, name: str) -> TrainConfig:
        """Return a training recipe.

        Raises:
            UnknownNameError: no such recipe.
        """
        return _look_up("recipe", name, self.recipes)

    def select(self, names: Iterable[str], dataset: str, role: Role) -> tuple[ModelSpec, ...]:
        """Return the models of a data set that names stand for, in order and without repeats.

        Args:
            names: "all" (every model with the role), model names, globs ("resnet50-*"), full names
                ("cifar10/resnet18"), or paths of checkpoint folders ("./my-model"); commas separate too.
            dataset: the data set the names are looked up in.
            role: "surrogate" or "target"; a named model may be used in either role.

        Raises:
            UnknownNameError: nothing of that name.
            UsageError: a model of another data set.
        """
        chosen: dict[str, ModelSpec] = {}
        for name in (part.strip() for text in names for part in text.split(",")):
            for spec in self._matching(name, dataset, role):
                chosen.setdefault(spec.full_name, spec)
        return tuple(chosen.values())

    def _matching(self, name: str, dataset: str, role: Role) -> list[ModelSpec]:
        here = {m.name: m for m in self.models.values() if m.dataset == dataset}
        serving = [m for m in here.values() if role in m.roles]
        if name == "all":
            return serving
        if (folder := Path(name).expanduser()).is_dir() and (os.sep in name or name.startswith(".")):
            return [_local_model(folder, dataset)]
        if name in self.models:
            if self.models[name].dataset != dataset:
                raise UsageError(
                    f"{role} '{name}' belongs to another data set", expected=f"a model of '{dataset}'",
                    got=f"one of '{self.models[name].dataset}'",
                    hint="surrogate and targets must share their data set (--dataset)",
                )  # fmt: skip
            return [self.models[name]]
        if name in here:
            return [here[name]]
        matching = [m for m in serving if fnmatchcase(m.name, name)]
        if matching and any(c in name for c in "*?["):
            return matching
        elsewhere = [m.full_name for m in self.models.values() if m.name == name]
        raise UnknownNameError(role, name, elsewhere or [m.name for m in serving])


def _local_model(folder: Path, dataset: str) -> ModelSpec:
    folder = folder.resolve()
    recipe = folder / "recipe.json"
    trained_on = json.loads(recipe.read_text())["config"]["dataset"] if recipe.is_file() else dataset
    if trained_on != dataset:
        raise UsageError(
            f"the checkpoint {folder} belongs to another data set", expected=f"'{dataset}'",
            got=f"'{trained_on}'", hint=f"choose it with --dataset {trained_on}",
        )  # fmt: skip
    return ModelSpec(name=folder.name, dataset=dataset, roles=ROLES, source=f"local:{folder}")


def _look_up(kind: str, name: str, known: Mapping[str, T]) -> T:
    if name not in known:
        raise UnknownNameError(kind, name, known)
    return known[name]


# ---------------------------------------------------------------- reading


def packaged_file() -> Path:
    """Return the zoo.yaml that ships: inside an installed package, beside it in an editable install."""
    installed = Path(__file__).with_name("zoo.yaml")
    return installed if installed.exists() else Path(__file__).parent.parent / "zoo.yaml"


@cache
def load_zoo(extra: Path | None = None) -> Zoo:
    """Read the packaged zoo file, and over it the user's.

    Args:
        extra: the user's file; by default the one that the variable TRANSFERZOO_ZOO names, if any.

    Raises:
        UsageError: a file is wrong; the message names file, line and key.
    """
    if extra is None and (named := os.environ.get("TRANSFERZOO_ZOO")):
        extra = Path(named).expanduser()
    files = [read_yaml(path) for path in (packaged_file(), extra) if path is not None]
    parts = [(file, file.records(_File)) for file in files]
    zoo = _merge(part for _, part in parts)
    for file, part in parts:
        _check_references(file, part, zoo)
    return zoo


def _merge(parts: Iterable[_File]) -> Zoo:
    datasets: dict[str, DatasetSpec] = {}
    models: dict[str, ModelSpec] = {}
    presets: dict[str, Preset] = {}
    recipes: dict[str, TrainConfig] = {}
    for part in parts:
        datasets |= {name: d.model_copy(update={"name": name}) for name, d in part.datasets.items()}
        for dataset, entries in part.models.items():
            named = (m.model_copy(update={"name": n, "dataset": dataset}) for n, m in entries.items())
            models |= {m.full_name: m for m in named}
        presets |= part.attacks
        recipes |= part.recipes
    return Zoo(datasets, models, presets, recipes)


def _check_references(file: YamlFile, part: _File, zoo: Zoo) -> None:
    for dataset, entries in part.models.items():
        if dataset not in zoo.datasets:
            raise file.unknown(("models", dataset), "data set", dataset, zoo.datasets)
        for name, model in entries.items():
            if model.recipe is not None and model.recipe not in zoo.recipes:
                raise file.unknown(("models", dataset, name, "recipe"), "recipe", model.recipe, zoo.recipes)
    for name, recipe in part.recipes.items():
        if recipe.dataset not in zoo.datasets:
            raise file.unknown(("recipes", name, "dataset"), "data set", recipe.dataset, zoo.datasets)
