"""The zoo: zoo.yaml → data sets, models, attack presets and training recipes, as frozen records.

The packaged file is merged under the user's own (`--zoo FILE` or `TRANSFERZOO_ZOO`), entry by entry.
Nothing here imports torch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import Field

from transferzoo.base.config import Record, TrainConfig
from transferzoo.base.errors import ModelError, UnknownNameError, UsageError
from transferzoo.base.yaml_file import YamlFile, read_yaml
from transferzoo.defences import show_defence
from transferzoo.models.resolve import NOTHING_SAID, Foreign, unlisted
from transferzoo.zoo.schema import HUB, TO_TRAIN, DatasetSpec, ModelSpec, Preset, Role

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

    def select(
        self, names: Iterable[str], dataset: str, role: Role, foreign: Foreign = NOTHING_SAID
    ) -> tuple[ModelSpec, ...]:
        """Return the models of a data set that names stand for, in order and without repeats.

        Args:
            names: "all" (every model with the role that is not `extra`), model names, globs ("resnet50-*"),
                full names ("cifar10/resnet18"), or unlisted models: checkpoint folders ("./my-model"),
                repositories of the Hub ("hf-hub:OWNER/NAME[@REVISION]"), "weights.safetensors", "model.onnx"
                or functions ("package.module:function"); commas separate too.
                Behind targets "|" and a defence may follow, for all of them ("vgg,resnet18|jpeg:quality=75").
            dataset: the data set the names are looked up in.
            role: "surrogate" or "target"; a named model may be used in either role.
            foreign: what the user says of unlisted models.

        Raises:
            UnknownNameError: nothing of that name.
            UsageError: a model of another data set, two models of one name, a defended surrogate, an
                unlisted model that is not there, or code that is not allowed to run.
            ModelError: nobody has published the model.
        """
        found: list[ModelSpec] = []
        for name, defence in parts(names):
            if defence and role != "target":
                raise UsageError(f"a {role} has no defence", expected=f"'{name}'", got=f"'{name}|{defence}'")
            matching = self._matching(name, dataset, role, foreign)
            for model in matching:
                foreign.check(model)
            found += [_defended(model, defence) for model in matching] if defence else matching
        return distinct(found)

    def _matching(self, name: str, dataset: str, role: Role, foreign: Foreign) -> list[ModelSpec]:
        here = {m.name: m for m in self.models.values() if m.dataset == dataset}
        serving = [m for m in here.values() if role in m.roles and m.source != TO_TRAIN]
        if name == "all":
            return [m for m in serving if not m.extra]
        if name in here:
            return [published(here[name])]
        if name not in self.models and (model := unlisted(name, self.dataset(dataset), role, foreign)):
            return [model]
        matching = [m for m in serving if fnmatchcase(m.name, name)]
        if matching and is_pattern(name):
            return matching
        for model in self.models.values():
            if name == model.full_name and model.dataset == dataset:
                return [published(model)]
            if name in (model.name, model.full_name):
                raise UsageError(
                    f"{role} '{name}' belongs to another data set", expected=f"a model of '{dataset}'",
                    got=f"one of '{model.dataset}'",
                    hint="surrogate and targets must share their data set (--dataset)",
                )  # fmt: skip
        raise UnknownNameError(role, name, [m.name for m in serving])


def parts(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return each name with the defence behind it, if any.

    Raises:
        UsageError: a "|" with nothing behind it.
    """
    names = list(names)
    for text in names:
        if text.rstrip().endswith("|"):
            raise UsageError(f"there is no defence behind '{text}'", expected="one, as in 'vgg|bits:depth=3'")
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


def published(model: ModelSpec) -> ModelSpec:
    """Return a model that has weights somewhere.

    Raises:
        ModelError: nobody has published any.
    """
    if model.source == TO_TRAIN:
        raise ModelError(
            f"nobody has published weights of '{model.full_name}'",
            hint=f"train it with `transferzoo train --recipe {model.recipe}` and name the folder it writes",
        )
    return model


def is_pattern(name: str) -> bool:
    """Return whether a name stands for whatever there is: "all" or a glob."""
    return name == "all" or any(character in name for character in "*?[")


def distinct(models: Iterable[ModelSpec]) -> tuple[ModelSpec, ...]:
    """Return models in order and without repeats.

    Raises:
        UsageError: two different models share a name, so that a table could not tell them apart.
    """
    chosen: dict[str, ModelSpec] = {}
    for model in models:
        known = chosen.setdefault(model.full_name, model)
        if (known.source, known.weights) != (model.source, model.weights):
            raise UsageError(
                f"two models are called '{model.full_name}'", expected="a name each",
                got=f"{known.place} and {model.place}", hint="rename one of them",
            )  # fmt: skip
    return tuple(chosen.values())


def _look_up(kind: str, name: str, known: Mapping[str, T]) -> T:
    if name not in known:
        raise UnknownNameError(kind, name, known)
    return known[name]


# ---------------------------------------------------------------- reading


def packaged_file() -> Path:
    """Return the zoo.yaml that ships: inside an installed package, beside it in an editable install."""
    package = Path(__file__).parent.parent
    installed = package / "zoo.yaml"
    return installed if installed.exists() else package.parent / "zoo.yaml"


def load_zoo(extra: Path | None = None) -> Zoo:
    """Read the packaged zoo file, and over it the user's.

    Args:
        extra: the user's file; by default the one that the variable TRANSFERZOO_ZOO names, if any.

    Raises:
        UsageError: a file is wrong; the message names file, line and key.
    """
    return read_zoo(own_file(extra))


def own_file(given: Path | None) -> Path | None:
    """Return the user's own zoo file, absolute: the given one, or the one of the variable TRANSFERZOO_ZOO."""
    if given is None and (named := os.environ.get("TRANSFERZOO_ZOO")):
        given = Path(named)
    return given and given.expanduser().absolute()


@cache
def read_zoo(extra: Path | None) -> Zoo:
    """Read the packaged zoo file, and over it the given one; see `load_zoo`, which knows a default for it."""
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
    return f"{kind}:{folder / Path(place).expanduser()}" if kind in ("local", "onnx") else source


def _check_references(file: YamlFile, part: _File, zoo: Zoo) -> None:
    for dataset, entries in part.models.items():
        if dataset not in zoo.datasets:
            raise file.unknown(("models", dataset), "data set", dataset, zoo.datasets)
        for name, model in entries.items():
            if model.recipe is not None and model.recipe not in zoo.recipes:
                raise file.unknown(("models", dataset, name, "recipe"), "recipe", model.recipe, zoo.recipes)
            if model.weights is not None and not model.source.startswith(("local:", HUB)):
                raise file.error(
                    ("models", dataset, name, "weights"), "wrong value", "none, or a local: or hub: source",
                    model.source,
                )  # fmt: skip
    for name in part.suites.keys() & zoo.presets.keys():
        raise file.error(("suites", name), f"'{name}' names an attack already", expected="another name")
    for name, recipe in part.recipes.items():
        if recipe.dataset not in zoo.datasets:
            raise file.unknown(("recipes", name, "dataset"), "data set", recipe.dataset, zoo.datasets)
