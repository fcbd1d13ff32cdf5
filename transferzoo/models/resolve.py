"""Every way to name a model: from what a user writes to `ModelSpec`s.

Names and patterns of the zoo, and what no zoo file lists: a checkpoint folder, a repository of the Hub, a
weight file and its architecture, an exported model, a function of a Python module; a defence may follow.
Nothing here reads a model or runs code.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from transferzoo.base.errors import UsageError
from transferzoo.defences import show_defence
from transferzoo.zoo.schema import HUB, NAMED_ON_HUB, ROLES, ModelSpec, WeightFile
from transferzoo.zoo.selection import distinct, is_listed, listed, name_apart, parts

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import DatasetSpec, Role

ONNX, PYTHON = "onnx:", "python:"
"""What the sources of exported models and of functions begin with."""
WEIGHTS = ".safetensors"
"""What the name of a weight file ends with."""
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
_FUNCTION = re.compile(r"[\w.]+:[\w.]+")


@dataclass(frozen=True)
class UnlistedOptions:
    """What a user states about the unlisted models of a command.

    Attributes:
        architecture: spec of the network that the bare weight files fit; empty where none is given.
        allow_code: whether functions of Python modules may be run.
    """

    architecture: str = ""
    allow_code: bool = False

    def check(self, model: ModelSpec) -> None:
        """Refuse a model that is code, unless code is allowed.

        Raises:
            UsageError: it is.
        """
        if model.source.startswith(PYTHON) and not self.allow_code:
            raise UsageError(
                f"'{model.source.removeprefix(PYTHON)}' is code, which is not run unasked",
                hint="allow it with --allow-code (allow_code=True in Python) if you trust it",
            )

    def check_used(self, listed: Container[str], models: Iterable[ModelSpec]) -> None:
        """Refuse an architecture that nothing needs.

        Args:
            listed: full names of the models of the zoo.
            models: all that were selected.

        Raises:
            UsageError: no bare weight file is among them.
        """
        if self.architecture and not any(m.weights and m.full_name not in listed for m in models):
            raise UsageError(
                f"there are no weights for the architecture '{self.architecture}'",
                expected=f"a {WEIGHTS} file among the models",
                hint="leave the architecture out: all other models have their own",
            )


NO_OPTIONS = UnlistedOptions()


def select_models(
    zoo: Zoo, names: Iterable[str], dataset: str, role: Role, options: UnlistedOptions = NO_OPTIONS
) -> tuple[ModelSpec, ...]:
    """Return the models of a data set that names stand for, in order and without repeats.

    Args:
        zoo: where names are looked up.
        names: "all" (every model with the role that is not `extra`), model names, globs ("resnet50-*"),
            full names ("cifar10/resnet18"), or unlisted models: checkpoint folders ("./my-model"),
            repositories of the Hub ("hf-hub:OWNER/NAME[@REVISION]"), "weights.safetensors", "model.onnx"
            or functions ("package.module:function"); commas separate too.
            Behind targets "|" and a defence may follow, for all of them ("vgg,resnet18|jpeg:quality=75").
        dataset: the data set the names are looked up in.
        role: "surrogate" or "target"; a named model may be used in either role.
        options: what the user states about unlisted models.

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
        matching = _matching(zoo, name, dataset, role, options)
        for model in matching:
            options.check(model)
        found += [_defended(model, defence) for model in matching] if defence else matching
    (apart,) = name_apart(found)
    return distinct(apart)


def _matching(zoo: Zoo, name: str, dataset: str, role: Role, options: UnlistedOptions) -> list[ModelSpec]:
    model = None if is_listed(zoo, name, dataset) else unlisted(name, zoo.dataset(dataset), role, options)
    return [model] if model else listed(zoo, name, dataset, role)


def _defended(model: ModelSpec, defence: str) -> ModelSpec:
    """Return a target behind a defence.

    Raises:
        UsageError: it is behind one already, or the defence cannot be read.
    """
    if model.defence:
        raise UsageError(f"'{model.name}' has a defence already", expected="one", got=f"'{defence}'")
    spec = show_defence(defence)
    return model.model_copy(update={"name": f"{model.name}|{spec}", "defence": spec})


def unlisted(name: str, dataset: DatasetSpec, role: Role, options: UnlistedOptions) -> ModelSpec | None:
    """Return the model that something other than a listed name stands for; None where it is a name.

    Args:
        name: what the user wrote.
        dataset: what the model classifies; bare weights read its pixels and have its normalisation.
        role: what it shall serve as.
        options: what the user states about it.

    Raises:
        UsageError: there is no such file, or it cannot serve.
    """
    ways = (way for fits, way in _WAYS if fits(name))
    return next((way(name, dataset, role, options) for way in ways), None)


