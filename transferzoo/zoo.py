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

from pydantic import Field, ValidationError

from transferzoo.config import Record, TrainConfig
from transferzoo.defences import show_defence
from transferzoo.errors import UnknownNameError, UsageError
from transferzoo.specs import HUB, NAMED_ON_HUB, ROLES, DatasetSpec, ModelSpec, Preset, Role
from transferzoo.yaml_file import YamlFile, read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

T = TypeVar("T")


class _File(Record):
    datasets: dict[str, DatasetSpec] = Field(default_factory=dict)
    models: dict[str, dict[str, ModelSpec]] = Field(default_factory=dict)
    attacks: dict[str, Preset] = Field(default_factory=dict)
    recipes: dict[str, TrainConfig] = Field(default_factory=dict)
    suites: dict[str, tuple[str, ...]] = Field(default_factory=dict)


@dataclass(frozen=True)
class Zoo:
    """What the zoo files hold. The first data set is the default one.

    Attributes:
        datasets: name → data set.
        models: full name → model.
        presets: name → named attack.
        recipes: name → training configuration.
        suites: name → spec strings of attacks to compare.
    """

    datasets: Mapping[str, DatasetSpec]
    models: Mapping[str, ModelSpec]
    presets: Mapping[str, Preset]
    recipes: Mapping[str, TrainConfig]
    suites: Mapping[str, tuple[str, ...]]

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
                ("cifar10/resnet18"), paths of checkpoint folders ("./my-model"), or repositories of the Hub
                ("hf-hub:OWNER/NAME[@REVISION]"); commas separate too.
                Behind targets "|" and a defence may follow, for all of them ("vgg,resnet18|jpeg:quality=75").
            dataset: the data set the names are looked up in.
            role: "surrogate" or "target"; a named model may be used in either role.

        Raises:
            UnknownNameError: nothing of that name.
            UsageError: a model of another data set, two models of one name, or a defended surrogate.
        """
        found: list[ModelSpec] = []
        for name, defence in parts(names):
            if defence and role != "target":
                raise UsageError(f"a {role} has no defence", expected=f"'{name}'", got=f"'{name}|{defence}'")
            matching = self._matching(name, dataset, role)
            found += [_defended(model, defence) for model in matching] if defence else matching
        return distinct(found)

    def _matching(self, name: str, dataset: str, role: Role) -> list[ModelSpec]:
        here = {m.name: m for m in self.models.values() if m.dataset == dataset}
        serving = [m for m in here.values() if role in m.roles]
        if name == "all":
            return serving
        if name.startswith(NAMED_ON_HUB):
            return [_hub_model(name, dataset)]
        if name.startswith((".", "/", "~")) or (
            os.sep in name and name not in self.models and Path(name).is_dir()
        ):
            return [_local_model(Path(name).expanduser(), dataset, role)]
        if name in here:
            return [here[name]]
        matching = [m for m in serving if fnmatchcase(m.name, name)]
        if matching and is_pattern(name):
            return matching
        for model in self.models.values():
            if name == model.full_name and model.dataset == dataset:
                return [model]
            if name in (model.name, model.full_name):
                raise UsageError(
                    f"{role} '{name}' belongs to another data set", expected=f"a model of '{dataset}'",
                    got=f"one of '{model.dataset}'",
                    hint="surrogate and targets must share their data set (--dataset)",
                )  # fmt: skip
        raise UnknownNameError(role, name, [m.name for m in serving])


def parts(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return each name with the defence behind it, if any."""
    split = (text.partition("|")[::2] for text in names)
    return [(name.strip(), defence.strip()) for text, defence in split for name in text.split(",")]


def _defended(model: ModelSpec, defence: str) -> ModelSpec:
    """Return a target behind a defence.

    Raises:
        UsageError: it is behind one already, or the defence cannot be read.
    """
    if model.defence:
        raise UsageError(f"'{model.name}' has a defence already", expected="one", got=f"'{defence}'")
    spec = show_defence(defence)
    return model.model_copy(update={"name": f"{model.name}|{spec}", "defence": spec})


def is_pattern(name: str) -> bool:
    """Return whether a name stands for whatever there is: "all" or a glob."""
    return name == "all" or any(character in name for character in "*?[")


def distinct(models: Iterable[ModelSpec]) -> tuple[ModelSpec, ...]:
    """Return models in order and without repeats.

    Raises:
        UsageError: two different folders share a name, so that a table could not tell them apart.
    """
    chosen: dict[str, ModelSpec] = {}
    for model in models:
        known = chosen.setdefault(model.full_name, model)
        if known.source != model.source:
            places = [one.source if one.on_hub else str(one.folder) for one in (known, model)]
            raise UsageError(
                f"two models are called '{model.full_name}'", expected="a name each",
                got=" and ".join(places), hint="rename one of the folders",
            )  # fmt: skip
    return tuple(chosen.values())


