"""`transferzoo sharpness`: how the loss rises when the weights move."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from transferzoo.base.errors import UsageError
from transferzoo.base.notes import Notes
from transferzoo.cli.output import log
from transferzoo.cli.parameters import command
from transferzoo.cli.sharpness_request import BELONGS, SharpnessRequest
from transferzoo.cli.tables import publish_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferzoo.datasets import Batch
    from transferzoo.sharpness.measurement_setup import MeasurementSetup
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec


@command(SharpnessRequest)
def sharpness(request: SharpnessRequest) -> None:
    """Measure how sharp the loss is around models, between two, or on a plane; the same command resumes."""
    from transferzoo.attacks.configure import resolve
    from transferzoo.attacks.engine import Attack
    from transferzoo.cli.landscapes import report_line, report_models, report_slice
    from transferzoo.datasets.own import own_images, read_as_by
    from transferzoo.datasets.sources import measured
    from transferzoo.evaluation.known_classes import note_classes, with_classes
    from transferzoo.models.resolve import named_dataset, select_models
    from transferzoo.models.unlisted_options import UnlistedOptions
    from transferzoo.results.writers import check_output
    from transferzoo.sharpness.plots import check_plot_path
    from transferzoo.sync.on_this_machine import download_models
    from transferzoo.zoo.reader import load_zoo

    kind = request.kind
    files = [check_output(path) for path in request.output or []]
    if request.picture is not None:
        check_plot_path(request.picture)
    records = load_zoo(request.zoo)
    names = request.names
    said = named_dataset(records, request.dataset, names)
    notes = Notes(log)
    records, name, root = own_images(records, said, request.data, notes, notes, request.columns)
    records = measured(records, name, request.split, root)
    options = UnlistedOptions.read(request.architecture, request.allow_code, request.mean, request.std)
    chosen = select_models(records, names, name, "surrogate", options, log)
    tried_on = _targets(select_models(records, request.targets or (), name, "target", options, log), chosen)
    if request.data is not None and root is None:
        records, note = read_as_by(records, name, chosen)
        notes(note)
    dataset_spec = records.dataset(name)
    options.check_used(records, (*chosen, *tried_on))
    chosen, tried_on = download_models(chosen, tried_on, log)
    if kind != "MODEL" and len(chosen) != len(names):
        wanted = "two different models" if request.between else "one model"
        raise UsageError(f"{kind} takes {wanted}", got=", ".join(model.name for model in chosen))
    if request.classes is not None:
        chosen, tried_on = with_classes(dataset_spec, request.classes, chosen, tried_on)
    known = note_classes(dataset_spec, (*chosen, *tried_on), notes)
    setup = _measurement_setup(request, dataset_spec, root, known)
    notes.tell()
    if kind == "MODEL":
        asked = {option: getattr(request, option) for option, of in BELONGS.items() if of == "MODEL"}
        found = report_models(setup, chosen, asked, request.runs)
    elif kind == "--between":
        chosen_attack = Attack.of(resolve(records, dataset_spec.name, request.attack, {}), request.seed)
        ends = (chosen[0], chosen[1])
        found = report_line(
            setup, ends, request.points, tried_on, chosen_attack, request.runs, request.picture
        )
    else:
        found = report_slice(setup, chosen[0], request.points, request.radius, request.runs, request.picture)
    publish_tables(found.tables, lambda: found.content, lambda: found.rows, files, as_json=request.json)
    log(f"Results are saved in {found.folder}")


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
    request: SharpnessRequest, dataset: DatasetSpec, root: Path | None, known: tuple[int, ...]
) -> MeasurementSetup:
    """Return the setup of the measurement, images loaded; only those of the classes `known` to all models.

    Raises:
        UsageError: no such split.
        DataError: the images are not there or damaged.
    """
    from transferzoo.evaluation.known_classes import only_known
    from transferzoo.sharpness.measurement_setup import MeasurementSetup

    chosen = request.split or dataset.attack.split
    if request.split is None and chosen != "train" and "train" in dataset.splits:
        log(f"Note: measured on the split '{chosen}'; the paper measures on training images (--split train).")
    if root is None and (note := dataset.notes.get(chosen)):
        log(f"Note: {note}")
    together = request.batch_size or min(dataset.attack.batch_size, 100)
    dataset, found = only_known(dataset, _images(dataset, chosen, root, request.images), known)
    return MeasurementSetup(dataset, chosen, found, request.images, request.seed, together)


def _images(dataset: DatasetSpec, split: str, root: Path | None, count: int) -> Batch:
    from transferzoo.datasets.sources import load_split
    from transferzoo.sharpness.measurement_setup import BATCH_NORM_IMAGES
    from transferzoo.training.stream import sample, streams

    if streams(dataset):
        return sample(dataset, split, root, max(count, BATCH_NORM_IMAGES))
    return load_split(dataset, split, root=root)
