"""The main job: surrogates × attacks × targets → records, through the run folder.

Images are selected by the targets' clean predictions, crafted unit by unit in each crafting task (a
surrogate, or all of them together, under an attack), saved as bytes, and only then classified by the targets:
what is measured is what was saved. A process has one model, or one ensemble, in memory at a time, and one
work unit beside the candidates. Every stage resumes from what an earlier, interrupted run of the same
configuration left, and checks it. All processes that have the same run to do take its units as they get free,
and go on to the next stage when all are there: what one leaves that dies, another does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from transferzoo.base.distributed import Team
from transferzoo.base.processes import one_thread, usual_jobs
from transferzoo.evaluation.crafting import craft_all
from transferzoo.evaluation.examples import drawn_examples, predicted, shown_target
from transferzoo.evaluation.image_files import read_unit, write_clean, write_unit
from transferzoo.evaluation.kept_records import KeptRecords, Measured, shown_places
from transferzoo.evaluation.measured_target import MeasuredTarget
from transferzoo.evaluation.measuring import measure_all
from transferzoo.evaluation.perturbation_metrics import PerturbationMetrics
from transferzoo.evaluation.pictures import Captions, save_picture, save_sheet
from transferzoo.evaluation.run_folder import CURVE, NOISE, RECORDS, RunFolder
from transferzoo.evaluation.select_images import select
from transferzoo.results.comparisons import Findings, brief, budget_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from transferzoo.evaluation.given_images import GivenImages
    from transferzoo.evaluation.job import Job
    from transferzoo.evaluation.select_images import SelectedImages
    from transferzoo.results.records import SurrogateAttack

    OnProgress = Callable[[str, int, int], None]


def run(
    job: Job,
    folder: RunFolder,
    *,
    team: Team | None = None,
    jobs: int | None = 1,
    ssim: bool = False,
    command: str = "",
    on_progress: OnProgress = lambda *_: None,
    warn: Callable[[str], None] = lambda warning: None,
) -> Findings:
    """Do what is not done yet and return what was found.

    Args:
        job: what to do.
        folder: where everything is kept.
        team: the processes that a launcher started together; None for this one alone. These, and whoever
            else runs the same job in the same folder, share the work, each returning when all of it is done.
        jobs: processes of this machine for each of the team, in one thread each; see `processes_for`.
        ssim: measure the structural similarity of the images too.
        command: what the user wrote, which is kept.
        on_progress: called with what is being done, how much is done and how much there is.
        warn: called with a sentence on a model whose clean accuracy is doubtful, or that is not forked.

    Raises:
        ModelError: a model cannot be loaded, or does not classify the images; a technique does not fit it; or
            its gradient is zero.
        DataError: no image is left after the selection.
        TransferZooError: the folder cannot be written, or a process of this machine was killed.
    """
    team = team or Team()
    warn = warn if team.leads else lambda warning: None
    jobs = processes_for(job, jobs, team, warn)
    folder.begin(job.content, command)
    selected = select(job, folder, team, on_progress, jobs, warn)
    craft_all(job, selected, folder, team, on_progress, jobs)
    _keep_clean(job, selected, folder)
    found = measure_all(job, selected, folder, team, on_progress, jobs, ssim=ssim)
    folder.tidy()
    return Findings(found[RECORDS], found.get(CURVE, []), folder.seconds(), folder.visibility(), found[NOISE])


def processes_for(job: Job, asked: int | None, team: Team, warn: Callable[[str], None]) -> int:
    """Return how many processes of this machine share a job, for each of a team.

    torch.compile, or a launcher, has processes of its own. Code of a user may have started threads, which are
    gone in a forked process, and wait for them there for ever.

    Args:
        job: what they share.
        asked: how many the user wants; None for `usual_jobs`.
        team: the processes of a launcher.
        warn: called with a sentence where they are fewer than the user wants.
    """
    code = [model.name for model in (*job.surrogates, *job.targets) if model.source.runs_code]
    if asked is None:
        return 1 if code or job.config.compile or team.size > 1 else usual_jobs()
    if asked > 1 and code:
        warn(
            f"Note: one process instead of {asked}, since '{code[0]}' is code of your own, which may wait "
            "for ever in a forked one."
        )
        return 1
    return asked


def measure_given(
    job: Job,
    folder: RunFolder,
    given: Sequence[GivenImages],
    device: torch.device,
    command: str = "",
) -> Findings:
    """Return the success of adversarial images that are there, and of noise beside it: forward passes alone.

    What the folder has of the same images, and the same selection of them, is not measured again.

    Args:
        job: without surrogates; its attacks have the budgets of the noise.
        folder: where the selection, the noise and the records are kept; its key names the given images.
        given: a row each.
        device: where the targets compute.
        command: what the user wrote, which is kept.

    Raises:
        ModelError: a target cannot be loaded, or gives no numbers.
        DataError: no image is left after the selection.
    """
    folder.begin(job.content, command)
    selected = select(job, folder, Team(device=device), lambda *_: None)
    visibility = []
    _keep_clean(job, selected, folder)
    for row in given:
        metrics = PerturbationMetrics()
        for unit, within in enumerate(selected.units):
            places = selected.places[within]
            metrics.add(row.images[places], job.data.images[places])
            write_unit(folder.unit_path(row.pair, unit), {0: row.images[places]}, 0, job.data.ids[places])
        visibility.append(metrics.result(row.pair))
    folder.save_visibility(visibility)
    measure_all(job, selected, folder, Team(device=device), lambda *_: None)
    rows = {(row.pair, int(row.fields["steps"])): row for row in given}
    kept = KeptRecords(job, selected, folder, tuple(rows))
    for target in job.targets:
        missing = kept.missing(target, [row.pair for row in given])[RECORDS]
        if missing:
            with one_thread():
                measured = MeasuredTarget(job, selected, folder, target, {}, device)
                records = [measured.given(rows[row]) for row in missing]
            kept.add(Measured({RECORDS: records}, measured.examples))
    folder.tidy()
    found = kept.all()
    return Findings(found[RECORDS], visibility=visibility, noise=found[NOISE])


def _keep_clean(job: Job, selected: SelectedImages, folder: RunFolder) -> None:
    """Keep the clean images that are shown to people, so that a report needs no data set."""
    shown = selected.places[shown_places(job, selected)]
    write_clean(folder.clean_path, job.data.images[shown], job.data.ids[shown], job.dataset.classes)


def save_images(job: Job, folder: RunFolder, place: Path) -> None:
    """Write the adversarial images of a finished run as PNGs and a sheet, a folder a surrogate and attack.

    Raises:
        DataError: a file of images is missing or damaged.
        TransferZooError: the folder cannot be written.
    """
    selection = folder.selected()
    ids, labels = selection.ids, selection.labels
    shown = drawn_examples(labels, job.config.seed)
    places = job.data.places(ids)
    for task in job.crafting_tasks:
        home, attack = place / task.pair.folder, task.attack
        examples: dict[int, Tensor] = {}
        for unit, within in enumerate(torch.arange(len(ids)).split(job.config.batch_size)):
            clean = job.data.images[places[within]]
            file = folder.unit_path(task.pair, unit)
            images = read_unit(file, attack.budget.steps, clean, job.data.ids[places[within]], attack)
            for image, at in zip(images, within.tolist(), strict=True):
                save_picture(home, image, ids[at], selection.names[at])
                if at in shown:
                    examples[at] = image
        found = torch.stack([examples[at] for at in shown])
        captions = _captions(job, folder, task.pair, [(ids[at], labels[at]) for at in shown])
        save_sheet(home, found, job.data.images[places[shown]], captions)


def _captions(
    job: Job, folder: RunFolder, pair: SurrogateAttack, shown: Sequence[tuple[int, int]]
) -> Captions:
    """Return the texts of the sheet of a surrogate and attack; `shown` are ids and labels."""
    classes = job.dataset.classes
    record = shown_target(one for one in folder.records() if one.pair == pair)
    found = predicted(folder.predictions(), record)
    budget = budget_text(pair.attack).replace("ε", "eps")  # the font of Pillow has no Greek letters
    return Captions(
        heading=(
            f"{record.surrogate_name}, {brief(pair.attack)}, {budget}",
            f"clean: label; adversarial: what {record.target_name} predicts; difference: magnified",
        ),
        labels=[classes[label] for _, label in shown],
        predicted=[classes[found[identity]] if identity in found else "" for identity, _ in shown],
    )
