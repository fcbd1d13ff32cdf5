"""An audit from its plan to its record: the cost first, then what it takes, then the verdict."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transferzoo.attacks.engine import Attack
from transferzoo.audits import formats, wording
from transferzoo.audits.cost import LEAST_IMAGES, Cost, cost_of, measured_speed, within
from transferzoo.audits.measure import audited, is_finished, measure_jobs, run_folder
from transferzoo.audits.plan import plan
from transferzoo.audits.record import read_audit
from transferzoo.audits.verdicts import fewest_to_pass
from transferzoo.base.distributed import Team, this_device
from transferzoo.base.durations import duration
from transferzoo.base.errors import UsageError
from transferzoo.evaluation.run import measure_given, processes_for
from transferzoo.models.load import identity
from transferzoo.results.comparisons import attack_name
from transferzoo.results.records import short

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transferzoo.audits.plan import Plan, Talk
    from transferzoo.audits.record import AuditRecord
    from transferzoo.audits.request import AuditRequest
    from transferzoo.evaluation.job import Job
    from transferzoo.evaluation.run_folder import RunFolder


@dataclass(frozen=True)
class Prepared:
    """An audit whose cost is known.

    Attributes:
        plan: what it is about.
        jobs: on as many images as there is time for.
        cost: of these.
        folders: of the jobs.
        finished: whether they have all that is to be measured.
        processes: that share the work.
        began: when it was asked for, by `time.monotonic`.
    """

    plan: Plan
    jobs: tuple[Job, ...]
    cost: Cost
    folders: tuple[RunFolder, ...]
    finished: bool
    processes: int
    began: float

    @property
    def announcement(self) -> str:
        """What it costs, in a sentence, or that it is finished."""
        if self.finished:
            return wording.finished(self.plan.audited.name, [folder.path for folder in self.folders])
        return wording.cost(self.plan.audited.name, self.cost)


def run_audit(
    request: AuditRequest,
    talk: Talk,
    jobs: int | None,
    folder: Path | None,
    usual: Path | None,
    write: Callable[[AuditRecord, Path], None],
    command: Callable[[Path | None], str],
) -> tuple[AuditRecord, Path | None]:
    """Audit a model, write what was found, and return it and the folder that has it, if any.

    Args:
        request: what is asked.
        talk: where it is said what is done.
        jobs: processes; None for one a processor.
        folder: that the user names; None for none.
        usual: where the folder of the model lies then; None to write nothing.
        write: writes a record into a folder.
        command: what asks for the same again, by the folder.

    Raises:
        UsageError, DataError, ModelError: see `plan`, `prepare` and `finish`.
        TransferZooError: a folder cannot be written.
    """
    began = time.monotonic()
    baseline = None if request.baseline is None else read_audit(request.baseline)
    with formats.none_left(folder, request.baseline) as known:
        found = plan(request, talk)
        check_baseline(found, baseline)
        if folder is None and usual is not None:
            folder = usual / found.folder_name
            known(folder)
        if folder is not None:
            formats.check_place(folder, request.baseline)
        prepared = prepare(found, talk, jobs, began)
        talk.notify(prepared.announcement)
        if folder is not None:
            if (replaced := formats.other_images(folder, found.dataset)) is not None:
                talk.notify(f"Note: the audit on {replaced} in {folder} is replaced; --folder keeps both.")
            formats.begin(folder)
        record = finish(prepared, talk, baseline, command(folder))
        if folder is not None:
            write(record, folder)
    return record, folder


def check_baseline(found: Plan, baseline: AuditRecord | None) -> None:
    """Check what is known of an earlier audit's attackers before anything is spent.

    Raises:
        UsageError: it allowed another change of the images, or had other surrogates or attacks.
    """
    if baseline is None or not found.configs:
        return
    attack = found.configs[0].attacks[0]
    ours, theirs = (attack.norm, str(attack.epsilon)), (baseline.norm, baseline.epsilon)
    if ours != theirs:
        raise UsageError(
            "the baseline allowed another change of the images",
            expected=" ".join(theirs),
            got=" ".join(ours),
            hint=f"--epsilon {baseline.epsilon} is what it had",
        )
    if not found.trainings:
        _check_surrogates(found, baseline)
    single, *together = (
        {Attack.of(one, config.seed).canonical for one in config.attacks} for config in found.configs
    )
    had = {one.attack for one in baseline.attackers}
    lacking = had.difference(single, *together)
    if odd := lacking or single - had:  # an audit of the model's own weights has left ensembles out
        raise _other("attacks, or other steps", attack_name(min(odd)), in_baseline=bool(lacking))


def _check_surrogates(found: Plan, baseline: AuditRecord) -> None:
    """Check that an earlier audit had the surrogates that are not the audited model.

    Raises:
        UsageError: it had others.
    """
    ours = {identity(model)[0]: model.full_name for model in found.surrogates}
    single = [one for one in baseline.attackers if "&" not in one.surrogate_sha256]
    had = {one.surrogate_sha256: one.surrogate for one in single}
    lacking = had.keys() - ours
    more = set() if baseline.left_out else ours.keys() - had - {identity(found.audited)[0]}
    if odd := lacking or more:
        name = min((had if lacking else ours)[one] for one in odd)
        raise _other("surrogates", short(name), in_baseline=bool(lacking))


def _other(what: str, odd: str, *, in_baseline: bool) -> UsageError:
    return UsageError(
        f"the baseline has other {what}",
        expected="the same in both",
        got=f"{odd} in {'the baseline' if in_baseline else 'this audit'} alone",
        hint="audit the earlier model again by this command",
    )


def prepare(plan: Plan, talk: Talk, processes: int | None, began: float) -> Prepared:
    """Train what is not trained yet, and find out what the audit costs and how many images there is time for.

    Args:
        plan: what it is about.
        talk: where it is said what is done.
        processes: that share the work; None for one a processor.
        began: when the audit was asked for.

    Raises:
        ModelError, DataError, UsageError: see `Plan.jobs`.
        TransferZooError: the time limit is too short.
    """
    request, jobs = plan.request, plan.jobs(talk)
    processes = processes_for(jobs[0], processes, Team(), talk.notify)
    given = len(plan.pack.rows) if plan.pack else 0
    speed, asking = measured_speed(jobs, processes, request.runs)
    cost = cost_of(jobs, speed, asking, given, plan.answers)
    if request.time_limit is not None:
        passing = fewest_to_pass(cost.attackers, request.max_rate) if request.max_rate else 0
        left = request.time_limit - (time.monotonic() - began)
        jobs = within(jobs, cost, request.time_limit, left, max(LEAST_IMAGES, passing), request.runs)
        fewer = cost_of(jobs, speed, asking, given, plan.answers)
        if fewer.images < cost.images:
            limit = duration(request.time_limit)
            talk.notify(f"Images: {fewer.images} instead of {cost.images}, for a limit of {limit}.")
        cost = fewer
    folders = tuple(run_folder(plan, job) for job in jobs)
    finished = all(is_finished(plan, job, folder) for job, folder in zip(jobs, folders, strict=True))
    return Prepared(plan, tuple(jobs), cost, folders, finished, processes, began)


def finish(prepared: Prepared, talk: Talk, baseline: AuditRecord | None, command: str) -> AuditRecord:
    """Do what is not done yet of an audit, and return what it found, judged.

    Args:
        prepared: the audit.
        talk: where it is said what is done.
        baseline: an earlier audit, if there is one.
        command: what asks for the same again.

    Raises:
        ModelError, DataError, TransferZooError: see `evaluation.run` and `measure.audited`.
    """
    plan, jobs, folders = prepared.plan, prepared.jobs, prepared.folders
    if plan.pack is not None:
        found = [measure_given(jobs[0], folders[0], plan.pack.rows, this_device(), command)]
    else:
        with talk.progress("starting") as advance:
            found = measure_jobs(jobs, folders, prepared.processes, command, advance, talk.notify)
    minutes = (time.monotonic() - prepared.began) / 60
    measured = tuple(zip(folders, found, strict=True))
    return audited(plan, jobs, measured, prepared.cost, baseline, command, minutes)
