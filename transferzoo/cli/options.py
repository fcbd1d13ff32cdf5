"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferzoo.base.plugins import load_file
from transferzoo.cli.completion import complete_datasets

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
AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code",
        help="Run the functions (package.module:function) and programs (.pt2) among the models.",
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
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1,
        show_default="one a processor",
        rich_help_panel=SPEED,
        help="Processes, in one thread each.",
    ),
]
ShowNoise = Annotated[
    bool,
    typer.Option(
        "--noise",
        help="Show random noise to targets that say labels only too; it takes queries.",
        rich_help_panel=IMAGES,
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Which images of the data set.",
        show_default="the data set's",
        rich_help_panel=IMAGES,
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Data set: see `list datasets`.",
        autocompletion=complete_datasets,
        show_default="fashion-mnist, the built-in one",
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="PATH",
        show_default=False,
        rich_help_panel=IMAGES,
        help="Your images: class folders, a list, Parquet, IDX, an archive, hf-datasets:OWNER/NAME; a data "
        "set of their own, unless --dataset names one.",
    ),
]
DataSetImages = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="PATH",
        show_default=False,
        rich_help_panel=IMAGES,
        help="Images of the data set, where they are not the package's or the Hub's: class folders, a list, "
        "Parquet, IDX, an archive.",
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
ResultFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Also write all outcomes (.jsonl.gz), again every minute; what it holds is not computed.",
        rich_help_panel=RESULTS,
    ),
]
ClassNumbers = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        show_default=False,
        rich_help_panel=MODELS,
        help="CSV (data,model): the number of each class of the data in models that name none.",
    ),
]
