"""`transferzoo audit`: may images made on other models fool this one? A verdict, an exit code, a folder."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from transferzoo.base.errors import UsageError
from transferzoo.cli.completion import complete_attacks, complete_surrogates, complete_targets, one_of
from transferzoo.cli.options import IMAGES, RESULTS, SPEED, ClassNumbers
from transferzoo.cli.output import as_written, log, progress, show, show_json, show_line, terminal_width
from transferzoo.cli.parameters import command
from transferzoo.cli.requests import ImagesRequest, TransferRequest

ATTACKERS = "Attackers"


@dataclass(frozen=True, kw_only=True)
class AuditRequest(ImagesRequest, TransferRequest):
    """The parameters of one call of the command, as they were parsed."""

    model: Annotated[
        str,
        typer.Argument(
            help="The model, as a target of attack: a name, a path, or form:place.",
            autocompletion=complete_targets,
        ),
    ]
    max_rate: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help="The most that an attacker may fool of the images it gets right: 20% or 0.2.",
            show_default="20%, or none with --baseline",
        ),
    ] = None
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="audit.json of the last release: fail where this one is significantly worse.",
            show_default=False,
        ),
    ] = None
    time_limit: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Draw fewer images where more would take longer than this by the forecast: 10m, 90s, 1h.",
            show_default="none",
        ),
    ] = None
    attackers: Annotated[
        str | None,
        typer.Option(
            metavar="public|adapted",
            help="From models of the zoo, or ones trained on images of the data that are not audited.",
            autocompletion=one_of("public", "adapted"),
            show_default="public, where the zoo has any",
            rich_help_panel=ATTACKERS,
        ),
    ] = None
    surrogate: Annotated[
        list[str] | None,
        typer.Option(
            "--surrogate",
            "-s",
            metavar="MODEL",
            help="Model that an attacker can have; repeatable.",
            autocompletion=complete_surrogates,
            show_default="five of the zoo, or three trained ones",
            rich_help_panel=ATTACKERS,
        ),
    ] = None
    attack: Annotated[
        list[str] | None,
        typer.Option(
            "--attack",
            "-a",
            metavar="ATTACK",
            help="What is done on each, and on all together; repeatable.",
            autocompletion=complete_attacks,
            show_default="mi, mi+di, mi+di+ti",
            rich_help_panel=ATTACKERS,
        ),
    ] = None
    epsilon: Annotated[
        str | None,
        typer.Option(
            "--epsilon",
            "--eps",
            metavar="RADIUS",
            help="How far images may be changed, in [0, 1] pixels: 8/255.",
            show_default="the data set's",
            rich_help_panel=ATTACKERS,
        ),
    ] = None
    max_gradients: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Gradient evaluations an image and attacker.", rich_help_panel=ATTACKERS
        ),
    ] = 50
    classes: ClassNumbers = None
    images: Annotated[int, typer.Option(min=1, help="How many images are drawn.", rich_help_panel=IMAGES)] = (
        300
    )
    seed: Annotated[
        int,
        typer.Option(min=0, help="Of the draw of images and of random techniques.", rich_help_panel=IMAGES),
    ] = 0
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where report.html, audit.json, junit.xml, summary.md and repeat.sh go.",
            show_default="audits/MODEL",
            rich_help_panel=RESULTS,
        ),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what it would cost.", rich_help_panel=RESULTS)
    ] = False
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default="one a processor",
            rich_help_panel=SPEED,
            help="Processes, in one thread each.",
        ),
    ] = None


@command(AuditRequest)
def audit(request: AuditRequest) -> None:
    """Judge whether images made on other models fool this one too often; the same command resumes."""
    from dataclasses import asdict

    from transferzoo.audits import formats, wording
    from transferzoo.audits.cost import LEAST_IMAGES, cost_of, measured_speed, within
    from transferzoo.audits.measure import audited, measure_jobs
    from transferzoo.audits.record import read_audit
    from transferzoo.audits.verdicts import fewest_to_pass
    from transferzoo.base.atomic import write_text
    from transferzoo.base.file_names import file_name
    from transferzoo.base.processes import usual_jobs
    from transferzoo.cli.audit_jobs import audit_jobs, read_rate, read_seconds
    from transferzoo.cli.tables import render
    from transferzoo.cli.train_tables import duration
    from transferzoo.page.audit_report import audit_part
    from transferzoo.page.html import render_page

    began = time.monotonic()
    limit = read_rate(request.max_rate or ("20%" if request.baseline is None else None))
    seconds = read_seconds(request.time_limit)
    baseline = None if request.baseline is None else read_audit(request.baseline)
    jobs, kinds = audit_jobs(request)
    model = jobs[0].targets[0]
    folder = request.folder or Path("audits") / file_name(model.name)
    if request.baseline and request.baseline.resolve().parent == folder.resolve():
        raise UsageError(
            "the baseline lies where this audit is written", expected="another --folder", got=str(folder)
        )
    count = sum(len(job.crafting_tasks) for job in jobs)
    speed, asking = measured_speed(jobs, request.jobs or usual_jobs())
    cost = cost_of(jobs, speed, asking)
    if seconds is not None:
        least = max(LEAST_IMAGES, fewest_to_pass(count, limit) if limit else 0)
        left = seconds - (time.monotonic() - began)
        jobs = within(jobs, cost, seconds, left, least, request.runs)
        fewer = cost_of(jobs, speed, asking)
        if fewer.images < cost.images:
            log(f"Images: {fewer.images} instead of {cost.images}, for a limit of {request.time_limit}.")
        cost = fewer
    attackers = f"{count} attacker{'s' if count > 1 else ''}"
    said = (
        f"Cost: {attackers}, {cost.images:,} images, {cost.gradients:,} gradient evaluations, "
        f"{cost.queries:,} images that {model.name} classifies; about {duration(cost.seconds)}."
    )
    if request.dry_run:
        show_json({**asdict(cost), "attackers": count}) if request.json else show_line(said)
        return
    log(said)
    formats.begin(folder)
    with progress("starting") as advance:
        found = measure_jobs(jobs, request.runs, request.jobs, as_written(), advance, log)
    minutes = (time.monotonic() - began) / 60
    record = audited(jobs, found, kinds, cost, limit, baseline, as_written(), minutes)
    write_text(folder / formats.PAGE, render_page([audit_part(record)]))
    formats.write(record, folder)
    if request.json:
        show_json(record.model_dump(mode="json"))
    else:
        show(render(wording.attackers_table(record), terminal_width()))
        for sentence in wording.sentences(record):
            show_line(sentence)
    log(f"Written: {folder}")
    raise typer.Exit(record.verdict.exit_code)
