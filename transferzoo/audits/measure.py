"""From jobs to what an audit found: crafted and measured as every run is, then judged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from transferzoo.audits.attackers import agreements, own_weights
from transferzoo.audits.record import (
    Attacker,
    AuditedModel,
    AuditRecord,
    Controls,
    Image,
    PackFile,
    Reference,
    Times,
    Verdict,
)
from transferzoo.audits.verdicts import compare, held_out, judge, share_of, worse_of
from transferzoo.base.digests import tensors_digest
from transferzoo.base.distributed import this_device
from transferzoo.base.errors import DataError
from transferzoo.base.file_names import file_name
from transferzoo.evaluation.candidates import drawn_order
from transferzoo.evaluation.kept_records import intact
from transferzoo.evaluation.run import run
from transferzoo.evaluation.run_folder import RunFolder
from transferzoo.evaluation.select_images import next_look
from transferzoo.models.accuracy_gate import require_accuracy
from transferzoo.results.comparisons import budget_of, noise_beside
from transferzoo.results.records import short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from transferzoo.audits.cost import Cost
    from transferzoo.audits.plan import Plan
    from transferzoo.audits.verdicts import Judgement
    from transferzoo.evaluation.job import Job
    from transferzoo.results.comparisons import Findings
    from transferzoo.results.records import Record

    OnProgress = Callable[[str, int, int], None]


def run_folder(plan: Plan, job: Job) -> RunFolder:
    """Return the folder of what is done of a job of an audit."""
    runs, pack = plan.request.runs, plan.pack
    if pack is None:
        return RunFolder.of(runs, job.key, f"audit-{job.title}")
    return RunFolder.of(runs, {**job.key, "pack": pack.sha256}, f"audit-{file_name(pack.name)}")


def is_finished(plan: Plan, job: Job, folder: RunFolder) -> bool:
    """Return whether all of a job is measured."""
    attacks = job.crafting_tasks if plan.pack is None else plan.pack.rows
    return len(intact(folder.records)) == len(attacks) * len(job.targets)


def measure_jobs(
    jobs: Sequence[Job],
    folders: Sequence[RunFolder],
    processes: int,
    command: str,
    on_progress: OnProgress,
    warn: Callable[[str], None],
) -> list[Findings]:
    """Do what is not done yet of jobs on the same images, and return what each found.

    Raises:
        ModelError, DataError, TransferZooError: see `evaluation.run.run`.
    """
    found = []
    for job, folder in zip(jobs, folders, strict=True):
        notes = warn if job is jobs[0] else lambda note: None
        found.append(run(job, folder, jobs=processes, command=command, on_progress=on_progress, warn=notes))
    return found


def audited(
    plan: Plan,
    jobs: Sequence[Job],
    found: Sequence[tuple[RunFolder, Findings]],
    cost: Cost,
    baseline: AuditRecord | None,
    command: str,
    minutes: float,
) -> AuditRecord:
    """Return the record of an audit, judged.

    Args:
        plan: what was asked.
        jobs: of one data set, on the same images; the first target of each is the audited model.
        found: what they found.
        cost: what was forecast.
        baseline: an earlier audit, if there is one.
        command: as it was written.
        minutes: that were taken.

    Raises:
        ModelError: every attacker has the audited model's own weights.
        DataError: the model gets fewer than two images right, or the baseline does not fit.
    """
    outcome = _Outcome.of(plan, jobs, found)
    times = Times(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        forecast_minutes=round(cost.seconds / 60, 2),
        minutes=round(minutes, 2),
    )
    record = outcome.record(cost, command, times)
    if baseline is None:
        return record
    comparison = compare(record, baseline)
    both = [one for one in (record.limit_verdict, comparison.verdict) if one is not None]
    return record.model_copy(update={"comparison": comparison, "verdict": worse_of(both)})


@dataclass(frozen=True)
class _Outcome:
    """What the attackers of an audit did to its model.

    Attributes:
        plan: what was asked.
        jobs: see `audited`.
        found: likewise.
        kept: records of the model under the attackers that count, A.
        left_out: those of attackers that have its weights.
        hits: which of them fool which of the images that count, (A, N).
    """

    plan: Plan
    jobs: Sequence[Job]
    found: Sequence[tuple[RunFolder, Findings]]
    kept: Sequence[Record]
    left_out: Sequence[Record]
    hits: NDArray[np.bool_]

    @classmethod
    def of(cls, plan: Plan, jobs: Sequence[Job], found: Sequence[tuple[RunFolder, Findings]]) -> _Outcome:
        """Return what was found of the first target.

        Raises:
            ModelError: every attacker has its weights.
            DataError: it gets fewer than two images right.
        """
        model = jobs[0].targets[0]
        records = [each for _, one in found for each in one.records if each.target == model.full_name]
        kept = [each for each in records if not each.white_box]
        if not kept:
            raise own_weights(model.name)
        hits = _hits(kept)
        if hits.shape[1] < 2:
            raise DataError(
                f"'{model.name}' classifies too few of the images correctly",
                expected="2",
                got=str(hits.shape[1]),
            )
        return cls(plan, jobs, found, kept, [each for each in records if each.white_box], hits)

    @cached_property
    def judgement(self) -> Judgement:
        """What the limit makes of it."""
        return judge(self.hits, self.plan.request.max_rate)

    def record(self, cost: Cost, command: str, times: Times) -> AuditRecord:
        """Return the record, by the limit alone; arguments as `audited` takes them."""
        model, first, judgement, pack = self.jobs[0].targets[0], self.kept[0], self.judgement, self.plan.pack
        norm, _, epsilon = budget_of(first.attack).partition(",eps=")
        return AuditRecord(
            model=AuditedModel(
                name=model.full_name,
                place=model.place,
                sha256=first.target_sha256,
                accuracy=first.target_accuracy,
            ),
            dataset=first.dataset,
            split=first.split,
            seed=first.seed,
            norm=norm,
            epsilon=epsilon,
            images=_images(self.jobs[0], self.found[0][0]),
            counted=first.n,
            max_rate=self.plan.request.max_rate,
            attackers=tuple(self.attackers()),
            any_of=share_of([bool(each.any()) for each in self.hits.T]),
            held_out=judgement.held_out,
            controls=self.controls(),
            limit_verdict=judgement.verdict,
            images_to_settle=judgement.images_to_settle,
            comparison=None,
            verdict=judgement.verdict or Verdict.PASS,
            pack=PackFile(name=pack.name, sha256=pack.sha256) if pack else None,
            gradients=cost.gradients,
            queries=cost.queries,
            answers=cost.answers,
            left_out=tuple(f"{each.surrogate} with {each.attack}" for each in self.left_out),
            cautions=_cautions(self.jobs[0], self.found[0][0]),
            command=command,
            versions=dict(first.versions),
            times=times,
        )

    def attackers(self) -> Iterator[Attacker]:
        """Yield the attackers that count."""
        judgement, agreed_on = self.judgement, agreements(self.plan.surrogates, self.plan.trainings)
        best, max_rate = judgement.held_out, self.plan.request.max_rate
        limit = 1.0 if max_rate is None else max_rate
        failed = judgement.verdict is Verdict.FAIL
        above = {at for at, low in zip(best.chosen, best.lows, strict=True) if low > limit}
        bounds = zip(self.kept, judgement.uppers, judgement.lowers, strict=True)
        for at, (each, upper, lower) in enumerate(bounds):
            shown = failed and (lower > limit or at in above)
            agreed = [agreed_on[one] for one in short(each.surrogate).split(" & ") if one in agreed_on]
            yield Attacker.model_validate(
                {
                    "kind": self.plan.kind,
                    "surrogate": each.surrogate,
                    "attack": each.attack,
                    "gradients": each.gradients,
                    "surrogate_accuracy": each.surrogate_accuracy,
                    "surrogate_sha256": each.surrogate_sha256,
                    "agreement": sum(agreed) / len(agreed) if agreed else None,
                    "outcomes": each.outcomes,
                    "share": share_of(self.hits[at].tolist()),
                    "upper": upper,
                    "lower": lower,
                    "standing": "within" if upper <= limit else "above" if shown else "cannot tell",
                }
            )

    def controls(self) -> Controls:
        """Return the noise beside the first attacker, and what those that count do to models that none has.

        Raises:
            DataError: there is no noise, and the model was to be shown some.
        """
        first, rate = self.kept[0], self.judgement.held_out.rate
        noise = noise_beside(self.found[0][1].noise, first)
        if noise is None and first.target not in self.jobs[0].noiseless:
            raise DataError("the noise beside the attackers is missing", hint="run the audit again")
        references, pairs = [], {each.pair for each in self.kept}
        found = [each for _, one in self.found for each in one.records if each.pair in pairs]
        for target in self.jobs[0].targets[1:]:
            records = [each for each in found if each.target == target.full_name]
            if any(each.white_box for each in records) or records[0].n < 2:
                continue
            references.append(Reference(name=target.full_name, rate=held_out(_hits(records)).rate))
        references.sort(key=lambda one: one.rate)
        fewer = sum(one.rate < rate for one in references)
        return Controls(
            noise=share_of([mark == "1" for mark in noise.outcomes if mark != "-"]) if noise else None,
            noise_outcomes=noise.outcomes if noise else "",
            references=tuple(references),
            rank=1 + fewer if references else None,
        )


def _hits(records: Sequence[Record]) -> NDArray[np.bool_]:
    """Return which attackers fool which of the images that count for the target they share, (A, N)."""
    outcomes = np.array([list(each.outcomes) for each in records])
    return np.asarray(outcomes[:, outcomes[0] != "-"] == "1")


def _cautions(job: Job, folder: RunFolder) -> tuple[str, ...]:
    """Return what is doubtful about the audited model's predictions, in a sentence.

    They are of the candidates that were certainly looked at: those of the first look, and up to the last that
    was drawn, so that the same audit says the same again.
    """
    model, drawn = job.targets[0], job.data.places(folder.selected().ids)
    order = drawn_order(len(job.data), job.config.seed)
    last = int(torch.isin(order, drawn).nonzero().max())
    at = order[: max(last + 1, next_look(0, 0, job.config.images))]
    predictions, labels = job.predictions(model).ask(at, this_device()), job.data.labels[at]
    _, doubt = require_accuracy(model.name, predictions, labels, job.dataset.classes, allowed=True)
    return (doubt,) if doubt else ()


def _images(job: Job, folder: RunFolder) -> tuple[Image, ...]:
    selection = folder.selected()
    digests = [tensors_digest(job.data.images[at]) for at in job.data.places(selection.ids).tolist()]
    return tuple(
        Image(id=identity, label=label, name=name, sha256=digest)
        for identity, label, name, digest in zip(
            selection.ids, selection.labels, selection.names, digests, strict=True
        )
    )
