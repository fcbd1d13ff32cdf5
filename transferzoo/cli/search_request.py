"""What can be asked of `transferzoo search`: a field a parameter, its option beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from transferzoo.cli.completion import complete_models
from transferzoo.cli.options import IMAGES, MODELS, RESULTS, SPEED, DataSetImages, Jobs, Split
from transferzoo.cli.requests import ZooRequest


@dataclass(frozen=True, kw_only=True)
class SearchRequest(ZooRequest):
    """The parameters of one call of the command, as they were parsed."""

    max_gradients: Annotated[
        int, typer.Option("--max-gradients", min=1, metavar="N", help="Gradient evaluations an image.")
    ] = 50
    technique: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Techniques to choose from.", show_default="all"),
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
    images: Annotated[
        int,
        typer.Option(
            min=1, help="How many images choose: the last ones of the draw.", rich_help_panel=IMAGES
        ),
    ] = 100
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
    store: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Where results are saved, as of study.", rich_help_panel=RESULTS),
    ] = Path("studies")
