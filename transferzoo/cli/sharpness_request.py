"""What can be asked of `transferzoo sharpness`: a field a parameter, its option beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from transferzoo.base.errors import UsageError
from transferzoo.cli.completion import complete_models, complete_one_attack, complete_targets
from transferzoo.cli.options import IMAGES, RESULTS, SPEED, ClassNumbers, Output
from transferzoo.cli.requests import ImagesRequest, ModelsRequest

MEASURES, LANDSCAPES = "Of models", "Of a line or slice"
BELONGS = {
    "rho": "MODEL",
    "adaptive_rho": "MODEL",
    "sigma": "MODEL",
    "adaptive_sigma": "MODEL",
    "eigenvalues": "MODEL",
    "probes": "MODEL",
    "steps": "MODEL",
    "draws": "MODEL",
    "targets": "--between",
    "attack": "--between",
    "radius": "--slice",
    "points": "--between or --slice",
    "picture": "--between or --slice",
}
"""Option → the request, of the three, that it belongs to."""


@dataclass(frozen=True, kw_only=True)
class SharpnessRequest(ImagesRequest, ModelsRequest):
    """The parameters of one call of the command, as they were parsed."""

    context: typer.Context
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="Models to measure: names, globs, your own.",
            autocompletion=complete_models,
            show_default=False,
        ),
    ] = None
    between: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A B",
            autocompletion=complete_models,
            show_default=False,
            help="Instead: loss and accuracy along the line between the weights of two models.",
        ),
    ] = None
    slice_: Annotated[
        str | None,
        typer.Option(
            "--slice",
            metavar="MODEL",
            show_default=False,
            autocompletion=complete_models,
            help="Instead: the loss on a plane through the weights of a model.",
        ),
    ] = None
    classes: ClassNumbers = None
    split: Annotated[
        str | None,
        typer.Option(help="Which images; train for the paper's.", show_default="the one that is attacked"),
    ] = None
    images: Annotated[int, typer.Option(min=1, help="How many images at most.")] = 200
    seed: Annotated[
        int, typer.Option(help="Of the sample of images and of random vectors.", rich_help_panel=IMAGES)
    ] = 0
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Images at a time.", show_default="the data set's, at most 100", rich_help_panel=SPEED
        ),
    ] = None
    rho: Annotated[float, typer.Option(help="Radius of the worst case.", rich_help_panel=MEASURES)] = 0.05
    adaptive_rho: Annotated[
        float, typer.Option(help="Radius relative to the weights.", rich_help_panel=MEASURES)
    ] = 0.2
    sigma: Annotated[
        float, typer.Option(help="Standard deviation of the average case.", rich_help_panel=MEASURES)
    ] = 0.01
    adaptive_sigma: Annotated[
        float, typer.Option(help="Likewise, relative to the weights.", rich_help_panel=MEASURES)
    ] = 0.05
    eigenvalues: Annotated[
        int, typer.Option(min=1, help="How many, of the Hessian.", rich_help_panel=MEASURES)
    ] = 1
    probes: Annotated[
        int, typer.Option(min=2, help="Random vectors of the trace.", rich_help_panel=MEASURES)
    ] = 10
    steps: Annotated[int, typer.Option(min=1, help="Of the worst case.", rich_help_panel=MEASURES)] = 10
    draws: Annotated[
        int, typer.Option(min=2, help="Pairs of the average case.", rich_help_panel=MEASURES)
    ] = 10
    points: Annotated[
        int, typer.Option(min=2, help="Points of the line, or of each axis.", rich_help_panel=LANDSCAPES)
    ] = 11
    targets: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "--targets",
            "-t",
            rich_help_panel=LANDSCAPES,
            autocompletion=complete_targets,
            help="Also craft images at each point of the line, and evaluate them on these models.",
            show_default="no attack",
        ),
    ] = None
    attack: Annotated[
        str,
        typer.Option(
            "--attack",
            "-a",
            rich_help_panel=LANDSCAPES,
            autocompletion=complete_one_attack,
            help="The attack, for example mi+di.",
        ),
    ] = "bim"
    radius: Annotated[
        float,
        typer.Option(help="How far the slice goes; 1: each filter by its norm.", rich_help_panel=LANDSCAPES),
    ] = 1.0
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw it: .png, .svg or .pdf.",
            show_default=False,
            rich_help_panel=LANDSCAPES,
        ),
    ] = None
    runs: Annotated[
        Path, typer.Option(metavar="DIR", help="Where results are saved.", rich_help_panel=RESULTS)
    ] = Path("runs")
    output: Output = None

    @property
    def names(self) -> list[str]:
        """What the models are called."""
        return list(self.between or ([self.slice_] if self.slice_ is not None else self.models or []))

    @property
    def kind(self) -> str:
        """Which of the three requests it is, `MODEL`, `--between` or `--slice`.

        Raises:
            UsageError: none, or more than one; or an option belongs to another.
        """
        asked = {"MODEL": self.models, "--between": self.between, "--slice": self.slice_}
        made = [name for name, value in asked.items() if value]
        if len(made) != 1:
            raise UsageError(
                "there is nothing to measure" if not made else "one thing is measured at a time",
                expected="models, --between A B or --slice MODEL",
                got=" and ".join(made),
            )
        for name, of in BELONGS.items():
            source = self.context.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE" and made[0] not in of:
                option = {"targets": "--target"}.get(name, f"--{name.replace('_', '-')}")
                raise UsageError(f"{option} belongs to {of}", got=made[0], hint="leave it out")
        return made[0]
