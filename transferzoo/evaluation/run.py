"""The main job: surrogates × attacks × targets → records, through the run folder.

Images are chosen by what the targets say of the clean ones, crafted unit by unit from each source, a
surrogate (or all of them together) under an attack, saved as bytes, and only then shown to the targets: what
is measured is what was saved. One model, or one ensemble, is in memory at a time. Every stage takes up what
an earlier, interrupted run of the same configuration left.
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
from transferzoo.evaluation.run_folder import CURVE, RECORDS, RunFolder
from transferzoo.evaluation.select_images import Work, opened, said, select
from transferzoo.models import load
from transferzoo.models.classifier import weights_digest
from transferzoo.models.optimize import prepare
from transferzoo.results.records import Record, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch
    from torch import Tensor

    from transferzoo.evaluation.job import Craft, Job
    from transferzoo.models.classifier import Classifier
    from transferzoo.zoo.schema import ModelSpec

    Tell = Callable[[str, int, int], None]

EXAMPLES = 4
"""Images that a surrogate is shown when it is made ready."""


def run(
    job: Job, folder: RunFolder, *, team: Team | None = None, on_progress: Tell = lambda *_: None
) -> tuple[list[Record], list[Record]]:
    """Do what is not done yet and return all records, by source and then by target, and those of the curve.

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
    work = select(job, folder, team, on_progress)
    _craft(job, work, folder, team, on_progress)
    team.wait()
    if not team.leads:
        return [], []
    _look(job, work, folder, on_progress)
    return _measure(job, work, folder, team.device, on_progress)


