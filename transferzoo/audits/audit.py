"""An audit from its plan to its record: the cost first, then what it takes, then the verdict."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transferzoo.audits.cost import LEAST_IMAGES, Cost, cost_of, measured_speed, within
from transferzoo.audits.measure import audited, measure_jobs, measure_pack
from transferzoo.audits.verdicts import fewest_to_pass
from transferzoo.base.durations import duration
from transferzoo.base.processes import usual_jobs

if TYPE_CHECKING:
    from transferzoo.audits.plan import Plan, Talk
    from transferzoo.audits.record import AuditRecord
    from transferzoo.evaluation.job import Job


@dataclass(frozen=True)
class Prepared:
    """An audit whose cost is known.

    Attributes:
        plan: what it is about.
        jobs: on as many images as there is time for.
        cost: of these.
        processes: that share the work.
        began: when it was asked for, by `time.monotonic`.
    """

    plan: Plan
    jobs: tuple[Job, ...]
    cost: Cost
    processes: int
    began: float


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
    processes = processes or usual_jobs()
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
    return Prepared(plan, tuple(jobs), cost, processes, began)


def finish(prepared: Prepared, talk: Talk, baseline: AuditRecord | None, command: str) -> AuditRecord:
    """Do what is not done yet of an audit, and return what it found, judged.

    Args:
        prepared: the audit.
        talk: where it is said what is done.
        baseline: an earlier audit, if there is one.
        command: what asks for the same again.

    Raises:
        ModelError, DataError, TransferZooError: see `measure.measure_jobs` and `measure.audited`.
    """
    plan, jobs = prepared.plan, prepared.jobs
    if plan.pack is not None:
        found = [measure_pack(jobs[0], plan.pack, plan.request.runs, command)]
    else:
        with talk.progress("starting") as advance:
            found = measure_jobs(jobs, plan.request.runs, prepared.processes, command, advance, talk.notify)
    minutes = (time.monotonic() - prepared.began) / 60
    return audited(plan, jobs, found, prepared.cost, baseline, command, minutes)
