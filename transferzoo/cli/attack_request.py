"""What can be asked of `transferzoo attack`: a field a parameter, its option beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from transferzoo.cli.completion import (
    complete_attacks,
    complete_minimizers,
    complete_protocols,
    complete_surrogates,
    complete_targets,
    one_of,
)
from transferzoo.cli.flags import read_batch_size, read_precision, read_rule, read_steps
from transferzoo.cli.options import IMAGES, MODELS, RESULTS, SPEED, ClassNumbers, Jobs
from transferzoo.cli.requests import ImagesRequest, TargetsRequest

ATTACK = "Attack"


@dataclass(frozen=True, kw_only=True)
class AttackRequest(ImagesRequest, TargetsRequest):
    """The parameters of one call of the command, as they were parsed."""

    surrogate: Annotated[
        list[str] | None,
        typer.Option(
            "--surrogate",
            "-s",
            metavar="MODEL",
            help="Model to craft on: a name, a glob, a path; repeat for a matrix; auto: the zoo's for these "
            "classes, or a few that are trained on images that are not attacked.",
            autocompletion=complete_surrogates,
            show_default="the data set's usual one",
        ),
    ] = None
    targets: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "--targets",
            "-t",
            metavar="MODEL",
            help="Model to try: a name, a glob, a path, or all; repeatable.",
            autocompletion=complete_targets,
            show_default="all, or the protocol's",
        ),
    ] = None
    attack: Annotated[
        list[str] | None,
        typer.Option(
            "--attack",
            "-a",
            metavar="ATTACK",
            help="Preset or techniques, for example mi+di:p=0.7: see `list attacks`; repeat to compare.",
            autocompletion=complete_attacks,
            show_default="bim, or the protocol's",
        ),
    ] = None
    epsilon: Annotated[
        str | None,
        typer.Option(
            "--epsilon",
            "--eps",
            metavar="RADIUS",
            help="Budget in [0, 1] pixels: 8/255.",
            show_default="the data set's",
        ),
    ] = None
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Attack and count as a paper or a tool does, flags aside: see `list protocols`.",
            autocompletion=complete_protocols,
            show_default="none",
            rich_help_panel=ATTACK,
        ),
    ] = None
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", help="Number of steps.", show_default="50", rich_help_panel=ATTACK),
    ] = None
    step: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Step size: eps/10 or a number.",
            show_default="eps/10, or eps/STEPS if that is more",
            rich_help_panel=ATTACK,
        ),
    ] = None
    norm: Annotated[
        str | None,
        typer.Option(
            metavar="linf|l2",
            help="Norm of the budget.",
            autocompletion=one_of("linf", "l2"),
            show_default="the data set's",
            rich_help_panel=ATTACK,
        ),
    ] = None
    max_gradients: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            show_default=False,
            rich_help_panel=ATTACK,
            help="As many steps as N gradient evaluations an image allow, so that attacks cost the same.",
        ),
    ] = None
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble",
            help="Attack all surrogates together, not one after the other.",
            rich_help_panel=ATTACK,
        ),
    ] = False
    targeted: Annotated[
        str | None,
        typer.Option(
            metavar="random|next|least-likely|FILE",
            autocompletion=one_of("random", "next", "least-likely"),
            show_default="any wrong class",
            rich_help_panel=ATTACK,
            help="Class to be predicted: drawn by the seed, the label's next, the first surrogate's least "
            "likely, or a file with a class a line for every image of the split.",
        ),
    ] = None
    curve: Annotated[
        str | None,
        typer.Option(
            metavar="STEPS",
            help="Measure after these steps too: 1,5,10.",
            show_default="none",
            rich_help_panel=ATTACK,
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Of the draw of images and of random techniques.",
            show_default="0",
            rich_help_panel=ATTACK,
        ),
    ] = None
    classes: ClassNumbers = None
    finetune: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            show_default=False,
            rich_help_panel=MODELS,
            autocompletion=complete_minimizers,
            help="Attack from each surrogate as it is, and fine-tuned by a minimizer, with options of it and "
            "of a training, sam:rho=0.4,epochs=2; repeatable.",
        ),
    ] = None
    train_data: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Images to fine-tune on.",
            show_default="the data set's training images",
            rich_help_panel=MODELS,
        ),
    ] = None
    images: Annotated[
        int | None,
        typer.Option(help="How many images at most.", show_default="the data set's", rich_help_panel=IMAGES),
    ] = None
    save_images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the images as PNGs, and a sheet of ten with label and prediction.",
            show_default=False,
            rich_help_panel=RESULTS,
        ),
    ] = None
    pack: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.zip",
            help="Write clean and adversarial images, chosen by the surrogates alone, for `score`.",
            show_default=False,
            rich_help_panel=RESULTS,
        ),
    ] = None
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print what would be done, and what it costs.", rich_help_panel=RESULTS
        ),
    ] = False
    batch_size: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            autocompletion=one_of("auto"),
            show_default="the data set's",
            rich_help_panel=SPEED,
            help="Images attacked together; auto: as many as fit in memory.",
        ),
    ] = None
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="fp32|bf16|auto",
            autocompletion=one_of("fp32", "bf16", "auto"),
            show_default="fp32",
            rich_help_panel=SPEED,
            help="Of the surrogates' weights; auto: bf16 where the processor has it. Targets have fp32.",
        ),
    ] = None
    jobs: Jobs = None
    compile: Annotated[
        bool,
        typer.Option(
            "--compile", help="Let torch.compile make the surrogates faster.", rich_help_panel=SPEED
        ),
    ] = False

    @property
    def fields(self) -> dict[str, Any]:
        """Those of `AttackConfig` and `AttackSpec` that a user set; None where nothing was said.

        Raises:
            UsageError: one cannot be read.
        """
        return {
            "split": self.split,
            "norm": self.norm,
            "epsilon": self.epsilon,
            "step": self.step,
            "steps": self.steps,
            "images": self.images,
            "images_correct_for": self.images_correct_for,
            "seed": self.seed,
            "batch_size": read_batch_size(self.batch_size),
            "ensemble": self.ensemble,
            "curve": read_steps(self.curve),
            "targeted": read_rule(self.targeted),
            "precision": read_precision(self.precision),
            "compile": self.compile,
            "protocol": self.protocol,
        }
