"""What can be asked of `transferzoo train`: a field a parameter, its option beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from transferzoo.cli.completion import (
    complete_architectures,
    complete_minimizers,
    complete_models,
    complete_recipes,
    complete_validators,
    one_of,
)
from transferzoo.cli.options import MODELS, RESULTS, SPEED
from transferzoo.cli.requests import ImagesRequest, ZooRequest

TRAINING, MINIMIZER, RATES, SELECTION, METHODS = (
    "Training",
    "Minimizer",
    "Learning rate and radius",
    "Selection",
    "Other methods",
)
STREAMED = "Large images, read from disk"


@dataclass(frozen=True, kw_only=True)
class TrainRequest(ImagesRequest, ZooRequest):
    """The parameters of one call of the command, as they were parsed."""

    recipe: Annotated[
        str | None,
        typer.Option(
            help="A recipe of the zoo; the other options change it.", autocompletion=complete_recipes
        ),
    ] = None
    minimizer: Annotated[
        str | None,
        typer.Option(help="For example sgd, sam, sam:rho=0.2.", autocompletion=complete_minimizers),
    ] = None
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set.")] = None
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Fine-tune this model, of the zoo or your own.",
            autocompletion=complete_models,
        ),
    ] = None
    architecture: Annotated[
        str | None,
        typer.Option(
            help="For example small_resnet50:width=12.",
            autocompletion=complete_architectures,
            rich_help_panel=MODELS,
        ),
    ] = None
    image_size: Annotated[
        int | None,
        typer.Option(
            min=4,
            metavar="PIXELS",
            help="Height and width that images of your own are read at.",
            show_default="their own, 64 at most; with --from the model's",
            rich_help_panel=TRAINING,
        ),
    ] = None
    batch_size: Annotated[
        int | None, typer.Option(help="Images a step, over all processes.", rich_help_panel=TRAINING)
    ] = None
    augment: Annotated[
        str | None,
        typer.Option(
            autocompletion=one_of("crop-flip", "crop", "none"),
            help="crop-flip, crop or none.",
            rich_help_panel=TRAINING,
        ),
    ] = None
    seed: Annotated[
        int | None, typer.Option(help="Of weights, order and augmentation.", rich_help_panel=TRAINING)
    ] = None
    rho: Annotated[
        float | None, typer.Option(help="Radius of its neighbourhood.", rich_help_panel=MINIMIZER)
    ] = None
    micro_batch: Annotated[
        int | None,
        typer.Option(
            "--micro-batch",
            "--m",
            rich_help_panel=MINIMIZER,
            help="Images a forward pass and a perturbation (m-sharpness).",
        ),
    ] = None
    sync_perturbation: Annotated[
        bool | None,
        typer.Option(
            "--sync-perturbation", help="One perturbation for the whole batch.", rich_help_panel=MINIMIZER
        ),
    ] = None
    momentum: Annotated[float | None, typer.Option(help="Of SGD.", rich_help_panel=MINIMIZER)] = None
    weight_decay: Annotated[
        float | None, typer.Option(help="Outside the perturbation.", rich_help_panel=MINIMIZER)
    ] = None
    clip: Annotated[
        float | None, typer.Option(help="Largest norm of a gradient.", rich_help_panel=MINIMIZER)
    ] = None
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", "--lr", help="Initial.", rich_help_panel=RATES)
    ] = None
    schedule: Annotated[
        str | None,
        typer.Option(
            autocompletion=one_of("step", "cosine", "linear", "constant"),
            help="step, cosine, linear or constant.",
            rich_help_panel=RATES,
        ),
    ] = None
    warmup: Annotated[float | None, typer.Option(help="Fraction of the training.", rich_help_panel=RATES)] = (
        None
    )
    decay_at: Annotated[
        str | None,
        typer.Option(help="Fractions at which a step schedule decays: 0.5,0.75.", rich_help_panel=RATES),
    ] = None
    decay: Annotated[float | None, typer.Option(help="Factor of a decay.", rich_help_panel=RATES)] = None
    rho_schedule: Annotated[
        str | None,
        typer.Option(
            autocompletion=one_of("constant", "rate", "late"),
            help="constant, rate: follow the learning rate, or late: fall in the last fifth.",
            rich_help_panel=RATES,
            show_default="the minimizer's",
        ),
    ] = None
    rho_warmup: Annotated[
        float | None, typer.Option(help="Fraction of the training.", rich_help_panel=RATES)
    ] = None
    rho_floor: Annotated[
        float | None, typer.Option(help="Smallest share of the radius.", rich_help_panel=RATES)
    ] = None
    validation: Annotated[
        int | None, typer.Option(help="Training images held out.", rich_help_panel=SELECTION)
    ] = None
    save_every: Annotated[
        str | None,
        typer.Option(
            autocompletion=one_of("epoch", "never"),
            help="epoch: keep a checkpoint of each.",
            rich_help_panel=SELECTION,
        ),
    ] = None
    select: Annotated[
        str | None,
        typer.Option(
            autocompletion=one_of("last", "accuracy", "transfer"),
            help="Which epoch is kept: last, accuracy or transfer.",
            rich_help_panel=SELECTION,
        ),
    ] = None
    validators: Annotated[
        list[str] | None,
        typer.Option(
            "--validator",
            help="Validation target; repeatable.",
            autocompletion=complete_validators,
            rich_help_panel=SELECTION,
            show_default="those of the data set",
        ),
    ] = None
    tune: Annotated[
        str | None,
        typer.Option(
            metavar="rho=…", help="Radii; the one that transfers best is kept.", rich_help_panel=SELECTION
        ),
    ] = None
    labels_from: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Train on this model's answers, not on the data set's labels.",
            autocompletion=complete_models,
            rich_help_panel=METHODS,
        ),
    ] = None
    label_smoothing: Annotated[
        float | None, typer.Option(help="Probability spread over the classes.", rich_help_panel=METHODS)
    ] = None
    mixup: Annotated[
        float | None, typer.Option(help="α of mixup: pairs of images are mixed.", rich_help_panel=METHODS)
    ] = None
    cutmix: Annotated[
        float | None,
        typer.Option(help="α of CutMix: a part is pasted from the other.", rich_help_panel=METHODS),
    ] = None
    input_gradient: Annotated[
        float | None,
        typer.Option(help="Weight of the gradient's length at the pixels, 0.1.", rich_help_panel=METHODS),
    ] = None
    adversarial: Annotated[
        str | None,
        typer.Option(
            metavar="NORM:EPS", help="Train on adversarial images, l2:0.1.", rich_help_panel=METHODS
        ),
    ] = None
    collect: Annotated[
        str | None,
        typer.Option(metavar="lgv[:…]", help="Collect weights after the training.", rich_help_panel=METHODS),
    ] = None
    auto_augment: Annotated[
        str | None,
        typer.Option(help="timm's policy, as in rand-m9-mstd0.5.", rich_help_panel=STREAMED),
    ] = None
    precision: Annotated[
        str | None,
        typer.Option(
            autocompletion=one_of("bf16", "fp32", "fp64"), help="bf16, fp32 or fp64.", rich_help_panel=SPEED
        ),
    ] = None
    compile: Annotated[
        bool | None, typer.Option("--compile", help="Use torch.compile.", rich_help_panel=SPEED)
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes that read images.",
            show_default="one a processor, at most 16",
            rich_help_panel=SPEED,
        ),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Checkpoint folder.",
            show_default="checkpoints/NAME-FINGERPRINT",
            rich_help_panel=RESULTS,
        ),
    ] = None
    storage: Annotated[
        str | None,
        typer.Option(
            autocompletion=one_of("fp32", "fp16"),
            help="Precision of the stored weights: fp32 or fp16.",
            rich_help_panel=RESULTS,
        ),
    ] = None
    log_with: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=one_of("tensorboard", "trackio", "wandb"),
            help="Track the curve: tensorboard, trackio or wandb.",
            rich_help_panel=RESULTS,
        ),
    ] = None
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print what would be done, and how long it takes.", rich_help_panel=RESULTS
        ),
    ] = False

    @property
    def fields(self) -> dict[str, Any]:
        """Those of `TrainConfig` that a user set, but for `tune`, whose text `recipes.plan` reads."""
        from transferzoo.base.train_config import TrainConfig

        names = [name for name in TrainConfig.model_fields if name != "tune"]
        given = {name: value for name in names if (value := getattr(self, name, None)) is not None}
        return given | ({} if self.decay_at is None else {"decay_at": tuple(self.decay_at.split(","))})