def _hub_model(name: str, dataset: str) -> ModelSpec:
    """Return the model that "hf-hub:OWNER/NAME[@REVISION]" stands for.

    Raises:
        UsageError: it is no such name.
    """
    place = name.removeprefix(NAMED_ON_HUB)
    try:
        return ModelSpec(name=place, dataset=dataset, roles=ROLES, source=f"{HUB}{place}", origin="the Hub")
    except ValidationError:
        raise UsageError(
            f"'{place}' is no repository of the Hub", expected=f"{NAMED_ON_HUB}OWNER/NAME[@REVISION]"
        ) from None


def _local_model(folder: Path, dataset: str, role: Role) -> ModelSpec:
    if not folder.is_dir():
        raise UsageError(
            f"{role} '{folder}' is no folder", expected="a checkpoint folder that `transferzoo train` wrote"
        )
    folder = folder.resolve()
    trained_on = _trained_on(folder / "recipe.json") or dataset
    if trained_on != dataset:
        raise UsageError(
            f"the checkpoint {folder} belongs to another data set", expected=f"'{dataset}'",
            got=f"'{trained_on}'", hint=f"choose it with --dataset {trained_on}",
        )  # fmt: skip
    return ModelSpec(name=folder.name, dataset=dataset, roles=ROLES, source=f"local:{folder}")


def _trained_on(recipe: Path) -> str | None:
    """Return the data set that a recipe.json names, if there is one and it names any."""
    try:
        return str(json.loads(recipe.read_text(encoding="utf-8"))["config"]["dataset"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"cannot read {recipe}", expected="what `transferzoo train` wrote", got=type(error).__name__,
            hint="delete it, or copy the checkpoint again",
        ) from None  # fmt: skip


def _look_up(kind: str, name: str, known: Mapping[str, T]) -> T:
    if name not in known:
        raise UnknownNameError(kind, name, known)
    return known[name]


# ---------------------------------------------------------------- reading


def packaged_file() -> Path:
    """Return the zoo.yaml that ships: inside an installed package, beside it in an editable install."""
    installed = Path(__file__).with_name("zoo.yaml")
    return installed if installed.exists() else Path(__file__).parent.parent / "zoo.yaml"


def load_zoo(extra: Path | None = None) -> Zoo:
    """Read the packaged zoo file, and over it the user's.

    Args:
        extra: the user's file; by default the one that the variable TRANSFERZOO_ZOO names, if any.

    Raises:
        UsageError: a file is wrong; the message names file, line and key.
    """
    if extra is None and (named := os.environ.get("TRANSFERZOO_ZOO")):
        extra = Path(named)
    return _read(extra and extra.expanduser().absolute())


@cache
def _read(extra: Path | None) -> Zoo:
    files = [read_yaml(path) for path in (packaged_file(), extra) if path is not None]
    parts = [(file, file.records(_File)) for file in files]
    zoo = _merge((file.path.parent, part) for file, part in parts)
    for file, part in parts:
        _check_references(file, part, zoo)
    return zoo


def _merge(parts: Iterable[tuple[Path, _File]]) -> Zoo:
    datasets: dict[str, DatasetSpec] = {}
    models: dict[str, ModelSpec] = {}
    presets: dict[str, Preset] = {}
    recipes: dict[str, TrainConfig] = {}
    suites: dict[str, tuple[str, ...]] = {}
    for folder, part in parts:
        for name, data in part.datasets.items():
            splits = {s: tuple(_beside(folder, p) for p in places) for s, places in data.splits.items()}
            datasets[name] = data.model_copy(update={"name": name, "splits": splits})
        for dataset, entries in part.models.items():
            for name, entry in entries.items():
                names = {"name": name, "dataset": dataset, "source": _beside(folder, entry.source)}
                model = entry.model_copy(update=names)
                models[model.full_name] = model
        presets |= part.attacks
        recipes |= part.recipes
        suites |= part.suites
    return Zoo(datasets, models, presets, recipes, suites)


def _beside(folder: Path, source: str) -> str:
    """Return a source whose relative path, if it is one, starts at the folder of the zoo file."""
    kind, _, place = source.partition(":")
    return f"local:{folder / Path(place).expanduser()}" if kind == "local" else source


def _check_references(file: YamlFile, part: _File, zoo: Zoo) -> None:
    for dataset, entries in part.models.items():
        if dataset not in zoo.datasets:
            raise file.unknown(("models", dataset), "data set", dataset, zoo.datasets)
        for name, model in entries.items():
            if model.recipe is not None and model.recipe not in zoo.recipes:
                raise file.unknown(("models", dataset, name, "recipe"), "recipe", model.recipe, zoo.recipes)
    for name in part.suites.keys() & zoo.presets.keys():
        raise file.error(("suites", name), f"'{name}' names an attack already", expected="another name")
    for name, recipe in part.recipes.items():
        if recipe.dataset not in zoo.datasets:
            raise file.unknown(("recipes", name, "dataset"), "data set", recipe.dataset, zoo.datasets)
