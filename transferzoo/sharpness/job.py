"""What `transferzoo sharpness` does: draw images, measure, and keep what is done.

Results are kept under `runs/sharpness-FINGERPRINT`, one JSON file a model, a point of a line or a row of a
slice, so that the same command goes on where it was stopped. The fingerprint is of all that they depend on,
the models aside, which are in the names of the files; weights of another content are another file.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import count
from typing import TYPE_CHECKING, Any

import torch

from transferzoo.base.atomic import write_json
from transferzoo.base.distributed import this_device
from transferzoo.base.errors import DataError, reason
from transferzoo.base.frozen_model import fingerprint
from transferzoo.evaluation.in_memory import evaluate
from transferzoo.evaluation.job import versions
from transferzoo.evaluation.run_folder import RunFolder
from transferzoo.models.load import identity, load_classifier
from transferzoo.results.records import Record, flat
from transferzoo.sharpness import Measures, Point, Sharpness, Slice
from transferzoo.sharpness.measurement import STAGES, measure
from transferzoo.sharpness.paths import between, directions, plane_row
from transferzoo.sharpness.surface import surface_of
from transferzoo.training.loop import seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from transferzoo.attacks.engine import Attack
    from transferzoo.datasets import Batch
    from transferzoo.models.classifier import Classifier
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec

STATISTICS = 1000
"""Images of the split that batch norm's statistics are recomputed from."""


@dataclass(frozen=True)
class Ground:
    """What models are measured on.

    Attributes:
        dataset: what they classify.
        split: which images.
        data: all images of the split.
        count: how many are drawn at most.
        seed: of the draw, and of all random vectors.
        batch_size: images at a time.
    """

    dataset: DatasetSpec
    split: str
    data: Batch
    count: int
    seed: int
    batch_size: int

    @cached_property
    def images(self) -> Batch:
        """The images drawn, in order."""
        return self._drawn(self.count)

    @cached_property
    def statistics(self) -> torch.Tensor:
        """The images that batch norm's statistics are recomputed from, uint8 (N, C, H, W)."""
        return self._drawn(STATISTICS).images

    def _drawn(self, count: int) -> Batch:
        drawn = random.Random(self.seed).sample(range(len(self.data)), min(count, len(self.data)))
        return self.data.select(sorted(drawn))

    @property
    def content(self) -> dict[str, Any]:
        """All that results depend on, models and options aside."""
        state = hashlib.sha256()
        for tensor in (self.data.images, self.data.labels, self.data.ids):
            state.update(tensor.contiguous().numpy().tobytes())
        return {
            "dataset": self.dataset.name,
            "split": self.split,
            "images": len(self.images),
            "seed": self.seed,
            "batch_size": self.batch_size,
            "data": {"n": len(self.data), "sha256": state.hexdigest()},
            "versions": versions("scipy"),
        }


def folder_of(runs: Path, ground: Ground, options: Mapping[str, Any]) -> RunFolder:
    """Return the folder for results with some options, made if absent.

    Raises:
        TransferZooError: it cannot be written.
    """
    content = {**ground.content, **options}
    folder = RunFolder(runs / f"sharpness-{fingerprint(content)[:12]}")
    folder.begin(content)
    return folder


def measured(
    ground: Ground,
    models: Sequence[ModelSpec],
    options: Mapping[str, Any],
    folder: RunFolder,
    on_progress: Callable[[str, int, int], None],
) -> dict[str, Sharpness]:
    """Return the sharpness of models by full name.

    Args:
        ground: what they are measured on.
        models: located.
        options: further arguments of `measuring.measure`.
        folder: see `folder_of`.
        on_progress: called with what is measured now, how much is done and how much there is.

    Raises:
        ModelError: a model is damaged or does not fit, or cannot be measured.
        UsageError: an option is out of range.
    """
    found = {}
    for number, model in enumerate(models):
        told = _telling(model.name, number, len(models), on_progress)
        content = _kept(folder, _file_of(model), partial(_sharpness, ground, model, options, told))
        both = {name: _measures(content[name]) for name in ("plain", "adaptive")}
        found[model.full_name] = Sharpness(**{**content, **both})
    return found


def _telling(
    name: str, number: int, models: int, on_progress: Callable[[str, int, int], None]
) -> Callable[[str], None]:
    """Return what takes the stages of one of several models."""
    stages = 2 * len(STAGES)
    done = count(number * stages)
    return lambda stage: on_progress(f"{name}: {stage}", next(done), models * stages)


def _sharpness(
    ground: Ground, model: ModelSpec, options: Mapping[str, Any], on_stage: Callable[[str], None]
) -> dict[str, Any]:
    batch = ground.images
    return asdict(
        measure(
            load_classifier(model, ground.dataset).to(this_device()),
            batch.images,
            batch.labels,
            seed=ground.seed,
            batch_size=ground.batch_size,
            on_stage=on_stage,
            **options,
        )
    )


