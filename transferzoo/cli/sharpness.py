"""`transferzoo sharpness`: how the loss rises when the weights move."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferzoo.base.errors import UsageError
from transferzoo.cli.completion import complete_models, complete_one_attack, complete_targets
from transferzoo.cli.options import (
    IMAGES,
    RESULTS,
    SPEED,
    AllowCode,
    Architecture,
    DataRoot,
    Dataset,
    Json,
    Mean,
    Output,
    Plugins,
    Std,
    ZooFile,
)
from transferzoo.cli.output import log, show, show_json, terminal_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferzoo.datasets import Batch
    from transferzoo.sharpness.measurement_setup import MeasurementSetup
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec

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


def sharpness(
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="Models to measure: names, globs, your own.",
            autocompletion=complete_models,
            show_default=False,
        ),
    ] = None,
    between: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A B",
            autocompletion=complete_models,
            show_default=False,
            help="Instead: loss and accuracy along the line between the weights of two models.",
        ),
    ] = None,
    slice_: Annotated[
        str | None,
        typer.Option(
            "--slice",
            metavar="MODEL",
            show_default=False,
            autocompletion=complete_models,
            help="Instead: the loss on a plane through the weights of a model.",
        ),
    ] = None,
    architecture: Architecture = "",
    mean: Mean = None,
    std: Std = None,
    allow_code: AllowCode = False,
    dataset: Dataset = None,
    data: DataRoot = None,
    split: Annotated[
        str | None,
        typer.Option(help="Which images; train for the paper's.", show_default="the one that is attacked"),
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="How many images at most.")] = 200,
    seed: Annotated[
        int, typer.Option(help="Of the sample of images and of random vectors.", rich_help_panel=IMAGES)
    ] = 0,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Images at a time.", show_default="the data set's, at most 100", rich_help_panel=SPEED
        ),
    ] = None,
    rho: Annotated[float, typer.Option(help="Radius of the worst case.", rich_help_panel=MEASURES)] = 0.05,
    adaptive_rho: Annotated[
        float, typer.Option(help="Radius relative to the weights.", rich_help_panel=MEASURES)
    ] = 0.2,
    sigma: Annotated[
        float, typer.Option(help="Standard deviation of the average case.", rich_help_panel=MEASURES)
    ] = 0.01,
    adaptive_sigma: Annotated[
        float, typer.Option(help="Likewise, relative to the weights.", rich_help_panel=MEASURES)
    ] = 0.05,
    eigenvalues: Annotated[
        int, typer.Option(min=1, help="How many, of the Hessian.", rich_help_panel=MEASURES)
    ] = 1,
    probes: Annotated[
        int, typer.Option(min=2, help="Random vectors of the trace.", rich_help_panel=MEASURES)
    ] = 10,
    steps: Annotated[int, typer.Option(min=1, help="Of the worst case.", rich_help_panel=MEASURES)] = 10,
    draws: Annotated[
        int, typer.Option(min=2, help="Pairs of the average case.", rich_help_panel=MEASURES)
    ] = 10,
    points: Annotated[
        int, typer.Option(min=2, help="Points of the line, or of each axis.", rich_help_panel=LANDSCAPES)
    ] = 11,
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
    ] = None,
    attack: Annotated[
        str,
        typer.Option(
            "--attack",
            "-a",
            rich_help_panel=LANDSCAPES,
            autocompletion=complete_one_attack,
            help="The attack, for example mi+di.",
        ),
    ] = "bim",
    radius: Annotated[
        float,
        typer.Option(help="How far the slice goes; 1: each filter by its norm.", rich_help_panel=LANDSCAPES),
    ] = 1.0,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw it: .png, .svg or .pdf.",
            show_default=False,
            rich_help_panel=LANDSCAPES,
        ),
    ] = None,
    runs: Annotated[
        Path, typer.Option(metavar="DIR", help="Where results are saved.", rich_help_panel=RESULTS)
    ] = Path("runs"),
    output: Output = None,
    json: Json = False,
    zoo: ZooFile = None,
    plugin: Plugins = None,
) -> None:
    """Measure how sharp the loss is around models, between two, or on a plane; the same command resumes."""
    from transferzoo.attacks.configure import resolve
    from transferzoo.attacks.engine import Attack
    from transferzoo.base.atomic import write_text
    from transferzoo.cli.attack_job import download_models
    from transferzoo.cli.landscapes import report_line, report_models, report_slice
    from transferzoo.cli.tables import render
    from transferzoo.datasets.own import own_images, read_as_by
    from transferzoo.datasets.sources import measured
    from transferzoo.models.resolve import named_dataset, select_models
    from transferzoo.models.unlisted_options import UnlistedOptions
    from transferzoo.results.writers import check_output, formatted
    from transferzoo.sharpness.plots import check_plot_path
    from transferzoo.zoo.reader import load_zoo

    request = _request(models, between, slice_)
    _check_belongs(context, request)
    files = [check_output(path) for path in output or []]
    if picture is not None:
        check_plot_path(picture)
    records = load_zoo(zoo)
    names = list(between or ([slice_] if slice_ is not None else models or []))
    records, name, root = own_images(records, named_dataset(records, dataset, names), data, log, log)
    records = measured(records, name, split, root)
    options = UnlistedOptions.read(architecture, allow_code, mean, std)
    chosen = select_models(records, names, name, "surrogate", options, log)
    tried_on = _targets(select_models(records, targets or (), name, "target", options, log), chosen)
    if data is not None and root is None:
        records, note = read_as_by(records, name, chosen)
        log(note)
    dataset_spec = records.dataset(name)
    options.check_used(records, (*chosen, *tried_on))
    chosen, tried_on = download_models(chosen, tried_on)
    if request != "MODEL" and len(chosen) != len(names):
        wanted = "two different models" if between else "one model"
        raise UsageError(f"{request} takes {wanted}", got=", ".join(model.name for model in chosen))
    setup = _measurement_setup(dataset_spec, split, root, images, seed, batch_size)
    if request == "MODEL":
        asked = {option: context.params[option] for option, of in BELONGS.items() if of == "MODEL"}
        found = report_models(setup, chosen, asked, runs)
    elif request == "--between":
        chosen_attack = Attack.of(resolve(records, dataset_spec.name, attack, {}), seed)
        found = report_line(setup, (chosen[0], chosen[1]), points, tried_on, chosen_attack, runs, picture)
    else:
        found = report_slice(setup, chosen[0], points, radius, runs, picture)
    if json:
        show_json(found.content)
    else:
        width = terminal_width()
        show(*(render(table, width) for table in found.tables))
    for path in files:
        write_text(path, formatted(path, found.content, found.rows, found.tables))
        log(f"Written: {path}")
    log(f"Results are saved in {found.folder}")


def _request(models: list[str] | None, between: tuple[str, str] | None, slice_: str | None) -> str:
    """Return which of the three requests was made.

    Raises:
        UsageError: none, or more than one.
    """
    asked = {"MODEL": models, "--between": between, "--slice": slice_}
    made = [name for name, value in asked.items() if value]
    if len(made) != 1:
        raise UsageError(
            "there is nothing to measure" if not made else "one thing is measured at a time",
            expected="models, --between A B or --slice MODEL",
            got=" and ".join(made),
        )
    return made[0]


def _check_belongs(context: typer.Context, request: str) -> None:
    """Refuse options that do not belong to the request.

    Raises:
        UsageError: there is one.
    """
    for name, of in BELONGS.items():
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE" and request not in of:
            option = {"targets": "--target"}.get(name, f"--{name.replace('_', '-')}")
            raise UsageError(f"{option} belongs to {of}", got=request, hint="leave it out")


def _targets(models: Sequence[ModelSpec], ends: Sequence[ModelSpec]) -> tuple[ModelSpec, ...]:
    """Return the targets, without the ends of the line.

    Raises:
        UsageError: none is left, or a target has a defence.
    """
    end_names = {model.full_name for model in ends}
    chosen = tuple(model for model in models if model.full_name not in end_names)
    if models and not chosen:
        raise UsageError("no target is left", expected="at least one that is no end of the line")
    for model in chosen:
        if model.defence:
            raise UsageError("targets of a line have no defence", got=f"'{model.name}'")
    return chosen


def _measurement_setup(
    dataset: DatasetSpec, split: str | None, root: Path | None, images: int, seed: int, batch_size: int | None
) -> MeasurementSetup:
    """Return the setup of the measurement, images loaded.

    Raises:
        UsageError: no such split.
        DataError: the images are not there or damaged.
    """
    from transferzoo.sharpness.measurement_setup import MeasurementSetup

    chosen = split or dataset.attack.split
    if split is None and chosen != "train" and "train" in dataset.splits:
        log(f"Note: measured on the split '{chosen}'; the paper measures on training images (--split train).")
    if root is None and (note := dataset.notes.get(chosen)):
        log(f"Note: {note}")
    together = batch_size or min(dataset.attack.batch_size, 100)
    return MeasurementSetup(dataset, chosen, _images(dataset, chosen, root, images), images, seed, together)


def _images(dataset: DatasetSpec, split: str, root: Path | None, count: int) -> Batch:
    from transferzoo.datasets.sources import load_split
    from transferzoo.sharpness.measurement_setup import BATCH_NORM_IMAGES
    from transferzoo.training.stream import sample, streams

    if streams(dataset):
        return sample(dataset, split, root, max(count, BATCH_NORM_IMAGES))
    return load_split(dataset, split, root=root)
