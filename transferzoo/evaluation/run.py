"""The main job: surrogates × attacks × targets → records, through the run folder.

Images are selected by the targets' clean predictions, crafted unit by unit in each crafting task (a
surrogate, or all of them together, under an attack), saved as bytes, and only then classified by the
targets: what is measured is what was saved. One model, or one ensemble, is in memory at a time. Every stage
resumes from what an earlier, interrupted run of the same configuration left.
"""

from __future__ import annotations

import time
from itertools import groupby
from typing import TYPE_CHECKING

from transferzoo.attacks.engine import craft
from transferzoo.attacks.norms import NORMS
from transferzoo.attacks.techniques import Stage
from transferzoo.attacks.techniques.work_unit import Pool
from transferzoo.base.distributed import Team
from transferzoo.evaluation import candidates, perturbation_metrics
from transferzoo.evaluation.perturbation_metrics import has_ssim
from transferzoo.evaluation.run_folder import CURVE, RECORDS, RunFolder
from transferzoo.evaluation.select_images import SelectedImages, load_model, predict_images, select
from transferzoo.models import load
from transferzoo.models.classifier import weights_digest
from transferzoo.models.optimize import optimize
from transferzoo.results.records import Record, SurrogateAttack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch
    from torch import Tensor

    from transferzoo.evaluation.job import CraftingTask, Job
    from transferzoo.models.classifier import Classifier
    from transferzoo.zoo.schema import ModelSpec

    OnProgress = Callable[[str, int, int], None]

EXAMPLES = 4
"""Images that a surrogate is shown when it is loaded, to find out whether batch norm can be folded."""


def run(
    job: Job, folder: RunFolder, *, team: Team | None = None, on_progress: OnProgress = lambda *_: None
) -> tuple[list[Record], list[Record]]:
    """Do what is not done yet and return all records, by crafting task and target, and those of the curve.

    Args:
        job: what to do.
        folder: where everything is kept.
        team: the processes that share the work; None for this one alone. Only the first returns records.
        on_progress: called with what is being done, steps done and steps in all.

    Raises:
        ModelError: a model cannot be loaded, or does not classify the images; or a technique does not fit it.
        DataError: no image is left after the selection.
        TransferZooError: the folder cannot be written, or another process has stopped.
    """
    team = team or Team()
    if team.leads:
        folder.begin(job.content)
    team.wait()
    selected = select(job, folder, team, on_progress)
    _craft(job, selected, folder, team, on_progress)
    team.wait()
    if not team.leads:
        return [], []
    _measure_visibility(job, selected, folder, on_progress)
    return _measure(job, selected, folder, team.device, on_progress)


