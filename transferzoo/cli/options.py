"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferzoo.base.plugins import load_file
from transferzoo.cli.completion import complete_architectures, complete_datasets, one_of

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
        help="The network that the weight files (.safetensors, .pt) among the models fit: resnet18.",
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBERS",
        show_default="the architecture's",
        rich_help_panel=MODELS,
        help="What those weight files expect to be subtracted from [0, 1] pixels: 0.485,0.456,0.406.",
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBERS",
        show_default="the architecture's",
        rich_help_panel=MODELS,
        help="What divides them then: 0.229,0.224,0.225.",
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
        help="Your images: class folders, a list, Parquet, IDX, an archive; a data set of their own, unless "
        "--dataset names one.",
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
Split = Annotated[
    str | None,
    typer.Option(help="Which images of the data set.", show_default="the data set's", rich_help_panel=IMAGES),
]
CorrectFor = Annotated[
    str | None,
    typer.Option(
        help="Images that all targets, each target, or none must classify correctly.",
        autocompletion=one_of("all", "target", "none"),
        show_default="all",
        rich_help_panel=IMAGES,
    ),
]
AllowInaccurate = Annotated[
    bool,
    typer.Option(
        "--allow-inaccurate",
        help="Take models too whose clean accuracy is near chance.",
        rich_help_panel=IMAGES,
    ),
]
Prompt = Annotated[
    str,
    typer.Option(
        metavar="SENTENCE",
        show_default="a photo of a {}.",
        rich_help_panel=MODELS,
        help="What zero-shot models (open_clip:) are told of a class, {} for its name.",
    ),
]
RequestsPerSecond = Annotated[
    float | None,
    typer.Option(
        metavar="NUMBER",
        show_default="no limit",
        rich_help_panel=SPEED,
        help="Ask a served model (oip:) at most so often; a request holds up to 64 images.",
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
Runs = Annotated[
    Path, typer.Option(metavar="DIR", help="Where run folders are kept.", rich_help_panel=RESULTS)
]
