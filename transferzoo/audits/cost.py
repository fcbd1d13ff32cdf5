"""What an audit costs, said before it begins; and as many images as a time limit allows."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from transferzoo.attacks.engine import Attack, craft
from transferzoo.attacks.techniques.work_unit import Pool
from transferzoo.base.atomic import write_json, writing
from transferzoo.base.distributed import this_device
from transferzoo.base.durations import duration
from transferzoo.base.errors import TransferZooError
from transferzoo.base.foreign_files import read_json
from transferzoo.base.frozen_model import fingerprint
from transferzoo.base.processes import one_thread
from transferzoo.evaluation.crafting import load_surrogates
from transferzoo.evaluation.job import CraftingTask
from transferzoo.evaluation.queries import views_of
from transferzoo.evaluation.select_images import next_look
from transferzoo.models.download import loadable
from transferzoo.models.load import load_classifier
from transferzoo.models.predict import predict_images
from transferzoo.models.predictor import TRIED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transferzoo.evaluation.job import Job
    from transferzoo.zoo.schema import ModelSpec

PROBE = 64
"""Images that are attacked to see how long a gradient takes."""
LEAST_IMAGES = 50
"""An audit of fewer images is none."""


@dataclass(frozen=True)
class Cost:
    """What an audit takes.

    Attributes:
        images: that are drawn.
        attackers: that each of them is given to.
        gradients: evaluations in all.
        queries: images that the audited model classifies, each view of a defence counted.
        answers: those of them that its replicas are trained on.
        seconds: forecast.
    """

    images: int
    attackers: int
    gradients: int
    queries: int
    answers: int
    seconds: float


def cost_of(
    jobs: Sequence[Job], speed: Sequence[float], asking: float, given: int = 0, answers: int = 0
) -> Cost:
    """Return what jobs on the same images cost.

    Args:
        jobs: of the audit.
        speed: seconds that an image takes in each crafting task of all jobs, in order.
        asking: seconds that all targets take for an image.
        given: rows of adversarial images that exist.
        answers: that replicas were trained on.
    """
    images, candidates = min(jobs[0].config.images, len(jobs[0].data)), len(jobs[0].data)
    tasks = [task for job in jobs for task in job.crafting_tasks]
    clean = min(candidates, next_look(0, 0, images)) + min(candidates, PROBE)
    attackers = len(tasks) + given
    noise = 0 if jobs[0].targets[0].full_name in jobs[0].noiseless else len(jobs)  # once in each job
    target = jobs[0].targets[0]
    tried = TRIED if loadable(target).takes_queries() and not target.source.is_served else 0
    asked = clean + images * (attackers + noise)
    queries = tried + views_of(target, jobs[0].dataset) * (asked + answers)
    gradients = images * sum(task.cost for task in tasks)
    seconds = images * sum(speed) + (tried + asked) * asking
    return Cost(images, attackers, gradients, queries, answers, seconds)


def measured_speed(jobs: Sequence[Job], processes: int, runs: Path) -> tuple[list[float], float]:
    """Return the seconds an image takes in each crafting task, and those all targets take for one.

    Each surrogate is attacked for two steps, and each target asked, on a few images, in this process. What
    was measured is kept, so that the same audit asks no target for it again.

    Args:
        jobs: of the audit.
        processes: that will share the work.
        runs: where it is kept.

    Raises:
        ModelError: a model cannot be loaded, or gives no gradient.
    """
    tasks = [task for job in jobs for task in job.crafting_tasks]
    path = runs / f"audit-speed-{fingerprint([job.key for job in jobs])[:12]}.json"
    try:
        kept = read_json(path)
        means, asking = [float(mean) for mean in kept["means"]], float(kept["asking"])
        if len(means) != len(tasks):
            raise ValueError(f"{len(means)} of {len(tasks)} tasks")
    except (OSError, ValueError, KeyError, TypeError):
        taken, asking = _measured(jobs[0])
        means = [sum(taken[model] for model in task.models) / len(task.models) for task in tasks]
        with writing(path):
            runs.mkdir(parents=True, exist_ok=True)
            write_json(path, {"means": means, "asking": asking})
    return [task.cost * mean / processes for task, mean in zip(tasks, means, strict=True)], asking / processes


def _measured(job: Job) -> tuple[dict[ModelSpec, float], float]:
    """Return the seconds of a gradient of each surrogate, and of a classification by all targets."""
    device = this_device()
    images = job.data.select(range(min(PROBE, len(job.data))))
    taken = {}
    pool = Pool(job.data.images, job.data.labels)
    with one_thread():
        plain = Attack.of(job.config.attacks[0].model_copy(update={"techniques": "", "steps": 2}), 0)
        for model in job.surrogates:
            models = load_surrogates(job, CraftingTask((model,), plain), device)
            began = time.monotonic()
            craft(plain, models, images.images.to(device), images.labels, images.ids, pool=pool)
            taken[model] = (time.monotonic() - began) / (2 * len(images))
        asking = 0.0
        for target in job.targets:
            classifier = load_classifier(target, job.dataset).to(device)
            began = time.monotonic()
            predict_images(target, classifier, images.images, images.ids)
            asking += (time.monotonic() - began) / len(images)
    return taken, asking


def within(jobs: Sequence[Job], cost: Cost, limit: float, left: float, least: int, runs: Path) -> list[Job]:
    """Return the jobs on as many images as a time limit allows, the same number whenever this is asked again.

    Args:
        jobs: on as many images as were asked for.
        cost: of these.
        limit: seconds that the audit may take.
        left: of these, what is left.
        least: fewest images that can tell anything.
        runs: where the number is kept.

    Raises:
        TransferZooError: the limit is too short for the fewest images.
    """
    path = runs / f"audit-{fingerprint([*(job.key for job in jobs), limit])[:12]}.json"
    try:
        images = int(read_json(path)["images"])
    except (OSError, ValueError, KeyError, TypeError):
        images = min(cost.images, int(cost.images * left / cost.seconds))
    if images < min(least, cost.images):
        raise TransferZooError(
            f"the audit cannot be done in {duration(limit)}",
            expected=f"{duration(cost.seconds / cost.images * least)} for {least} images",
            hint="raise --time-limit, or lower --max-gradients",
        )
    write_json(path, {"images": images})
    return [replace(job, config=job.config.model_copy(update={"images": images})) for job in jobs]
