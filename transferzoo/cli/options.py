"""Options that several commands share, and the names the shell completes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferzoo.base.errors import TransferZooError
from transferzoo.base.plugins import load_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transferzoo.zoo.reader import Zoo


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _zoo() -> Zoo:
    """Return the zoo; an empty one where the user's file is wrong, since a completion must not complain."""
    from transferzoo.zoo.reader import Zoo, load_zoo

    try:
        return load_zoo()
    except TransferZooError:
        return Zoo({}, {}, {}, {}, {}, {})


def complete_models(incomplete: str) -> list[str]:
    """Complete a model's name, for the shell, also behind a comma."""
    models = _zoo().models
    before, comma, last = incomplete.rpartition(",")
    names = ["all", *sorted({m.name for m in models.values()}), *models]
    return [before + comma + name for name in _starting(names, last)]


def complete_datasets(incomplete: str) -> list[str]:
    """Complete a data set's name, for the shell."""
    return _starting(_zoo().datasets, incomplete)


def complete_recipes(incomplete: str) -> list[str]:
    """Complete a recipe's name, for the shell."""
    return _starting(_zoo().recipes, incomplete)


def complete_attacks(incomplete: str) -> list[str]:
    """Complete a preset's or technique's name, for the shell, also behind a `+`."""
    from transferzoo.attacks.techniques import TECHNIQUES

    before, plus, last = incomplete.rpartition("+")
    zoo = _zoo()
    names = sorted({*zoo.presets, *zoo.suites, *TECHNIQUES})
    return [before + plus + name for name in _starting(names, last)]


def complete_architectures(incomplete: str) -> list[str]:
    """Complete an architecture's name, for the shell."""
    from transferzoo.models.architectures import ARCHITECTURES

    return _starting(ARCHITECTURES, incomplete)


def complete_minimizers(incomplete: str) -> list[str]:
    """Complete a minimizer's name, for the shell."""
    from transferzoo.minimizers import MINIMIZERS

    return _starting(MINIMIZERS, incomplete)


def complete_studies(incomplete: str) -> list[str]:
    """Complete the name of a study of the package, for the shell."""
    from transferzoo.studies.schema import built_in

    return _starting(built_in(), incomplete)


def complete_names(incomplete: str) -> list[str]:
    """Complete any name that `show` knows, for the shell."""
    zoo = _zoo()
    found = (
        *complete_models(incomplete),
        *_starting((*zoo.datasets, *zoo.recipes), incomplete),
        *complete_attacks(incomplete),
        *complete_minimizers(incomplete),
        *complete_architectures(incomplete),
        *complete_studies(incomplete),
    )
    return sorted({name for name in found if name != "all"})


MODELS, IMAGES, RESULTS, SPEED = "Models", "Images", "Results", "Speed and memory"
"""Panels that the help of several commands has; above them stand the options that most need first."""

ZooFile = Annotated[
    Path | None,
    typer.Option(
        "--zoo",
        metavar="FILE",
        help="Your own zoo file, merged over the built-in one.",
        show_default=False,
        rich_help_panel=MODELS,
    ),
]
Architecture = Annotated[
    str,
    typer.Option(
        metavar="SPEC",
        show_default=False,
        rich_help_panel=MODELS,
        autocompletion=complete_architectures,
        help="The network that the .safetensors files among the models fit, for example resnet18.",
    ),
]
AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code",
        help="Run the functions (package.module:function) among the models.",
        rich_help_panel=MODELS,
    ),
]


def _load_plugins(context: typer.Context, files: list[Path] | None) -> list[Path] | None:
    if not context.resilient_parsing:  # a completion runs no code
        for file in files or ():
            load_file(file)
    return files


Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        callback=_load_plugins,
        show_default=False,
        rich_help_panel=MODELS,
        help="Run this Python file, for the techniques and the like that it registers; repeatable.",
    ),
]
Visible = Annotated[
    bool,
    typer.Option(
        "--visibility",
        help="Tell how visible the perturbations are: norms, PSNR, SSIM.",
        rich_help_panel=RESULTS,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.", rich_help_panel=RESULTS)]
Dataset = Annotated[
    str | None,
    typer.Option(
        help="Data set.", autocompletion=complete_datasets, show_default="fashion-mnist, the built-in one"
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="PATH",
        show_default=False,
        rich_help_panel=IMAGES,
        help="Your images: parquet as on the Hub, IDX files, a folder a class, or a folder with a CSV.",
    ),
]
Output = Annotated[
    list[Path] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        show_default=False,
        rich_help_panel=RESULTS,
        help="Also write .json, .csv, .md or .tex; repeatable.",
    ),
]
