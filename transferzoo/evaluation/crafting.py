"""Crafting: the adversarial images of a run, a work unit at a time, in as many processes as are wanted."""

from __future__ import annotations

import time
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import torch

from transferzoo.attacks.engine import craft
from transferzoo.attacks.norms import NORMS
from transferzoo.attacks.techniques import Draw
from transferzoo.attacks.techniques.work_unit import Pool
from transferzoo.base.claims import unfinished
from transferzoo.base.processes import one_thread, share, starts, tally
from transferzoo.evaluation.image_files import is_whole, read_unit, write_unit
from transferzoo.models import load
from transferzoo.models.batches import halving
from transferzoo.models.optimize import optimize
from transferzoo.results.records import short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from transferzoo.base.distributed import Team
    from transferzoo.evaluation.job import CraftingTask, Job
    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.evaluation.select_images import SelectedImages
    from transferzoo.models.classifier import Classifier

    OnProgress = Callable[[str, int, int], None]
    Item = tuple[CraftingTask, int]
    Message = tuple[int, int | None]

EXAMPLES = 4
"""Images that a surrogate is shown when it is loaded, to find out whether batch norm can be folded."""


def craft_all(
    job: Job, selected: SelectedImages, folder: RunFolder, team: Team, on_progress: OnProgress, jobs: int
) -> None:
    """Craft the work units that are not there, or damaged; all processes and commands share them.

    Raises:
        ModelError: a surrogate cannot be loaded, gives no gradient, or does not fit a technique.
    """
    every = [(task, unit) for task in job.crafting_tasks for unit in range(len(selected.units))]
    missing = [item for item in every if not _is_there(job, selected, folder, item)]
    if not missing:
        return
    costs = [task.attack.budget.steps * len(selected.units[unit]) for task, unit in missing]
    shared = _shared_surrogates(job, [task for task, _ in missing], team.device)

    def path(place: int) -> Path:
        task, unit = missing[place]
        return folder.unit_path(task.pair, unit)

    def work(start: float, send: Callable[[Message], None]) -> None:
        mine = unfinished(
            range(len(missing)),
            lambda place: folder.claim(path(place)),
            lambda place: path(place).exists(),
            start,
            lambda place: send((place, None)),
        )
        for task, places in groupby(mine, key=lambda place: missing[place][0]):
            models = shared or load_surrogates(job, task, team.device)
            for place in places:
                advance = partial(_tell, send, place)
                _craft_unit(job, selected, folder, models, missing[place], advance)
            del models  # before those of the next task are loaded

    names = list(dict.fromkeys(short(task.pair.surrogate) for task, _ in missing))
    what = f"attacking {names[0]}" if len(names) == 1 else f"attacking {len(names)} surrogates"
    on_progress(what, 0, sum(costs))
    count = tally(costs, lambda done: on_progress(what, done, sum(costs)))
    share(work, starts(len(missing), jobs, team.rank, team.size), count)


def _shared_surrogates(job: Job, tasks: Sequence[CraftingTask], device: torch.device) -> list[Classifier]:
    """Load what all tasks attack, if that is the same, so that forked processes hold its weights together."""
    first = tasks[0]
    same = all((task.weights, _folds(task)) == (first.weights, _folds(first)) for task in tasks)
    if not same or not load.may_fork(first.models, device):
        return []
    with one_thread():
        return load_surrogates(job, first, device)


def _folds(task: CraftingTask) -> bool:
    return not task.attack.composition.of(Draw)


def _tell(send: Callable[[Message], None], place: int, count: int) -> None:
    send((place, count))


def _is_there(job: Job, selected: SelectedImages, folder: RunFolder, item: Item) -> bool:
    task, unit = item
    clean, ids = clean_unit(job, selected, unit)
    return folder.is_whole(
        folder.unit_path(task.pair, unit),
        lambda path: is_whole(path, job.config.curve, clean, ids, task.attack),
    )


def clean_unit(job: Job, selected: SelectedImages, unit: int) -> tuple[Tensor, Tensor]:
    """Return the clean images of a work unit, uint8 (N, C, H, W), and their ids (N,)."""
    within = selected.units[unit]
    return job.data.images[selected.places[within]], selected.ids[within]


def crafted_units(
    job: Job, selected: SelectedImages, folder: RunFolder, task: CraftingTask, at: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the adversarial images of each work unit after some steps, and the clean ones.

    Raises:
        DataError: a file is missing or damaged.
    """
    for unit in range(len(selected.units)):
        clean, ids = clean_unit(job, selected, unit)
        yield read_unit(folder.unit_path(task.pair, unit), at, clean, ids, task.attack), clean


def _craft_unit(
    job: Job,
    selected: SelectedImages,
    folder: RunFolder,
    models: Sequence[Classifier],
    item: Item,
    advance: Callable[[int], None],
) -> None:
    task, unit = item
    started, attack = time.monotonic(), task.attack
    snapshots: dict[int, list[Tensor]] = {}
    parts = halving(
        lambda within: _craft_images(job, selected, models, task, within, advance),
        selected.units[unit],
        len(selected.units[unit]),
    )
    for images in parts:
        for step, taken in images.items():
            snapshots.setdefault(step, []).append(taken)
    whole = {step: torch.cat(taken) for step, taken in snapshots.items()}
    ids = selected.ids[selected.units[unit]]
    write_unit(folder.unit_path(task.pair, unit), whole, attack.budget.steps, ids)
    folder.add_timing(task.pair, unit, len(ids), time.monotonic() - started)


def _craft_images(
    job: Job,
    selected: SelectedImages,
    models: Sequence[Classifier],
    task: CraftingTask,
    within: Tensor,
    advance: Callable[[int], None],
) -> dict[int, Tensor]:
    """Return adversarial images of some selected ones, uint8 (N, C, H, W) on the CPU, by the steps done.

    Each step of each image is a unit of progress; what fails, for want of memory maybe, takes its own back.
    """
    snapshots: dict[int, Tensor] = {}
    attack, device, done = task.attack, models[0].mean.device, 0
    images = job.data.images[selected.places[within]].to(device)

    def on_step(step: int, delta: Tensor) -> None:
        nonlocal done
        if step in job.config.curve and step < attack.budget.steps:
            snapshots[step] = (
                NORMS[attack.budget.norm].quantise(images / 255 + delta, images, attack.budget.epsilon).cpu()
            )
        done += len(within)
        advance(len(within))

    try:
        snapshots[attack.budget.steps] = craft(
            attack,
            models,
            images,
            selected.labels[within],
            selected.ids[within],
            target_classes=None if selected.target_classes is None else selected.target_classes[within],
            pool=Pool(job.data.images, job.data.labels),
            on_step=on_step,
        ).cpu()
    except RuntimeError:
        advance(-done)
        raise
    return snapshots


def load_surrogates(job: Job, task: CraftingTask, device: torch.device) -> list[Classifier]:
    """Load what is attacked together, optimized for many gradients; all of it is in memory at once."""
    example = job.data.images[:EXAMPLES].to(device)
    ready = []
    for model, file in task.weights:
        one = load.load_on(device, model, job.dataset, file)
        if not model.source.as_is:
            one = optimize(
                one, example, fold=_folds(task), precision=job.config.precision, compiled=job.config.compile
            )
        ready.append(one)
    return ready
