"""What can be asked of `transferzoo search` and `compare`: a field a parameter, its option beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from transferzoo.cli.completion import complete_models, complete_techniques
from transferzoo.cli.options import (
    IMAGES,
    MODELS,
    RESULTS,
    SPEED,
    DataSetImages,
    Jobs,
    Output,
    ResultFile,
    Split,
)
from transferzoo.cli.requests import ZooRequest

STUDY = "techniques"
"""The study of the package that compares techniques."""


@dataclass(frozen=True, kw_only=True)
class CandidatesRequest(ZooRequest):
    """What tries attacks on validation targets."""

    technique: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TECHNIQUE",
            help="Names of techniques.",
            show_default="all",
            autocompletion=complete_techniques,
        ),
    ] = None
    surrogate: Annotated[
        list[str] | None,
        typer.Option(
            "--surrogate",
            "-s",
            metavar="MODEL",
            help="Models to craft on.",
            show_default="the data set's",
            autocompletion=complete_models,
            rich_help_panel=MODELS,
        ),
    ] = None
    validator: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="Models that choose; report others.",
            show_default="the data set's validation targets",
            autocompletion=complete_models,
            rich_help_panel=MODELS,
        ),
    ] = None
    data: DataSetImages = None
    split: Split = None
    jobs: Jobs = None
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Work on a Ray cluster instead.",
            show_default=False,
            rich_help_panel=SPEED,
        ),
    ] = None
    store: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Where results are saved, as of study.", rich_help_panel=RESULTS),
    ] = Path("studies")


@dataclass(frozen=True, kw_only=True)
class SearchRequest(CandidatesRequest):
    """The parameters of one call of the command, as they were parsed."""

    max_gradients: Annotated[
        int, typer.Option("--max-gradients", min=1, metavar="N", help="Gradient evaluations an image.")
    ] = 50
    images: Annotated[
        int,
        typer.Option(
            min=1, help="How many images choose: the last ones of the draw.", rich_help_panel=IMAGES
        ),
    ] = 100
    name: Annotated[
        str, typer.Option(metavar="NAME", help="What the preset is called.", rich_help_panel=RESULTS)
    ] = "found"
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the preset to a zoo file: a new one, or below its `attacks:`.",
            show_default=False,
            rich_help_panel=RESULTS,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class CompareRequest(CandidatesRequest):
    """The parameters of one call of the command, as they were parsed."""

    beside: Annotated[
        str | None,
        typer.Option(
            metavar="STUDY",
            help="Compare those that are named with the attacks of this study, a name or file.",
            show_default=STUDY,
            rich_help_panel=RESULTS,
        ),
    ] = None
    alone: Annotated[
        bool, typer.Option("--alone", help="Compare those that are named with one another only.")
    ] = False
    images: Annotated[
        int | None,
        typer.Option(min=1, help="How many are attacked.", show_default="500", rich_help_panel=IMAGES),
    ] = None
    choose_on: Annotated[
        int | None,
        typer.Option(
            "--choose-on",
            min=1,
            metavar="N",
            help="How many images choose the step sizes: the last ones of the draw.",
            show_default="100, or as the study was chosen",
            rich_help_panel=IMAGES,
        ),
    ] = None
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the study, which has the step sizes, to a new file (.yaml).",
            show_default=False,
            rich_help_panel=RESULTS,
        ),
    ] = None
    results: ResultFile = None
    output: Output = None
