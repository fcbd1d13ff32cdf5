"""Measuring: what is saved is classified by the targets, one at a time, and so is random noise beside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from transferzoo.base.claims import claimed, unfinished
from transferzoo.base.processes import one_thread, share, starts, tally
from transferzoo.evaluation.crafting import crafted_units
from transferzoo.evaluation.kept_records import KeptRecords, intact
from transferzoo.evaluation.measured_target import MeasuredTarget
from transferzoo.evaluation.noise_images import draw_noise
from transferzoo.evaluation.perturbation_metrics import PerturbationMetrics, require_change
from transferzoo.evaluation.run_folder import NOISE, VISIBILITY
from transferzoo.models import load
from transferzoo.models.download import loadable
from transferzoo.results.records import Record, SurrogateAttack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from transferzoo.base.distributed import Team
    from transferzoo.evaluation.job import CraftingTask, Job
    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.evaluation.select_images import SelectedImages
    from transferzoo.results.records import Visibility
    from transferzoo.zoo.schema import ModelSpec

    OnProgress = Callable[[str, int, int], None]
    Message = tuple[int, int | None]


@dataclass(frozen=True)
class Item:
    """What one process measures of a target before it looks what others have done.

    Attributes:
        number: among all items of the run.
        target: the target.
        pairs: what crafted the images, or noise; all at once where every image counts, see `queries`.
    """

    number: int
    target: ModelSpec
    pairs: tuple[SurrogateAttack, ...]


def measure_all(
    job: Job,
    selected: SelectedImages,
    folder: RunFolder,
    team: Team,
    on_progress: OnProgress,
    jobs: int = 1,
    *,
    ssim: bool = False,
) -> dict[str, list[Record]]:
    """Measure what is not measured yet: perturbations, and success on the targets; all processes share it.

    Args:
        job: what was crafted.
        selected: of these images.
        folder: where the images lie and the records are kept.
        team: the processes of the run.
        on_progress: called with what is being done, how much is done and how much there is.
        jobs: processes of this machine for each of the team.
        ssim: the structural similarity too, which takes a while.

    Returns:
        All records, by file.

    Raises:
        ModelError: a target cannot be loaded, or gives no numbers; a surrogate has changed no image.
        DataError: a file of images is missing or damaged.
    """
    seen = _seen(folder, ssim=ssim)
    unseen = [task for task in job.crafting_tasks if task.pair not in seen]
    if unseen:
        on_progress("measuring perturbations", 0, len(unseen))
        share(
            partial(_measure_perturbations, job, selected, folder, unseen, ssim=ssim),
            starts(len(unseen), jobs, team.rank, team.size),
            tally([1] * len(unseen), lambda n: on_progress("measuring perturbations", n, len(unseen))),
        )
    kept, before = KeptRecords(job, selected, folder), list[Item]()
    while (items := [item for item in _items(job, kept) if _is_missing(kept, item)]) and items != before:
        before = items  # where a file system shows a file late, what was written may have been overwritten
        own = {m.full_name: job.predictions(m).parameters_digest(team.device) for m in job.surrogates}
        on_progress("measuring targets", 0, len(items))
        load_target = partial(MeasuredTarget, job, selected, folder, own=own, device=team.device)
        shared = _shared_target(items, load_target, team.device)
        share(
            partial(_measure_items, job, selected, folder, kept, items, shared, load_target),
            starts(len(items), jobs, team.rank, team.size),
            tally([1] * len(items), lambda n: on_progress("measuring targets", n, len(items))),
        )
    return kept.all()


def _seen(folder: RunFolder, *, ssim: bool = False) -> dict[SurrogateAttack, Visibility]:
    """Return how visible perturbations are, as far as that is measured, with their similarity if asked."""
    return {
        SurrogateAttack(one.surrogate, one.attack): one
        for one in intact(folder.visibility)
        if not (ssim and one.lacks_ssim)
    }


def _measure_perturbations(
    job: Job,
    selected: SelectedImages,
    folder: RunFolder,
    unseen: Sequence[CraftingTask],
    start: float,
    send: Callable[[Message], None],
    *,
    ssim: bool,
) -> None:
    """Measure how visible the perturbations of some tasks are, beside other processes."""
    for place in unfinished(
        range(len(unseen)),
        lambda place: folder.claim(folder.path / f"visibility/{job.crafting_tasks.index(unseen[place])}"),
        lambda place: unseen[place].pair in _seen(folder, ssim=ssim),
        start,
        lambda place: send((place, None)),
    ):
        task, metrics = unseen[place], PerturbationMetrics(ssim=ssim)
        for images, clean in crafted_units(job, selected, folder, task, task.attack.budget.steps):
            metrics.add(images, clean)
        found = metrics.result(task.pair)
        require_change(found)
        with claimed(folder.claim(folder.path / VISIBILITY)):
            known = _seen(folder) | {task.pair: found}
            folder.save_visibility(known[each.pair] for each in job.crafting_tasks if each.pair in known)
        send((place, 1))


def _items(job: Job, kept: KeptRecords) -> list[Item]:
    """Return all that there is to measure, measured or not, a target after the other."""
    pairs = tuple(dict.fromkeys(pair for rows in kept.rows.values() for pair, _ in rows))
    split = [(pair,) for pair in pairs]
    every = [
        (target, some)
        for target in job.targets
        for some in ([pairs] if loadable(target).takes_queries() else split)
    ]
    return [Item(number, *item) for number, item in enumerate(every)]


def _is_missing(kept: KeptRecords, item: Item) -> bool:
    return any(kept.missing(item.target, item.pairs).values())


def _shared_target(
    items: Sequence[Item], load_target: Callable[[ModelSpec], MeasuredTarget], device: torch.device
) -> MeasuredTarget | None:
    """Load the target, if there is one alone, so that forked processes hold its weights together."""
    target = items[0].target
    if any(item.target != target for item in items) or not load.may_fork([target], device):
        return None
    with one_thread():
        return load_target(target)


def _measure_items(
    job: Job,
    selected: SelectedImages,
    folder: RunFolder,
    kept: KeptRecords,
    items: Sequence[Item],
    shared: MeasuredTarget | None,
    load_target: Callable[[ModelSpec], MeasuredTarget],
    start: float,
    send: Callable[[Message], None],
) -> None:
    """Measure items, beside other processes; noise is drawn first where there is some to measure."""
    if any(kept.missing(item.target, item.pairs)[NOISE] for item in items):
        draw_noise(job, selected, folder, start)
    mine = unfinished(
        range(len(items)),
        lambda place: folder.claim(folder.path / f"records/{items[place].number}"),
        lambda place: not _is_missing(kept, items[place]),
        start,
        lambda place: send((place, None)),
    )
    for target, places in groupby(mine, key=lambda place: items[place].target):
        measured = shared or load_target(target)
        for place in places:
            kept.add(measured.measure(kept.missing(target, items[place].pairs)))
            send((place, 1))
        del measured  # before the next target is loaded
