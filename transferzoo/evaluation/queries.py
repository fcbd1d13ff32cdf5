"""How many images a target is asked about, where each counts: said before a run begins.

Only what `LoadableSource.takes_queries` names is counted: served models, and functions of the user's. The two
black images on which a function is tried once are left out: before it can be said, it has been tried.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from transferzoo.defences import read_defence
from transferzoo.evaluation.candidates import drawn_order
from transferzoo.evaluation.kept_records import measured_rows
from transferzoo.evaluation.run_folder import NOISE
from transferzoo.evaluation.select_images import next_look
from transferzoo.models.download import loadable
from transferzoo.models.load import load_classifier
from transferzoo.models.predict import predict_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferzoo.base.attack_config import AttackConfig
    from transferzoo.datasets import Batch
    from transferzoo.evaluation.job import CraftingTask, Job
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec

MOST_IMAGES, LONGEST = 64, 0.5
"""A batch that is timed has so many images at most, and takes about so many seconds."""


@dataclass(frozen=True)
class Queries:
    """Images that a target is asked about.

    Attributes:
        target: its full name.
        clean: unchanged ones, of which none are asked that a run before has asked; more than these where the
            targets get many of them wrong.
        adversarial: at most.
        noise: with random noise, at most.
        seconds: they take in one process; None of a served model, which a dry run does not ask.
    """

    target: str
    clean: int
    adversarial: int
    noise: int
    seconds: float | None = None

    @property
    def in_all(self) -> int:
        """All of them."""
        return self.clean + self.adversarial + self.noise

    def to_json(self) -> dict[str, Any]:
        """Return the numbers for JSON."""
        content = asdict(self)
        seconds = content.pop("seconds")
        return {
            **content,
            "in_all": self.in_all,
            "estimated_seconds": None if seconds is None else round(seconds, 1),
        }


def expected_queries(job: Job, *, complete: bool) -> list[Queries]:
    """Return how many images each target of a run will be asked about; a function is timed on a few of them.

    Args:
        job: of the run.
        complete: whether all its models are there, so that answers of earlier runs are known.

    Raises:
        ModelError: a function's own code fails.
    """
    at = drawn_order(len(job.data), job.config.seed)[: next_look(0, 0, job.config.images)]
    images = min(job.config.images, len(job.data))
    found = []
    for target in job.targets:
        if not loadable(target).takes_queries():
            continue
        new = not (complete and job.predictions(target).are_known(at))
        counts = counted(target, job.dataset, job.config, job.crafting_tasks, images, new * len(at))
        if target.full_name in job.noiseless:
            counts = replace(counts, noise=0)
        found.append(counts if target.source.is_served else timed(counts, target, job.dataset, job.data))
    return found


def counted(
    target: ModelSpec,
    dataset: DatasetSpec,
    config: AttackConfig,
    tasks: Sequence[CraftingTask],
    images: int,
    clean: int,
) -> Queries:
    """Return how many images a target is asked about.

    Args:
        target: perhaps behind a defence, which may show it several views of an image.
        dataset: what it classifies.
        config: of the run.
        tasks: what is crafted.
        images: that are attacked.
        clean: images that are classified unchanged.
    """
    views = views_of(target, dataset)
    shown = measured_rows(tasks, [task.attack for task in tasks], config.curve)
    rows = {file: len(rows) * images * views for file, rows in shown.items()}
    noise = rows.pop(NOISE)
    return Queries(target.full_name, clean * views, sum(rows.values()), noise)


def timed(counts: Queries, target: ModelSpec, dataset: DatasetSpec, data: Batch) -> Queries:
    """Return counts with their time, measured on a batch that doubles until it takes long enough.

    Raises:
        ModelError: the model cannot be loaded, or gives no numbers.
    """
    model, count = load_classifier(target, dataset), 1
    while True:
        at = torch.arange(min(count, len(data)))
        began = time.monotonic()
        predict_images(target, model, data.images, data.ids, at)
        taken = time.monotonic() - began
        if taken > LONGEST / 2 or count >= min(MOST_IMAGES, len(data)):
            asked = len(at) * views_of(target, dataset)
            return replace(counts, seconds=counts.in_all * taken / asked)
        count *= 2


def views_of(target: ModelSpec, dataset: DatasetSpec) -> int:
    """Return how many images a target classifies for one that it is asked about: the views of its defence."""
    if not target.defence:
        return 1
    image = torch.zeros(1, dataset.channels, dataset.size, dataset.size, dtype=torch.uint8)
    return sum(1 for _ in read_defence(target.defence).views(image, torch.zeros(1, dtype=torch.int64)))
