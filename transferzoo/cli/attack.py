"""`transferzoo attack`: a request → configuration → run folder → table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.base.notes import Notes
from transferzoo.cli.attack_request import AttackRequest
from transferzoo.cli.output import as_written, log, progress, report_once
from transferzoo.cli.parameters import command
from transferzoo.cli.report import publish
from transferzoo.cli.tables import publish_tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from transferzoo.base.distributed import Team
    from transferzoo.cli.attack_plan import Prepared
    from transferzoo.evaluation.job import Job
    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.results.comparisons import Findings


@command(AttackRequest)
def attack(request: AttackRequest) -> None:
    """Craft adversarial images on surrogates and try them on targets; the same command resumes."""
    from transferzoo.cli.attack_plan import find, plan_of, prepare
    from transferzoo.results.writers import check_folder, check_output

    files = [check_output(path) for path in request.output or []]
    if request.save_images is not None:
        check_folder(request.save_images)
    notes = Notes(log)
    found = find(request, notes)
    if request.dry_run and (known := found.lacks()) is not None:
        notes.tell()
        _publish_plan(known, files, as_json=request.json)
        return
    run = prepare(found, notes)
    if request.dry_run:
        _publish_plan(plan_of(run), files, as_json=request.json)
        return
    _attack(run, files)


def _publish_plan(plan: Mapping[str, Any], files: Sequence[Path], *, as_json: bool) -> None:
    """Print a plan and write it to files; CSV has a line for each surrogate and attack."""
    from transferzoo.cli.dry_run import plan_table

    costs = plan["gradient_evaluations"]["per_image"]
    publish_tables([plan_table(plan)], lambda: plan, lambda: costs, files, as_json=as_json)


def _attack(run: Prepared, files: Sequence[Path]) -> None:
    """Do what is not done yet, and print and write what was found."""
    from transferzoo.base.distributed import join_team
    from transferzoo.cli.attack_job import fits_batches, gain_of_bf16, with_largest_batches
    from transferzoo.cli.attack_pack import pack
    from transferzoo.cli.finetune import fine_tune
    from transferzoo.evaluation.run_folder import RunFolder

    request, job, missing = run.request, run.job, run.missing
    with join_team(None, request.runs) as team, report_once(team.fails_first):
        if missing and team.leads:
            fine_tune(job, missing, request.train_data)
        team.wait()
        if missing and fits_batches(request):
            job = with_largest_batches(job)
        if request.precision is None and team.leads and (offer := gain_of_bf16(job)):
            log(offer)
        folder = RunFolder.of(request.runs, job.key, job.title)
        found = _run(job, folder, team, request.jobs, ssim=request.visibility and _measures_ssim(team))
    if not team.leads:
        return
    publish(found, files, as_json=request.json, visibility=request.visibility)
    if request.save_images is not None:
        from transferzoo.evaluation.run import save_images as write

        write(job, folder, request.save_images)
        log(f"Images: {request.save_images}")
    if request.pack is not None:
        pack(job, folder, request.pack)
    log(f"Run folder: {folder.path}")


def _measures_ssim(team: Team) -> bool:
    """Return whether what measures the structural similarity is installed; a note says where it is not."""
    from transferzoo.base.errors import TransferZooError
    from transferzoo.base.optional import import_optional

    try:
        import_optional("skimage", "visibility", "SSIM needs")
    except TransferZooError as error:
        if team.leads:
            log(f"Note: the column SSIM stays empty. {error}")
        return False
    return True


def _run(job: Job, folder: RunFolder, team: Team, jobs: int | None, *, ssim: bool) -> Findings:
    from transferzoo.evaluation.run import run

    with progress("starting") as advance:
        return run(
            job, folder, team=team, jobs=jobs, ssim=ssim, command=as_written(), on_progress=advance, warn=log
        )