def save_images(job: Job, folder: RunFolder, place: Path) -> None:
    """Write the adversarial images of a finished run as PNGs, a folder a surrogate and attack.

    Raises:
        TransferZooError: the folder cannot be written.
    """
    ids, clean = _clean_images(job, folder)
    units = -(-len(ids) // job.config.batch_size)
    for source in job.crafts:
        images = folder.images(source.source, units, source.attack.steps, source.attack.steps)
        perturbation_metrics.save_pictures(place / source.source.folder, images, clean, ids)


def _clean_images(job: Job, folder: RunFolder) -> tuple[list[int], Tensor]:
    """Return ids and clean images, uint8 (N, C, H, W), of what a run attacks."""
    ids, _ = folder.selected()
    places = {int(name): place for place, name in enumerate(job.data.ids)}
    return ids, job.data.images[[places[name] for name in ids]]


def _look(job: Job, work: Work, folder: RunFolder, tell: Tell) -> None:
    """Measure how visible the perturbations are, of those sources that are not there yet."""
    known = {Source(one.surrogate, one.attack): one for one in folder.visibility()}
    for number, source in enumerate(job.crafts):
        if source.source in known:
            continue
        tell("looking at the images", number, len(job.crafts))
        images = folder.images(source.source, len(work.units), source.attack.steps, source.attack.steps)
        found = perturbation_metrics.measure(
            source.source.surrogate, source.source.attack, images, work.images.images
        )
        known[source.source] = found
        folder.save_visibility(known[c.source] for c in job.crafts if c.source in known)


def _craft(job: Job, work: Work, folder: RunFolder, team: Team, tell: Tell) -> None:
    """Make the adversarial images, unit by unit, those that are not there yet; the processes share the units.

    What is missing is listed before any process begins, so that all of them share the same list.
    """
    places = [(source, unit) for source in job.crafts for unit in range(len(work.units))]
    missing = [(source, unit) for source, unit in places if not folder.has_unit(source.source, unit)]
    team.wait()
    mine = missing[team.rank :: team.size]
    total, done = sum(source.attack.steps for source, _ in mine), 0
    for source, units in groupby(mine, key=lambda place: place[0]):
        models = ready(job, source, team.device)
        what = f"attacking {source.source.surrogate.rpartition('/')[2]}"
        for _, unit in units:
            started = time.monotonic()
            steps_told = _told(tell, what, done, total)
            taken = _craft_unit(job, source, work, models, work.units[unit], steps_told)
            ids, steps = work.images.ids[work.units[unit]], source.attack.steps
            folder.save_unit(source.source, unit, taken, steps, ids, time.monotonic() - started)
            done += steps


def _told(tell: Tell, what: str, done: int, total: int) -> Callable[[int], None]:
    return lambda step: tell(what, done + step, total)


def _craft_unit(
    job: Job,
    source: Craft,
    work: Work,
    models: Sequence[Classifier],
    places: Tensor,
    tell: Callable[[int], None],
) -> dict[int, Tensor]:
    """Return the adversarial images of a unit, uint8 (N, C, H, W) on the CPU, by the steps done."""
    taken: dict[int, Tensor] = {}
    part, attack = work.images.select(places), source.attack
    images = part.images.to(models[0].mean.device)

    def advance(step: int, delta: Tensor) -> None:
        if step in job.config.curve and step < attack.steps:
            taken[step] = NORMS[attack.norm].quantise(images / 255 + delta, images, attack.epsilon).cpu()
        tell(step)

    taken[attack.steps] = craft(
        attack,
        models,
        images,
        part.labels,
        part.ids,
        targets=None if work.targets is None else work.targets[places],
        pool=Pool(job.data.images, job.data.labels),
        on_step=advance,
    ).cpu()
    return taken


def _measure(
    job: Job, work: Work, folder: RunFolder, device: torch.device, tell: Tell
) -> tuple[list[Record], list[Record]]:
    """Show the saved images to the targets, those cells that are not there yet."""
    files = {RECORDS: [(c, c.attack.steps) for c in job.crafts]}
    if job.config.curve:
        files[CURVE] = [(c, step) for c in job.crafts for step in job.config.curve if step < c.attack.steps]
    known = {file: {(r.source, r.steps, r.target): r for r in folder.records(file)} for file in files}
    own: dict[str, str | None] = {}
    for number, target in enumerate(job.targets):
        todo = {
            file: [(c, step) for c, step in points if (c.source, step, target.full_name) not in known[file]]
            for file, points in files.items()
        }
        if not any(todo.values()):
            continue
        tell(f"measuring {target.name}", number, len(job.targets))
        own = own or {m.full_name: weights_digest(opened(job, m, device)) for m in job.surrogates}
        for file, records in _show(job, work, folder, target, todo, own, device).items():
            known[file] |= {(r.source, r.steps, r.target): r for r in records}
            folder.save_records(_ordered(job, files[file], known[file]), file)
    found = {file: _ordered(job, points, known[file]) for file, points in files.items()}
    return found[RECORDS], found.get(CURVE, [])


def _show(
    job: Job,
    work: Work,
    folder: RunFolder,
    target: ModelSpec,
    points: Mapping[str, Sequence[tuple[Craft, int]]],
    own: Mapping[str, str | None],
    device: torch.device,
) -> dict[str, list[Record]]:
    """Show images to a target, file → records; the target is in memory no longer than that.

    `own` has the digest of every surrogate's weights, by full name.
    """
    model = opened(job, target, device)
    weights = weights_digest(model)

    def cell(source: Craft, step: int) -> Record:
        outcomes = _outcomes(job, work, folder, model, target, source, step)
        white = weights is not None and weights in [own[one.full_name] for one in source.models]
        return _record(job, work, folder.selection(), target, source, step, outcomes, white)

    return {file: [cell(source, step) for source, step in wanted] for file, wanted in points.items()}


def _ordered(
    job: Job, points: list[tuple[Craft, int]], known: Mapping[tuple[Source, int, str], Record]
) -> list[Record]:
    cells = ((source.source, step, t.full_name) for source, step in points for t in job.targets)
    return [known[cell] for cell in cells if cell in known]


def _outcomes(
    job: Job, work: Work, folder: RunFolder, model: Classifier, target: ModelSpec, source: Craft, step: int
) -> str:
    """Return what a target makes of the images of a source, a character an image."""
    images = folder.images(source.source, len(work.units), step, source.attack.steps)
    answers, name = said(target, model, images, work.images.ids), target.full_name
    fooled = answers != work.images.labels if work.targets is None else answers == work.targets
    counts = candidates.counted(job.config, work.images.labels, work.clean[name], work.targets)
    return "".join(
        ("1" if hit else "0") if used else "-"
        for hit, used in zip(fooled.tolist(), counts.tolist(), strict=True)
    )


def _record(
    job: Job,
    work: Work,
    selection: str,
    target: ModelSpec,
    source: Craft,
    step: int,
    outcomes: str,
    white_box: bool,
) -> Record:
    digests, names = job.content["models"], [m.full_name for m in source.models]
    return Record.of(
        outcomes,
        surrogate=source.source.surrogate,
        target=target.full_name,
        attack=source.source.attack,
        steps=step,
        targeted=job.config.targeted,
        dataset=job.config.dataset,
        split=job.config.split,
        seed=job.config.seed,
        selection=selection,
        white_box=white_box or digests[target.full_name] in [digests[name] for name in names],
        surrogate_accuracy=round(sum(work.accuracy[name] for name in names) / len(names), 6),
        target_accuracy=round(work.accuracy[target.full_name], 6),
        gradients=source.attack.composition.cost(step, len(source.weights)),
        precision=job.config.precision,
        surrogate_sha256=" & ".join(digests[name] for name in names),
        target_sha256=digests[target.full_name],
        versions=job.content["versions"],
    )


def ready(job: Job, source: Craft, device: torch.device) -> list[Classifier]:
    """Return what is attacked together, made ready for many gradients; all of it is in memory at once."""
    example = job.data.images[:EXAMPLES].to(device)
    fold = not source.attack.composition.of(Stage.WEIGHTS)
    loaded = (load.load_classifier(model, job.dataset, file).to(device) for model, file in source.weights)
    return [
        prepare(one, example, fold=fold, precision=job.config.precision, compiled=job.config.compile)
        for one in loaded
    ]