def save_images(job: Job, folder: RunFolder, place: Path) -> None:
    """Write the adversarial images of a finished run as PNGs, a folder a surrogate and attack.

    Raises:
        TransferZooError: the folder cannot be written.
    """
    ids, clean = _clean_images(job, folder)
    units = -(-len(ids) // job.config.batch_size)
    for task in job.crafting_tasks:
        images = folder.images(task.pair, units, task.attack.steps, task.attack.steps)
        perturbation_metrics.save_pictures(place / task.pair.folder, images, clean, ids)


def _clean_images(job: Job, folder: RunFolder) -> tuple[list[int], Tensor]:
    """Return ids and clean images, uint8 (N, C, H, W), of what a run attacks."""
    ids, _ = folder.selected()
    places = {int(name): place for place, name in enumerate(job.data.ids)}
    return ids, job.data.images[[places[name] for name in ids]]


def _measure_visibility(
    job: Job, selected: SelectedImages, folder: RunFolder, on_progress: OnProgress
) -> None:
    """Measure how visible the perturbations are, of those sources that are not there yet."""
    known = {SurrogateAttack(one.surrogate, one.attack): one for one in folder.visibility()}
    for number, task in enumerate(job.crafting_tasks):
        if task.pair in known and not (known[task.pair].lacks_ssim and has_ssim(selected.images.images)):
            continue
        on_progress("measuring perturbations", number, len(job.crafting_tasks))
        images = folder.images(task.pair, len(selected.units), task.attack.steps, task.attack.steps)
        found = perturbation_metrics.measure(
            task.pair.surrogate, task.pair.attack, images, selected.images.images
        )
        known[task.pair] = found
        folder.save_visibility(known[c.pair] for c in job.crafting_tasks if c.pair in known)


def _craft(
    job: Job, selected: SelectedImages, folder: RunFolder, team: Team, on_progress: OnProgress
) -> None:
    """Make the adversarial images, unit by unit, those that are not there yet; the processes share the units.

    What is missing is listed before any process begins, so that all of them share the same list.
    """
    places = [(task, unit) for task in job.crafting_tasks for unit in range(len(selected.units))]
    missing = [(task, unit) for task, unit in places if not folder.has_unit(task.pair, unit)]
    team.wait()
    mine = missing[team.rank :: team.size]
    total, done = sum(task.attack.steps for task, _ in mine), 0
    for task, units in groupby(mine, key=lambda place: place[0]):
        models = load_surrogates(job, task, team.device)
        what = f"attacking {task.pair.surrogate.rpartition('/')[2]}"
        for _, unit in units:
            started = time.monotonic()
            on_step = _step_progress(on_progress, what, done, total)
            images_after = _craft_unit(job, task, selected, models, selected.units[unit], on_step)
            ids, steps = selected.images.ids[selected.units[unit]], task.attack.steps
            folder.save_unit(task.pair, unit, images_after, steps, ids, time.monotonic() - started)
            done += steps


def _step_progress(on_progress: OnProgress, what: str, done: int, total: int) -> Callable[[int], None]:
    return lambda step: on_progress(what, done + step, total)


def _craft_unit(
    job: Job,
    task: CraftingTask,
    selected: SelectedImages,
    models: Sequence[Classifier],
    places: Tensor,
    on_progress: Callable[[int], None],
) -> dict[int, Tensor]:
    """Return the adversarial images of a unit, uint8 (N, C, H, W) on the CPU, by the steps done."""
    images_after: dict[int, Tensor] = {}
    part, attack = selected.images.select(places), task.attack
    images = part.images.to(models[0].mean.device)

    def advance(step: int, delta: Tensor) -> None:
        if step in job.config.curve and step < attack.steps:
            images_after[step] = (
                NORMS[attack.norm].quantise(images / 255 + delta, images, attack.epsilon).cpu()
            )
        on_progress(step)

    images_after[attack.steps] = craft(
        attack,
        models,
        images,
        part.labels,
        part.ids,
        target_classes=None if selected.target_classes is None else selected.target_classes[places],
        pool=Pool(job.data.images, job.data.labels),
        on_step=advance,
    ).cpu()
    return images_after


def _measure(
    job: Job, selected: SelectedImages, folder: RunFolder, device: torch.device, on_progress: OnProgress
) -> tuple[list[Record], list[Record]]:
    """Show the saved images to the targets, those cells that are not there yet."""
    files = {RECORDS: [(c, c.attack.steps) for c in job.crafting_tasks]}
    if job.config.curve:
        files[CURVE] = [
            (c, step) for c in job.crafting_tasks for step in job.config.curve if step < c.attack.steps
        ]
    known = {file: {(r.pair, r.steps, r.target): r for r in folder.records(file)} for file in files}
    own: dict[str, str | None] = {}
    for number, target in enumerate(job.targets):
        todo = {
            file: [(c, step) for c, step in points if (c.pair, step, target.full_name) not in known[file]]
            for file, points in files.items()
        }
        if not any(todo.values()):
            continue
        on_progress(f"measuring {target.name}", number, len(job.targets))
        own = own or {m.full_name: weights_digest(load_model(job, m, device)) for m in job.surrogates}
        for file, records in _measure_target(job, selected, folder, target, todo, own, device).items():
            known[file] |= {(r.pair, r.steps, r.target): r for r in records}
            folder.save_records(_ordered(job, files[file], known[file]), file)
    found = {file: _ordered(job, points, known[file]) for file, points in files.items()}
    return found[RECORDS], found.get(CURVE, [])


def _measure_target(
    job: Job,
    selected: SelectedImages,
    folder: RunFolder,
    target: ModelSpec,
    points: Mapping[str, Sequence[tuple[CraftingTask, int]]],
    own: Mapping[str, str | None],
    device: torch.device,
) -> dict[str, list[Record]]:
    """Show images to a target, file → records; the target is in memory no longer than that.

    `own` has the digest of every surrogate's weights, by full name.
    """
    model = load_model(job, target, device)
    weights = weights_digest(model)

    def cell(task: CraftingTask, step: int) -> Record:
        outcomes = _outcomes(job, selected, folder, model, target, task, step)
        white = weights is not None and weights in [own[one.full_name] for one in task.models]
        return _record(job, selected, folder.selection(), target, task, step, outcomes, white)

    return {file: [cell(task, step) for task, step in wanted] for file, wanted in points.items()}


def _ordered(
    job: Job, points: list[tuple[CraftingTask, int]], known: Mapping[tuple[SurrogateAttack, int, str], Record]
) -> list[Record]:
    cells = ((task.pair, step, t.full_name) for task, step in points for t in job.targets)
    return [known[cell] for cell in cells if cell in known]


def _outcomes(
    job: Job,
    selected: SelectedImages,
    folder: RunFolder,
    model: Classifier,
    target: ModelSpec,
    task: CraftingTask,
    step: int,
) -> str:
    """Return what a target makes of the images of a task, a character an image."""
    images = folder.images(task.pair, len(selected.units), step, task.attack.steps)
    predictions, name = predict_images(target, model, images, selected.images.ids), target.full_name
    fooled = (
        predictions != selected.images.labels
        if selected.target_classes is None
        else predictions == selected.target_classes
    )
    counts = candidates.counted_images(
        job.config, selected.images.labels, selected.clean[name], selected.target_classes
    )
    return "".join(
        ("1" if hit else "0") if used else "-"
        for hit, used in zip(fooled.tolist(), counts.tolist(), strict=True)
    )


def _record(
    job: Job,
    selected: SelectedImages,
    selection: str,
    target: ModelSpec,
    task: CraftingTask,
    step: int,
    outcomes: str,
    white_box: bool,
) -> Record:
    digests, names = job.content["models"], [m.full_name for m in task.models]
    return Record.of(
        outcomes,
        surrogate=task.pair.surrogate,
        target=target.full_name,
        attack=task.pair.attack,
        steps=step,
        targeted=job.config.targeted,
        dataset=job.config.dataset,
        split=job.config.split,
        seed=job.config.seed,
        selection=selection,
        white_box=white_box or digests[target.full_name] in [digests[name] for name in names],
        surrogate_accuracy=round(sum(selected.accuracy[name] for name in names) / len(names), 6),
        target_accuracy=round(selected.accuracy[target.full_name], 6),
        gradients=task.attack.composition.cost(step, len(task.weights)),
        precision=job.config.precision,
        surrogate_sha256=" & ".join(digests[name] for name in names),
        target_sha256=digests[target.full_name],
        versions=job.content["versions"],
    )


def load_surrogates(job: Job, task: CraftingTask, device: torch.device) -> list[Classifier]:
    """Load what is attacked together, optimized for many gradients; all of it is in memory at once."""
    example = job.data.images[:EXAMPLES].to(device)
    fold = not task.attack.composition.of(Stage.WEIGHTS)
    loaded = (load.load_classifier(model, job.dataset, file).to(device) for model, file in task.weights)
    return [
        optimize(one, example, fold=fold, precision=job.config.precision, compiled=job.config.compile)
        for one in loaded
    ]
