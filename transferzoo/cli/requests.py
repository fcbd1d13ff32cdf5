"""What several commands can be asked alike: bases of their requests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from transferzoo.cli.completion import complete_architectures, one_of
from transferzoo.cli.options import (
    IMAGES,
    MODELS,
    RESULTS,
    SPEED,
    AllowCode,
    DataRoot,
    Dataset,
    Json,
    Output,
    Plugins,
    ShowNoise,
    Split,
    Visible,
    ZooFile,
)
from transferzoo.datasets.hf_datasets import Columns
from transferzoo.models.unlisted_options import UnlistedOptions


@dataclass(frozen=True, kw_only=True)
class ZooRequest:
    """Whatever computes: on which data set, with what besides the built-in zoo."""

    dataset: Dataset = None
    allow_code: AllowCode = False
    zoo: ZooFile = None
    plugin: Plugins = None
    json: Json = False


@dataclass(frozen=True, kw_only=True)
class ImagesRequest:
    """What takes images of the user's own."""

    data: DataRoot = None
    image_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="guessed",
            rich_help_panel=IMAGES,
            help="Where the images of --data hf-datasets: are.",
        ),
    ] = None
    label_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default="guessed",
            rich_help_panel=IMAGES,
            help="Where their classes are.",
        ),
    ] = None

    @property
    def columns(self) -> Columns:
        """What the user says of the columns."""
        return Columns(self.image_column, self.label_column)


@dataclass(frozen=True, kw_only=True)
class ModelsRequest(ZooRequest):
    """What takes models of the user's too."""

    architecture: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            show_default=False,
            rich_help_panel=MODELS,
            autocompletion=complete_architectures,
            help="The network that the weight files (.safetensors, .pt) among the models fit: resnet18.",
        ),
    ] = ""
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS",
            show_default="timm's of the architecture where it has colours, else the data set's",
            rich_help_panel=MODELS,
            help="What those weight files expect to be subtracted from [0, 1] pixels: 0.485,0.456,0.406.",
        ),
    ] = None
    std: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS",
            show_default="timm's of the architecture where it has colours, else the data set's",
            rich_help_panel=MODELS,
            help="What divides them then: 0.229,0.224,0.225.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class TransferRequest(ModelsRequest):
    """What tries adversarial images on models."""

    allow_inaccurate: Annotated[
        bool,
        typer.Option(
            "--allow-inaccurate",
            help="Take models too whose clean accuracy is near chance.",
            rich_help_panel=IMAGES,
        ),
    ] = False
    split: Split = None
    runs: Annotated[
        Path, typer.Option(metavar="DIR", help="Where run folders are kept.", rich_help_panel=RESULTS)
    ] = Path("runs")


@dataclass(frozen=True, kw_only=True)
class TargetsRequest(TransferRequest):
    """What compares any targets, however they answer."""

    prompt: Annotated[
        str,
        typer.Option(
            metavar="SENTENCE",
            show_default="a photo of a {}.",
            rich_help_panel=MODELS,
            help="What zero-shot models (open_clip:) are told of a class, {} for its name.",
        ),
    ] = ""
    images_correct_for: Annotated[
        str | None,
        typer.Option(
            help="Images that all targets, each target, or none must classify correctly.",
            autocompletion=one_of("all", "target", "none"),
            show_default="all",
            rich_help_panel=IMAGES,
        ),
    ] = None
    noise: ShowNoise = False
    requests_per_second: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            show_default="no limit",
            rich_help_panel=SPEED,
            help="Ask a served model (oip:) at most so often; a request holds up to 64 images.",
        ),
    ] = None
    output: Output = None
    visibility: Visible = False

    @property
    def unlisted(self) -> UnlistedOptions:
        """What a user states about models that no zoo file lists.

        Raises:
            UsageError: it cannot be read.
        """
        return UnlistedOptions.read(
            self.architecture, self.allow_code, self.mean, self.std, self.requests_per_second, self.prompt
        )
