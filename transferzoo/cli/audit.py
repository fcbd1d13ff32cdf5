"""`transferzoo audit`: may images made on other models fool this one? A verdict, an exit code, a folder."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferzoo.audits.request import GRADIENTS, KINDS, LIMIT, AuditRequest
from transferzoo.audits.request import IMAGES as IMAGE_COUNT
from transferzoo.base.errors import UsageError
from transferzoo.cli.completion import complete_attacks, complete_surrogates, complete_targets, one_of
from transferzoo.cli.options import IMAGES, RESULTS, ClassNumbers, Jobs, ShowNoise
from transferzoo.cli.output import as_written, log, progress, show_json, show_line
from transferzoo.cli.parameters import command
from transferzoo.cli.requests import ImagesRequest, TransferRequest
from transferzoo.cli.tables import print_tables
from transferzoo.models.unlisted_options import UnlistedOptions

if TYPE_CHECKING:
    from transferzoo.audits.plan import Talk

ATTACKERS = "Attackers"
UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, kw_only=True)
class AuditCommand(ImagesRequest, TransferRequest):
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
            metavar="|".join(KINDS),
            help="With models of the zoo, or trained on images that are not audited: on their labels, or on "
            "what the model answers.",
            autocompletion=one_of(*KINDS),
            show_default="public, where the zoo has any",
            rich_help_panel=ATTACKERS,
        ),
    ] = None
    queries: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Answers that replicas are trained on, at most.",
            show_default="one an image that is not audited",
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
    pack: Annotated[
        str | None,
        typer.Option(
            metavar="PACK",
            help="Try the images of a pack, by forward passes alone: a file or a name; NAME@SHA256 pins it.",
            show_default=False,
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
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Gradient evaluations an image and attacker.",
            show_default=str(GRADIENTS),
            rich_help_panel=ATTACKERS,
        ),
    ] = None
    classes: ClassNumbers = None
    noise: ShowNoise = False
    images: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many images are drawn.",
            show_default=f"{IMAGE_COUNT}, or all of a pack",
            rich_help_panel=IMAGES,
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Of the draw of images and of random techniques.",
            show_default="0, or a pack's",
            rich_help_panel=IMAGES,
        ),
    ] = None
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
    jobs: Jobs = None

    @property
    def asked(self) -> AuditRequest:
        """What is asked of an audit.

        Raises:
            UsageError: an option cannot be read, or contradicts another.
        """
        usual = LIMIT if self.baseline is None else None
        return AuditRequest(
            model=self.model,
            dataset=self.dataset,
            data=self.data,
            columns=self.columns,
            split=self.split,
            images=self.images,
            seed=self.seed,
            classes=self.classes,
            surrogates=tuple(self.surrogate or ()),
            attacks=tuple(self.attack or ()),
            attackers=self.attackers,
            queries=self.queries,
            pack=self.pack,
            epsilon=self.epsilon,
            max_gradients=self.max_gradients,
            max_rate=usual if self.max_rate is None else read_rate(self.max_rate),
            baseline=self.baseline,
            time_limit=None if self.time_limit is None else read_seconds(self.time_limit),
            options=UnlistedOptions.read(self.architecture, self.allow_code, self.mean, self.std),
            noise=self.noise,
            allow_inaccurate=self.allow_inaccurate,
            zoo=self.zoo,
            runs=self.runs,
        )


def read_rate(text: str) -> float:
    """Read a rate, "20%" or "0.2".

    Raises:
        UsageError: it is none in [0, 1].
    """
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(%?)\s*", text)
    rate = float(found[1]) / (100 if found[2] else 1) if found else -1.0
    if not 0 <= rate <= 1:
        raise UsageError("cannot read --max-rate", expected="20% or 0.2", got=f"'{text}'")
    return rate


def read_seconds(text: str) -> float:
    """Read a time, "10m", "90s" or "1h".

    Raises:
        UsageError: it is none above 0.
    """
    found = re.fullmatch(r"\s*(\d+\.?\d*)\s*([smh])\s*", text)
    if not found or not float(found[1]):
        raise UsageError("cannot read --time-limit", expected="10m, 90s or 1h", got=f"'{text}'")
    return float(found[1]) * UNITS[found[2]]


@command(AuditCommand)
def audit(request: AuditCommand) -> None:
    """Judge whether images made on other models fool this one too often; the same command resumes."""
    from transferzoo.audits import formats, wording
    from transferzoo.audits.audit import run_audit
    from transferzoo.page.audit_report import write_audit

    if request.dry_run:
        _show_cost(request)
        return

    asked, talk = request.asked, _talk(request)
    record, folder = run_audit(
        asked, talk, request.jobs, request.folder, formats.AUDITS, write_audit, lambda _: as_written()
    )
    if request.json:
        show_json(record.model_dump(mode="json"))
    else:
        print_tables(wording.attackers_table(record))
        for sentence in wording.sentences(record):
            show_line(sentence)
    log(f"Written: {folder}")
    raise typer.Exit(record.verdict.exit_code)


def _talk(request: AuditCommand) -> Talk:
    from transferzoo.audits.plan import Talk
    from transferzoo.cli.auto_surrogates import train_surrogates

    return Talk(log, progress, lambda planned: train_surrogates(planned, request.jobs))


def _show_cost(request: AuditCommand) -> None:
    """Print what an audit takes; what it trains first, where that is not trained yet."""
    from dataclasses import asdict

    from transferzoo.audits.audit import check_baseline, prepare
    from transferzoo.audits.plan import plan
    from transferzoo.audits.record import read_audit
    from transferzoo.base.durations import duration
    from transferzoo.cli.auto_surrogates import plan_of

    began, talk = time.monotonic(), _talk(request)
    found = plan(request.asked, talk)
    check_baseline(found, read_audit(request.asked.baseline) if request.asked.baseline else None)
    planned = [plan_of(one) for one in found.trainings]
    if not all(one["done"] for one in planned):
        seconds = sum(one["estimated_seconds"] for one in planned)
        names = ", ".join(one.model.name for one in found.trainings if not one.finished())
        told = f", on {found.answers:,} answers of {found.audited.name}" if found.answers else ""
        sentence = (
            f"Trains first, once: {names}{told}; about {duration(seconds)} in one process. What the audit "
            "itself takes is known then."
        )
        show_json({"trains": planned}) if request.json else show_line(sentence)
        return
    prepared = prepare(found, talk, request.jobs, began)
    show_json(asdict(prepared.cost)) if request.json else show_line(prepared.announcement)
