"""Results of `transferzoo sharpness` for models, a line or a slice: as tables, and for JSON and CSV."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from transferzoo.cli.output import log, progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from transferzoo.attacks.engine import Attack
    from transferzoo.base.table import Table
    from transferzoo.sharpness.measurement_setup import MeasurementSetup
    from transferzoo.zoo.schema import ModelSpec


@dataclass(frozen=True)
class SharpnessReport:
    """Results in every output format.

    Attributes:
        content: for JSON.
        rows: for CSV.
        tables: to print.
        folder: where results are saved.
    """

    content: Mapping[str, Any]
    rows: Sequence[Mapping[str, object]]
    tables: Sequence[Table]
    folder: Path


def report_models(
    setup: MeasurementSetup, models: Sequence[ModelSpec], options: Mapping[str, Any], runs: Path
) -> SharpnessReport:
    """Measure the sharpness of models; arguments as `job.measure_models`."""
    from transferzoo.sharpness.job import measure_models, results_folder
    from transferzoo.sharpness.measurement import check_numbers
    from transferzoo.sharpness.tables import sharpness_rows, sharpness_tables
    from transferzoo.training.threads import usual_threads

    check_numbers(**options)
    folder = results_folder(runs, setup, options)
    with progress("starting") as advance, usual_threads(setup.dataset):
        found = measure_models(setup, models, options, folder, advance)
    content = {
        **setup.content,
        "models": [{"model": name, **asdict(one)} for name, one in found.items()],
    }
    return SharpnessReport(
        content, sharpness_rows(found), sharpness_tables(found, _images_text(setup)), folder.path
    )


def report_line(
    setup: MeasurementSetup,
    ends: tuple[ModelSpec, ModelSpec],
    points: int,
    targets: Sequence[ModelSpec],
    attack: Attack,
    runs: Path,
    picture: Path | None,
) -> SharpnessReport:
    """Measure the points between two models, and draw them; arguments as `job.measure_line`."""
    from transferzoo.attacks.techniques import TECHNIQUES
    from transferzoo.base.frozen_model import fingerprint
    from transferzoo.base.plugins import used
    from transferzoo.models.load import classes_key, identity
    from transferzoo.sharpness.job import measure_line, results_folder
    from transferzoo.sharpness.plots import plot_line
    from transferzoo.sharpness.tables import line_rows, line_table
    from transferzoo.training.threads import usual_threads

    known = {model.full_name: (*identity(model), *classes_key(model, setup.dataset)) for model in targets}
    options: dict[str, Any] = {"batch_norm_images": "in random order"}  # results from before had another one
    if known:
        behind = used(*TECHNIQUES.origins(attack.composition.spec))
        targets_sha256 = {name: weights for name, (weights, *_) in known.items()}
        described = {name: fingerprint(rest) for name, (_, *rest) in known.items()}
        options |= {"attack": attack.canonical, "targets": targets_sha256, "described": described, **behind}
    folder = results_folder(runs, setup, options)
    with progress("starting") as advance, usual_threads(setup.dataset):
        found = measure_line(setup, ends, points, targets, attack, folder, advance)
    names = (ends[0].full_name, ends[1].full_name)
    if picture is not None:
        plot_line(found, (ends[0].name, ends[1].name), picture)
        log(f"Drawn: {picture}")
    content = {**setup.content, **options, "ends": names, "points": [asdict(point) for point in found]}
    table = line_table(found, names, _images_text(setup), attack.canonical)
    return SharpnessReport(content, line_rows(found), [table], folder.path)


def report_slice(
    setup: MeasurementSetup, model: ModelSpec, points: int, radius: float, runs: Path, picture: Path | None
) -> SharpnessReport:
    """Measure the loss on a plane through a model, and draw it; arguments as `job.measure_plane`."""
    from transferzoo.sharpness.job import measure_plane, results_folder
    from transferzoo.sharpness.landscape import plane_coordinates
    from transferzoo.sharpness.plots import plot_slice
    from transferzoo.sharpness.tables import slice_rows, slice_table
    from transferzoo.training.threads import usual_threads

    positions = plane_coordinates(points, radius)
    folder = results_folder(runs, setup, {"positions": positions})
    with progress("starting") as advance, usual_threads(setup.dataset):
        found = measure_plane(setup, model, positions, folder, advance)
    if picture is not None:
        plot_slice(found, model.name, picture)
        log(f"Drawn: {picture}")
    content = {**setup.content, "model": model.full_name, **asdict(found)}
    table = slice_table(found, model.full_name, _images_text(setup))
    return SharpnessReport(content, slice_rows(found), [table], folder.path)


def _images_text(setup: MeasurementSetup) -> str:
    return f"{len(setup.images)} images of {setup.dataset.name}, split {setup.split}; seed {setup.seed}"