def along_line(
    ground: Ground,
    ends: tuple[ModelSpec, ModelSpec],
    points: int,
    targets: Sequence[ModelSpec],
    attack: Attack,
    folder: RunFolder,
    on_progress: Callable[[str, int, int], None],
) -> list[Point]:
    """Return the points of the line between two models.

    Args:
        ground: what they are measured on, and whose images are attacked.
        ends: located models of one architecture.
        points: how many, at least 2, both ends included.
        targets: located models that images crafted at each point are tried on; empty for no attack.
        attack: what is done to the images then.
        folder: see `folder_of`.
        on_progress: as for `measured`.

    Raises:
        ModelError: a model is damaged or does not fit, or the architectures differ.
        DataError: the targets classify no image correctly together, or a result kept is damaged.
    """
    device = this_device()
    first, second = (load_classifier(model, ground.dataset).to(device) for model in ends)
    victims = {model.full_name: load_classifier(model, ground.dataset).to(device) for model in targets}
    name = "--".join(map(_file_of, ends))
    found = []
    for index in range(points):
        position, file = index / (points - 1), f"{name}/{index}-of-{points}"
        on_progress(f"point {index + 1} of {points}", index, points)
        content = _kept(folder, file, partial(_point, ground, (first, second), position, victims, attack))
        found.append(_read_point(content, position, _path(folder, file)))
    return found


def _point(
    ground: Ground,
    ends: tuple[Classifier, Classifier],
    position: float,
    targets: Mapping[str, Classifier],
    attack: Attack,
) -> dict[str, Any]:
    batch, size = ground.images, ground.batch_size
    model = between(*ends, position, ground.statistics.to(this_device()), size)
    records: tuple[Record, ...] = ()
    with surface_of(model, batch.images, batch.labels, size) as surface:
        loss, accuracy = surface.loss, surface.accuracy
    if targets:
        tried = evaluate(
            attack,
            model,
            targets,
            batch.images,
            batch.labels,
            ids=batch.ids,
            name=f"{position:g}",
            batch_size=size,
        )
        records = tuple(tried.records)
    return asdict(Point(position, loss, accuracy, records))


def _read_point(content: Mapping[str, Any], position: float, path: Path) -> Point:
    """Return the point that a file holds.

    Raises:
        DataError: it is no point, or one of another place.
    """
    try:
        records = tuple(Record(**record) for record in content["records"])
        point = Point(**{**content, "records": records})
    except (KeyError, TypeError) as error:
        raise _damaged(path, reason(error)) from None
    if point.position != position:
        raise _damaged(path, f"it holds position {point.position}, not {position}")
    return point


def around(
    ground: Ground,
    model: ModelSpec,
    positions: Sequence[float],
    folder: RunFolder,
    on_progress: Callable[[str, int, int], None],
) -> Slice:
    """Return the loss on a plane through a model along two random directions normalised by filters.

    Args:
        ground: what it is measured on.
        model: located.
        positions: coordinates along either direction, see `paths.grid`.
        folder: see `folder_of`.
        on_progress: as for `measured`.

    Raises:
        ModelError: the model is damaged or does not fit.
    """
    batch, name, rows = ground.images, _file_of(model), []
    classifier = load_classifier(model, ground.dataset).to(this_device())
    with surface_of(classifier, batch.images, batch.labels, ground.batch_size) as surface:
        plane = directions(surface, torch.Generator().manual_seed(seed_of(ground.seed, "slice")))
        for number, second in enumerate(positions):
            on_progress(f"row {number + 1} of {len(positions)}", number, len(positions))
            losses = partial(plane_row, surface, plane, positions, second)
            rows.append(tuple(_kept(folder, f"{name}/{number}", losses)))
    return Slice(tuple(positions), tuple(rows))


def _file_of(model: ModelSpec) -> str:
    weights, form = identity(model)
    return f"{flat(model.full_name)}-{weights[:12]}-{form[:6]}"


def _path(folder: RunFolder, name: str) -> Path:
    return folder.path / f"{name}.json"


def _kept(folder: RunFolder, name: str, make: Callable[[], Any]) -> Any:
    """Return what a file holds; where there is none, it is made first.

    Raises:
        DataError: the file is damaged.
    """
    path = _path(folder, name)
    if not path.exists():
        write_json(path, make())
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"cannot read {path}: {what}", hint="delete it and run the same command again")


def _measures(content: Mapping[str, Any]) -> Measures:
    return Measures(**{**content, "eigenvalues": tuple(content["eigenvalues"])})
