"""`transferzoo attack`: a request → configuration → run folder → table."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from transferzoo.base.notes import Notes
from transferzoo.cli.attack_request import AttackRequest
from transferzoo.cli.output import as_written, log, progress, report_once, show_json
from transferzoo.cli.parameters import command
from transferzoo.cli.report import publish

if TYPE_CHECKING:
    from transferzoo.base.distributed import Team
    from transferzoo.evaluation.job import Job
    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.results.comparisons import Findings


@command(AttackRequest)
def attack(request: AttackRequest) -> None:
    """Craft adversarial images on surrogates and try them on targets; the same command resumes."""
    from transferzoo.attacks.configure import configure
    from transferzoo.base.distributed import join_team
    from transferzoo.cli.attack_job import (
        assumed_budget,
        fits_batches,
        following,
        gain_of_bf16,
        job_of,
        models,
        plan_of,
        with_largest_batches,
    )
    from transferzoo.cli.attack_pack import for_pack, pack
    from transferzoo.cli.auto_surrogates import to_train, train_surrogates
    from transferzoo.cli.dry_run import lacking, unfetched
    from transferzoo.cli.finetune import fine_tune, fine_tunings, with_tuned
    from transferzoo.datasets.own import own_images, read_as_by
    from transferzoo.datasets.sources import measured
    from transferzoo.evaluation.job import weights_of
    from transferzoo.evaluation.known_classes import note_classes, require_fitting, with_classes
    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.models.resolve import named_dataset
    from transferzoo.results.writers import check_folder, check_output
    from transferzoo.sync.on_this_machine import download_models
    from transferzoo.zoo.reader import load_zoo

    files = [check_output(path) for path in request.output or []]
    if request.save_images is not None:
        check_folder(request.save_images)
    if request.pack is not None:
        request = for_pack(request)
    records = load_zoo(request.zoo)
    named = [*(request.surrogate or ()), *(request.targets or ())]
    said = named_dataset(records, request.dataset, named)
    notes = Notes(log)
    records, name, root = own_images(records, said, request.data, notes, notes, request.columns)
    records, request = following(records, name, request)
    fields = request.fields
    records = measured(records, name, request.split, root)
    crafted_on, tried_on = models(records, name, request)
    if request.data is not None and root is None:
        records, note = read_as_by(records, name, (*tried_on, *crafted_on))
        notes(f"{note} {assumed_budget(records.dataset(name), request)}".rstrip())
    if request.dry_run and (
        absent := lacking(records.dataset(name), (*crafted_on, *tried_on), request.split, root)
    ):
        settle = partial(
            configure, records, name, request.attack or (), flags=fields, max_gradients=request.max_gradients
        )
        dataset = records.dataset(name)
        notes.tell()
        show_json(unfetched(settle, dataset, crafted_on, tried_on, absent, request.finetune or []))
        return
    chosen = crafted_on
    crafted_on, tried_on = download_models(crafted_on, tried_on, log)
    request.unlisted.check_prompt((*crafted_on, *tried_on))
    if request.classes is not None:
        crafted_on = with_classes(crafted_on, records.dataset(name), request.classes)
        tried_on = with_classes(tried_on, records.dataset(name), request.classes)
    adapted, free = to_train(records, name, request, chosen)
    if adapted:
        require_fitting(records.dataset(name), tried_on)
        request = replace(request, split=free)
        fields = request.fields
        crafted_on = (*crafted_on, *(one.model for one in adapted))
        if request.pack is not None:
            tried_on = crafted_on
        if not request.dry_run:
            notes.tell()
            train_surrogates(adapted, request.jobs)
    untrained = [one.model for one in adapted if not one.finished()]
    tuned = fine_tunings(records, crafted_on, request.finetune or [], request.train_data)
    if tuned:
        crafted_on = with_tuned(records.dataset(name), crafted_on, tuned)
    made = {one.model for one in tuned}
    whole = [model for model in (*crafted_on, *tried_on) if model not in made and model not in untrained]
    known = note_classes(records.dataset(name), whole, notes)
    config = configure(
        records,
        name,
        request.attack or (),
        [m.full_name for m in crafted_on],
        [m.full_name for m in tried_on],
        fields,
        request.max_gradients,
        {m.full_name: len(weights_of(m, every=True)) for m in crafted_on},
    )
    job = job_of(records, config, crafted_on, tried_on, root, known, request)
    notes.tell()
    missing = [one for one in tuned if not one.finished()]
    by_memory = fits_batches(request)
    if by_memory and not missing and not untrained:
        job = with_largest_batches(job)
    if request.dry_run:
        unmade = missing or untrained
        folder = None if unmade else RunFolder.of(request.runs, job.key, job.title)
        show_json(plan_of(job, folder, tuned, missing, adapted))
        return
    with join_team(None, request.runs) as team, report_once(team.fails_first):
        if missing and team.leads:
            fine_tune(job, missing, request.train_data)
        team.wait()
        if by_memory and missing:
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