def _hub(name: str, dataset: DatasetSpec, role: Role, options: UnlistedOptions) -> ModelSpec:
    place = name.removeprefix(NAMED_ON_HUB)
    try:
        return ModelSpec(
            name=place, dataset=dataset.name, roles=ROLES, source=f"{HUB}{place}", origin="the Hub"
        )
    except ValidationError:
        raise UsageError(
            f"'{place}' is no repository of the Hub", expected=f"{NAMED_ON_HUB}OWNER/NAME[@REVISION]"
        ) from None


def _weights(name: str, dataset: DatasetSpec, role: Role, options: UnlistedOptions) -> ModelSpec:
    path = _file(name, role)
    if not options.architecture:
        described = (path.parent / "config.json").is_file()
        raise UsageError(
            f"'{name}' does not say which network its weights fit",
            expected="--architecture SPEC too (architecture= in Python), as in --architecture resnet18",
            hint="or name its folder, which has a config.json" if described else "",
        )
    weights = WeightFile(
        file=path.name,
        architecture=options.architecture,
        mean=dataset.mean,
        std=dataset.std,
        input_size=(dataset.channels, dataset.size, dataset.size),
        arguments={"num_classes": len(dataset.classes)},
    )
    return ModelSpec(
        name=path.stem, dataset=dataset.name, roles=ROLES, source=f"local:{path.parent}", weights=weights
    )


def _pickle(name: str, dataset: DatasetSpec, role: Role, options: UnlistedOptions) -> ModelSpec:
    raise UsageError(
        f"{role} '{name}' may be a pickle, and a pickle can run code",
        expected=f"a {WEIGHTS} file",
        hint="save the weights with safetensors, or name the file in a zoo file of your own "
        "(weights: {pickle: true, …}), where it is read as tensors only",
    )


def _exported(name: str, dataset: DatasetSpec, role: Role, options: UnlistedOptions) -> ModelSpec:
    path = _file(name, role)
    return ModelSpec(name=path.stem, dataset=dataset.name, roles=("target",), source=f"{ONNX}{path}")


def _function(name: str, dataset: DatasetSpec, role: Role, options: UnlistedOptions) -> ModelSpec:
    return ModelSpec(name=name.partition(":")[2], dataset=dataset.name, roles=ROLES, source=f"{PYTHON}{name}")


def _file(name: str, role: Role) -> Path:
    path = Path(name).expanduser()
    if not path.is_file():
        raise UsageError(f"{role} '{name}' is no file", hint="check its path")
    return path.absolute()  # a link keeps its name and its neighbours


def _folder(name: str, dataset: DatasetSpec, role: Role, options: UnlistedOptions) -> ModelSpec:
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise UsageError(
            f"{role} '{folder}' is no folder", expected="a checkpoint folder that `transferzoo train` wrote"
        )
    folder = folder.resolve()
    other = trained_on(folder / "recipe.json") or dataset.name
    if other != dataset.name:
        raise UsageError(
            f"the checkpoint {folder} belongs to another data set",
            expected=f"'{dataset.name}'",
            got=f"'{other}'",
            hint=f"choose it with --dataset {other}",
        )
    return ModelSpec(name=folder.name, dataset=dataset.name, roles=ROLES, source=f"local:{folder}")


def trained_on(recipe: Path) -> str | None:
    """Return the data set that a recipe.json names, if there is one and it names any."""
    try:
        return str(json.loads(recipe.read_text(encoding="utf-8"))["config"]["dataset"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"cannot read {recipe}",
            expected="what `transferzoo train` wrote",
            got=type(error).__name__,
            hint="delete it, or copy the checkpoint again",
        ) from None


def _ends(*suffixes: str) -> Callable[[str], bool]:
    return lambda name: name.lower().endswith(suffixes) and not Path(name).expanduser().is_dir()


def _is_folder(name: str) -> bool:
    return name.startswith((".", "/", "~")) or (os.sep in name and Path(name).is_dir())


_WAYS: tuple[
    tuple[Callable[[str], object], Callable[[str, DatasetSpec, Role, UnlistedOptions], ModelSpec]], ...
] = (
    (lambda name: name.startswith(NAMED_ON_HUB), _hub),
    (_ends(WEIGHTS), _weights),
    (_ends(".onnx"), _exported),
    (_ends(*_PICKLES), _pickle),
    (_is_folder, _folder),
    (_FUNCTION.fullmatch, _function),
)
"""What a name looks like → how it becomes a model; the first that fits."""
