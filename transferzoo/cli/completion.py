"""What the shell offers behind each option: only what the command takes there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer  # noqa: TC002 (Typer reads the annotations at run time)

from transferzoo.base.errors import TransferZooError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import ModelSpec, Role


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _zoo() -> Zoo:
    """Return the zoo; an empty one where the user's file is wrong, since a completion must not complain."""
    from transferzoo.zoo.reader import Zoo, load_zoo

    try:
        return load_zoo()
    except TransferZooError:
        return Zoo({}, {}, {}, {}, {}, {})


def one_of(*values: str) -> Callable[[str], list[str]]:
    """Return a completion by a few values."""

    def complete(incomplete: str) -> list[str]:
        return _starting(values, incomplete)

    return complete


# ---------------------------------------------------------------- models


def _published(context: typer.Context) -> list[ModelSpec]:
    """Return the models that have weights, of the data set of the command."""
    zoo = _zoo()
    dataset = context.params.get("dataset") or next(iter(zoo.datasets), "")
    return [model for model in zoo.models.values() if model.dataset == dataset and model.is_published]


def _paths(incomplete: str, suffixes: tuple[str, ...]) -> list[str]:
    """Return folders, and files of some formats, that a path may go on with."""
    folder, slash, start = incomplete.rpartition("/")
    place = Path(folder + slash or ".").expanduser()
    found = place.glob(f"{start}*") if place.is_dir() else ()
    kept = sorted(path.name for path in found if path.is_dir() or path.name.endswith(suffixes))
    return [f"{folder}{slash}{name}" for name in kept]


def _model_paths(incomplete: str) -> list[str]:
    """Return paths of models, where it is one already: other words are names first."""
    is_path = incomplete.startswith((".", "~")) or "/" in incomplete
    return (
        _paths(incomplete, (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".onnx", ".keras", ".pt2"))
        if is_path
        else []
    )


def _in_role(context: typer.Context, incomplete: str, role: Role) -> list[str]:
    """Return "all", the models that serve in a role, and paths; behind a comma too."""
    before, comma, last = incomplete.rpartition(",")
    names = ["all", *(model.name for model in _published(context) if role in model.roles)]
    return [before + comma + name for name in (*_starting(names, last), *_model_paths(last))]


def complete_surrogates(context: typer.Context, incomplete: str) -> list[str]:
    """Complete what images are crafted on."""
    return _in_role(context, incomplete, "surrogate")


def complete_targets(context: typer.Context, incomplete: str) -> list[str]:
    """Complete what images are tried on, and behind a `|` its defence."""
    from transferzoo.defences import DEFENCES

    model, bar, defence = incomplete.rpartition("|")
    if bar:
        return [model + bar + name for name in _starting(DEFENCES, defence)]
    return _in_role(context, incomplete, "target")


def complete_validators(context: typer.Context, incomplete: str) -> list[str]:
    """Complete validation targets."""
    return _in_role(context, incomplete, "validator")


def complete_models(context: typer.Context, incomplete: str) -> list[str]:
    """Complete one model, whatever its role."""
    names = [model.name for model in _published(context)]
    return [*_starting(names, incomplete), *_model_paths(incomplete)]


def complete_pulls(context: typer.Context, incomplete: str) -> list[str]:
    """Complete what comes from the Hub: groups, data sets, models that are there."""
    zoo, dataset = _zoo(), context.params.get("dataset")
    chosen = [d for d in zoo.datasets if dataset in (None, d)]
    models = [m for m in zoo.models.values() if m.dataset in chosen and m.source.state == "hub"]
    return _starting(
        ("all", "surrogates", "targets", "validators", *chosen, *(m.full_name for m in models)), incomplete
    )


# ---------------------------------------------------------------- everything else


def complete_datasets(incomplete: str) -> list[str]:
    """Complete a data set's name."""
    return _starting(_zoo().datasets, incomplete)


def complete_protocols(incomplete: str) -> list[str]:
    """Complete a protocol's name."""
    return _starting(_zoo().protocols, incomplete)


def complete_recipes(incomplete: str) -> list[str]:
    """Complete a recipe's name."""
    return _starting(_zoo().recipes, incomplete)


def complete_attacks(incomplete: str) -> list[str]:
    """Complete an attack, behind a `+` what can be added; aliases where one is begun, with a capital."""
    from transferzoo.attacks.techniques import TECHNIQUES

    before, plus, last = incomplete.rpartition("+")
    zoo = _zoo()
    techniques = (name for name in TECHNIQUES if plus or TECHNIQUES[name].needs is None)
    names = {*zoo.presets, *techniques, *(() if plus else zoo.suites), *(zoo.aliases if last else ())}
    taken = before.split("+")
    return [before + plus + name for name in _starting(sorted(names), last) if name not in taken]


def complete_one_attack(incomplete: str) -> list[str]:
    """Complete an attack where a suite of them makes no sense."""
    return [name for name in complete_attacks(incomplete) if name not in _zoo().suites]


def complete_techniques(incomplete: str) -> list[str]:
    """Complete the name of a technique."""
    from transferzoo.attacks.techniques import TECHNIQUES

    return _starting(TECHNIQUES, incomplete)


def complete_architectures(incomplete: str) -> list[str]:
    """Complete an architecture's name."""
    from transferzoo.models.architectures import ARCHITECTURES

    return _starting(ARCHITECTURES, incomplete)


def complete_minimizers(incomplete: str) -> list[str]:
    """Complete a minimizer's name."""
    from transferzoo.minimizers import MINIMIZERS

    return _starting(MINIMIZERS, incomplete)


def complete_studies(incomplete: str) -> list[str]:
    """Complete a study of the package, or a file that describes one."""
    from transferzoo.studies.schema import built_in

    return [*_starting(built_in(), incomplete), *_paths(incomplete, (".yaml", ".yml"))]


def complete_reports(incomplete: str) -> list[str]:
    """Complete a study of the package, a run folder, or a file of results."""
    from transferzoo.studies.schema import built_in

    return [*_starting(built_in(), incomplete), *_paths(incomplete, (".jsonl.gz",))]


def names_of_all(zoo: Zoo) -> list[str]:
    """Return every name that `show` knows, of models without their data set."""
    from transferzoo.attacks.techniques import TECHNIQUES
    from transferzoo.datasets import READERS
    from transferzoo.defences import DEFENCES
    from transferzoo.evaluation.pack_manifest import built_in_packs
    from transferzoo.minimizers import MINIMIZERS
    from transferzoo.models.architectures import ARCHITECTURES
    from transferzoo.studies.schema import built_in
    from transferzoo.zoo.model_source import SOURCES

    models = {m.name for m in zoo.models.values()}
    parts = (TECHNIQUES, MINIMIZERS, ARCHITECTURES, DEFENCES, READERS, SOURCES)
    entries = (zoo.datasets, zoo.presets, zoo.suites, zoo.protocols, zoo.recipes)
    named = (*entries, built_in(), built_in_packs(), *parts)
    return [*models, *(name for part in named for name in part)]


def complete_names(incomplete: str) -> list[str]:
    """Complete any name that `show` knows, or the path of a model."""
    zoo = _zoo()
    attacks = complete_attacks(incomplete) if "+" not in incomplete else ()
    found = {*_starting((*zoo.models, *names_of_all(zoo)), incomplete), *attacks}
    return [*sorted(found), *_model_paths(incomplete)]
