"""The computations of `transferzoo sharpness`, with every result saved.

Results are saved under `runs/sharpness-FINGERPRINT`, one JSON file for each model, point of a line or row of
a slice, so that the same command resumes where it was stopped. The fingerprint is of all that they depend on,
except the models, which are in the names of the files; other weights are another file.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import torch

from transferzoo.base.atomic import write_json
from transferzoo.base.distributed import this_device
from transferzoo.base.environment import environment
from transferzoo.base.errors import DataError, reason
from transferzoo.base.file_names import file_name
from transferzoo.base.foreign_files import read_json
from transferzoo.base.frozen_model import fingerprint
from transferzoo.evaluation.in_memory import NoNoiseWarning, evaluate
from transferzoo.evaluation.run_folder import RunFolder
from transferzoo.models.load import classes_key, identity, load_classifier
from transferzoo.results.records import Record
from transferzoo.sharpness import LinePoint, Measures, Sharpness, Slice
from transferzoo.sharpness.landscape import filter_normalised_directions, interpolate, plane_losses
from transferzoo.sharpness.measurement import STAGES, measure
from transferzoo.sharpness.surface import loss_surface
from transferzoo.training.loop import seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from transferzoo.attacks.engine import Attack
    from transferzoo.models.classifier import Classifier
    from transferzoo.sharpness.measurement_setup import MeasurementSetup
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec


def results_folder(runs: Path, setup: MeasurementSetup, options: Mapping[str, Any]) -> RunFolder:
    """Return the folder of results with some options, made if absent.

    Raises:
        TransferZooError: it cannot be written.
    """
    content = {**setup.content, "environment": environment()._asdict(), **options}
    others = {name: text for name, text in content["versions"].items() if name != "transferzoo"}
    folder = RunFolder(runs / f"sharpness-{fingerprint({**content, 'versions': others})[:12]}")
    folder.begin(content)
    return folder


def measure_models(
    setup: MeasurementSetup,
    models: Sequence[ModelSpec],
    options: Mapping[str, Any],
    folder: RunFolder,
    on_progress: Callable[[str, int, int], None],
) -> dict[str, Sharpness]:
    """Return the sharpness of models by full name.

    Args:
        setup: images and settings.
        models: downloaded.
        options: further arguments of `measurement.measure`.
        folder: see `results_folder`.
        on_progress: called with the current step, the number of steps done and the number of all.

    Raises:
        ModelError: a model is damaged or does not fit, or cannot be measured.
        UsageError: an option is out of range.
    """
    found = {}
    for number, model in enumerate(models):
        on_stage = _stage_progress(model.name, number, len(models), on_progress)
        content = _load_or_compute(
            folder, _file_stem(model, setup.dataset), partial(_sharpness, setup, model, options, on_stage)
        )
        both = {name: _measures(content[name]) for name in ("plain", "adaptive")}
        found[model.full_name] = Sharpness(**{**content, **both})
    return found


def _stage_progress(
    name: str, number: int, models: int, on_progress: Callable[[str, int, int], None]
) -> Callable[[str], None]:
    """Return the `on_stage` of `measure` for one of several models."""
    stages = 2 * len(STAGES)
    done = count(number * stages)
    return lambda stage: on_progress(f"{name}: {stage}", next(done), models * stages)


def _sharpness(
    setup: MeasurementSetup, model: ModelSpec, options: Mapping[str, Any], on_stage: Callable[[str], None]
) -> dict[str, Any]:
    batch = setup.images
    return asdict(
        measure(
            load_classifier(model, setup.dataset).to(this_device()),
            batch.images,
            batch.labels,
            seed=setup.seed,
            batch_size=setup.batch_size,
            on_stage=on_stage,
            **options,
        )
    )


def measure_line(
    setup: MeasurementSetup,
    ends: tuple[ModelSpec, ModelSpec],
    points: int,
    targets: Sequence[ModelSpec],
    attack: Attack,
    folder: RunFolder,
    on_progress: Callable[[str, int, int], None],
) -> list[LinePoint]:
    """Return the points of the line between two models.

    Args:
        setup: images and settings; the images are also attacked.
        ends: downloaded models of one architecture.
        points: how many, at least 2, both ends included.
        targets: downloaded models that images crafted at each point are evaluated on; empty for no attack.
        attack: how they are crafted.
        folder: see `results_folder`.
        on_progress: as for `measure_models`.

    Raises:
        ModelError: a model is damaged or does not fit, or the architectures differ.
        DataError: the targets classify no image correctly together, or a saved result is damaged.
    """
    device = this_device()
    first, second = (load_classifier(model, setup.dataset).to(device) for model in ends)
    target_models = {model.full_name: load_classifier(model, setup.dataset).to(device) for model in targets}
    name = "--".join(_file_stem(model, setup.dataset) for model in ends)
    found = []
    for index in range(points):
        position, file = index / (points - 1), f"{name}/{index}-of-{points}"
        on_progress(f"point {index + 1} of {points}", index, points)
        content = _load_or_compute(
            folder, file, partial(_point, setup, (first, second), position, target_models, attack)
        )
        found.append(_read_point(content, position, _path(folder, file)))
    return found


def _point(
    setup: MeasurementSetup,
    ends: tuple[Classifier, Classifier],
    position: float,
    targets: Mapping[str, Classifier],
    attack: Attack,
) -> dict[str, Any]:
    batch, size = setup.images, setup.batch_size
    model = interpolate(*ends, position, setup.batch_norm_images.to(this_device()), size)
    records: tuple[Record, ...] = ()
    with loss_surface(model, batch.images, batch.labels, size) as surface:
        loss, accuracy = surface.loss, surface.accuracy
    if targets:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoNoiseWarning)  # none is printed
            evaluation = evaluate(
                attack,
                {f"{position:g}": model},
                targets,
                batch.images,
                batch.labels,
                ids=batch.ids,
                batch_size=size,
            )
        records = tuple(evaluation.records)
    return asdict(LinePoint(position, loss, accuracy, records))


def _read_point(content: Mapping[str, Any], position: float, path: Path) -> LinePoint:
    """Return the point that a file holds.

    Raises:
        DataError: it is no point, or one at another position.
    """
    try:
        records = tuple(Record(**record) for record in content["records"])
        point = LinePoint(**{**content, "records": records})
    except (KeyError, TypeError) as error:
        raise _damaged(path, reason(error)) from None
    if point.position != position:
        raise _damaged(path, f"it holds position {point.position}, not {position}")
    return point


def measure_plane(
    setup: MeasurementSetup,
    model: ModelSpec,
    positions: Sequence[float],
    folder: RunFolder,
    on_progress: Callable[[str, int, int], None],
) -> Slice:
    """Return the loss on a plane through a model along two random directions normalised by filters.

    Args:
        setup: images and settings.
        model: downloaded.
        positions: coordinates along either direction, see `landscape.plane_coordinates`.
        folder: see `results_folder`.
        on_progress: as for `measure_models`.

    Raises:
        ModelError: the model is damaged or does not fit.
    """
    batch, name, rows = setup.images, _file_stem(model, setup.dataset), []
    classifier = load_classifier(model, setup.dataset).to(this_device())
    with loss_surface(classifier, batch.images, batch.labels, setup.batch_size) as surface:
        plane = filter_normalised_directions(
            surface, torch.Generator().manual_seed(seed_of(setup.seed, "slice"))
        )
        for number, second in enumerate(positions):
            on_progress(f"row {number + 1} of {len(positions)}", number, len(positions))
            losses = partial(plane_losses, surface, plane, positions, second)
            rows.append(tuple(_load_or_compute(folder, f"{name}/{number}", losses)))
    return Slice(tuple(positions), tuple(rows))


def _file_stem(model: ModelSpec, dataset: DatasetSpec) -> str:
    weights, form = identity(model)
    if classes := classes_key(model, dataset):
        form = fingerprint([form, *classes])
    return f"{file_name(model.full_name)}-{weights[:12]}-{form[:6]}"


def _path(folder: RunFolder, name: str) -> Path:
    return folder.path / f"{name}.json"


def _load_or_compute(folder: RunFolder, name: str, compute: Callable[[], Any]) -> Any:
    """Return the content of a file; where there is none, it is computed and saved first.

    Raises:
        DataError: the file is damaged.
    """
    path = _path(folder, name)
    if not path.exists():
        write_json(path, compute())
    try:
        return read_json(path, finite=False)
    except ValueError as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, problem: str) -> DataError:
    return DataError(f"cannot read {path}: {problem}", hint="delete it and run the same command again")


def _measures(content: Mapping[str, Any]) -> Measures:
    return Measures(**{**content, "eigenvalues": tuple(content["eigenvalues"])})
