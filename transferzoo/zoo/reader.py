"""The zoo: zoo.yaml → data sets, models, attack presets and training recipes, as frozen models.

The packaged file is merged under the user's own (`--zoo FILE` or `TRANSFERZOO_ZOO`), entry by entry.
Nothing here imports torch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import Field

from transferzoo.base.errors import UnknownNameError
from transferzoo.base.frozen_model import FrozenModel
from transferzoo.base.spec_strings import is_name
from transferzoo.base.train_config import TrainConfig
from transferzoo.base.yaml_file import YamlFile, read_yaml
from transferzoo.zoo.protocol import Protocol
from transferzoo.zoo.schema import DatasetSpec, ModelSpec, Preset
from transferzoo.zoo.selection import can_be_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

T = TypeVar("T")


class _File(FrozenModel):
    schema_version: Literal[1] = Field(default=1, alias="schema")
    datasets: dict[str, DatasetSpec] = Field(default_factory=dict)
    models: dict[str, dict[str, ModelSpec]] = Field(default_factory=dict)
    attacks: dict[str, Preset] = Field(default_factory=dict)
    recipes: dict[str, TrainConfig] = Field(default_factory=dict)
    aliases: dict[str, str] = Field(default_factory=dict)
    suites: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    protocols: dict[str, Protocol] = Field(default_factory=dict)


@dataclass(frozen=True)
class Zoo:
    """What the zoo files hold. The first data set is the default one.

    Attributes:
        datasets: name → data set.
        models: full name → model.
        presets: name → named attack.
        recipes: name → training configuration.
        suites: name → spec strings of attacks to compare.
        aliases: name that others use → spec string of presets and techniques.
        protocols: name → how a paper or a tool attacks and counts.
    """

    datasets: Mapping[str, DatasetSpec]
    models: Mapping[str, ModelSpec]
    presets: Mapping[str, Preset]
    recipes: Mapping[str, TrainConfig]
    suites: Mapping[str, tuple[str, ...]]
    aliases: Mapping[str, str]
    protocols: Mapping[str, Protocol] = field(default_factory=dict)

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
    parts = [(file, file.validated(_File)) for file in files]
    zoo = _merge((file.path.parent, part) for file, part in parts)
    for file, part in parts:
        _check_names(file, part)
        _check_references(file, part, zoo)
    return zoo


def _merge(parts: Iterable[tuple[Path, _File]]) -> Zoo:
    datasets: dict[str, DatasetSpec] = {}
    models: dict[str, ModelSpec] = {}
    presets: dict[str, Preset] = {}
    recipes: dict[str, TrainConfig] = {}
    suites: dict[str, tuple[str, ...]] = {}
    aliases: dict[str, str] = {}
    protocols: dict[str, Protocol] = {}
    for folder, part in parts:
        for name, data in part.datasets.items():
            splits = {s: tuple(_beside(folder, p) for p in places) for s, places in data.splits.items()}
            usual = "test" if "test" in splits else next(iter(splits))
            attack = data.attack.model_copy(update={"split": data.attack.split or usual})
            datasets[name] = data.model_copy(update={"name": name, "splits": splits, "attack": attack})
        for dataset, entries in part.models.items():
            for name, entry in entries.items():
                names = {"name": name, "dataset": dataset, "source": entry.source.beside(folder)}
                model = entry.model_copy(update=names)
                models[model.full_name] = model
        presets |= part.attacks
        recipes |= part.recipes
        suites |= part.suites
        aliases |= part.aliases
        protocols |= part.protocols
    return Zoo(datasets, models, presets, recipes, suites, aliases, protocols)


def _beside(folder: Path, images: str) -> str:
    """Return a place of images whose relative path, if it is one, starts at the folder of the zoo file."""
    kind, _, place = images.partition(":")
    return f"{kind}:{folder / Path(place).expanduser()}" if kind == "local" else images


def _check_names(file: YamlFile, part: _File) -> None:
    """Refuse names that no command could be given: they would stand for several things, or for another."""
    for dataset, entries in part.models.items():
        for name in entries:
            if not can_be_named(name):
                raise file.error(
                    ("models", dataset, name),
                    "no model can be called that",
                    expected="a name without ',', '|' and ' & ', no path, and not 'all'",
                    got=f"'{name}'",
                )
    for name in part.attacks:
        if not is_name(name.lower()):  # capitals are read like small letters
            raise file.error(
                ("attacks", name),
                "no attack can be called that",
                expected="letters, digits, '-' and '_', a letter first",
                got=f"'{name}'",
            )


def _check_references(file: YamlFile, part: _File, zoo: Zoo) -> None:
    for name, data in part.datasets.items():
        if data.recipe is not None and data.recipe not in zoo.recipes:
            raise file.unknown(("datasets", name, "recipe"), "recipe", data.recipe, zoo.recipes)
        own = [model.name for model in zoo.models.values() if model.dataset == name]
        if data.surrogate is not None and data.surrogate not in own:
            raise file.unknown(("datasets", name, "surrogate"), "surrogate", data.surrogate, own)
        for one in data.auditors:
            if one not in own:
                raise file.unknown(("datasets", name, "auditors"), "model", one, own)
    for dataset, entries in part.models.items():
        if dataset not in zoo.datasets:
            raise file.unknown(("models", dataset), "data set", dataset, zoo.datasets)
        for name, model in entries.items():
            if model.recipe is not None and model.recipe not in zoo.recipes:
                raise file.unknown(("models", dataset, name, "recipe"), "recipe", model.recipe, zoo.recipes)
            if model.weights is not None and not model.source.takes_weights:
                raise file.error(
                    ("models", dataset, name, "weights"),
                    "wrong value",
                    "none, or a local: or hub: source",
                    str(model.source),
                )
    for name, protocol in part.protocols.items():
        for key, said in (("targets", protocol.targets), ("split", protocol.split)):
            for dataset in said:
                if dataset not in zoo.datasets:
                    raise file.unknown(("protocols", name, key, dataset), "data set", dataset, zoo.datasets)
        for dataset, split in protocol.split.items():
            if split not in zoo.datasets[dataset].splits:
                known = zoo.datasets[dataset].splits
                raise file.unknown(("protocols", name, "split", dataset), "split", split, known)
    for name in part.suites.keys() & zoo.presets.keys():
        raise file.error(("suites", name), f"'{name}' names an attack already", expected="another name")
    for name, recipe in part.recipes.items():
        if recipe.dataset not in zoo.datasets:
            raise file.unknown(("recipes", name, "dataset"), "data set", recipe.dataset, zoo.datasets)
