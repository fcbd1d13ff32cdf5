"""`transferzoo push`: a checkpoint or a pack to the Hub."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from transferzoo.base.errors import UsageError
from transferzoo.cli.completion import complete_models
from transferzoo.cli.options import Json, Plugins, ZooFile
from transferzoo.cli.output import log, show_json, show_line
from transferzoo.cli.parameters import command

if TYPE_CHECKING:
    from transferzoo.sync.push import UploadPlan

COMMIT, CARD = "Commit", "Model card"
USE = {
    "model": "Attack from it with: transferzoo attack --surrogate hf-hub:{} --targets all",
    "dataset": "Try it with: transferzoo score hf-pack:{} --targets all",
}
"""Type of a repository → what can be done with it."""


@dataclass(frozen=True, kw_only=True)
class PushRequest:
    """The parameters of one call of the command, as they were parsed."""

    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="Checkpoint folder, a model of the zoo that is on this machine, or a pack.",
            autocompletion=complete_models,
            show_default="the newest one in checkpoints",
        ),
    ] = None
    repo: Annotated[
        str | None,
        typer.Option(metavar="[USER/]NAME", help="Repository.", show_default="your own, the folder's name"),
    ] = None
    licence: Annotated[
        str,
        typer.Option(
            metavar="ID",
            help="Licence of the weights, as the Hub writes it: mit. Of a pack's images, if it says another.",
        ),
    ] = ""
    private: Annotated[bool, typer.Option("--private", help="Make the repository a private one.")] = False
    revision: Annotated[
        str | None,
        typer.Option(
            metavar="BRANCH",
            help="Branch to commit to.",
            show_default="the default one",
            rich_help_panel=COMMIT,
        ),
    ] = None
    tag: Annotated[
        str | None, typer.Option(help="Name for the commit.", show_default="none", rich_help_panel=COMMIT)
    ] = None
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Open a pull request instead.", rich_help_panel=COMMIT)
    ] = False
    unmeasured: Annotated[
        bool,
        typer.Option(
            "--unmeasured", help="Also without an accuracy in its recipe.json.", rich_help_panel=CARD
        ),
    ] = False
    runs: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Run folders whose success rates the card shows.", rich_help_panel=CARD
        ),
    ] = Path("runs")
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the card and what would be sent.")] = False
    json: Json = False
    zoo: ZooFile = None
    plugin: Plugins = None


@command(PushRequest)
def push(request: PushRequest) -> None:
    """Share a checkpoint or a pack on the Hub, with a card; the same push again changes nothing."""
    from tempfile import TemporaryDirectory

    from transferzoo.sync.push import upload

    plan = _plan(request)
    if request.dry_run:
        _show_plan(plan, as_json=request.json)
        return
    if not request.yes:
        _confirm(plan, private=request.private)
    with TemporaryDirectory() as place:
        sent = upload(
            plan,
            Path(place),
            private=request.private,
            revision=request.revision,
            tag=request.tag,
            create_pr=request.create_pr,
        )
    if request.json:
        show_json(asdict(sent))
        return
    log(f"{sent.url}: {'sent' if sent.changed else 'nothing new'}, commit {sent.commit[:12]}.")
    at = sent.commit if request.create_pr else request.revision
    log(USE[plan.repo_type].format(quote(f"{sent.repo}{f'@{at}' if at else ''}")))


def _plan(request: PushRequest) -> UploadPlan:
    """Return what is uploaded: a pack where the name is of one, else a checkpoint."""
    from transferzoo import hub
    from transferzoo.evaluation.pack_manifest import find_pack, names_pack
    from transferzoo.sync.push import checkpoint_of, newest_checkpoint, plan_upload
    from transferzoo.zoo.reader import load_zoo

    def named(own: str) -> str:
        name = request.repo or own
        if "/" in name:
            return name
        return f"{'USER' if request.dry_run and not request.repo else hub.whoami()}/{name}"

    if request.model and names_pack(request.model):
        from transferzoo.sync.push_pack import plan_pack_upload

        file = find_pack(request.model)
        return plan_pack_upload(file, named(file.stem), licence=request.licence)
    records = load_zoo(request.zoo)
    if request.model:
        folder = checkpoint_of(records, request.model, log)
    else:
        folder = newest_checkpoint(Path("checkpoints"))
    name = named(folder.resolve().name)
    return plan_upload(
        records, folder, name, licence=request.licence, runs=request.runs, unmeasured=request.unmeasured
    )


def _show_plan(plan: UploadPlan, *, as_json: bool) -> None:
    if as_json:
        show_json({"repo": plan.repo, "files": plan.files, "bytes": plan.size, "card": plan.card})
        return
    show_line(plan.card)
    log(f"Would send {', '.join(plan.files)} ({plan.size:,} bytes) and this card to {plan.repo}.")


def _confirm(plan: UploadPlan, *, private: bool) -> None:
    """Ask whether to go on.

    Raises:
        UsageError: nobody is there to answer, or the answer is no.
    """
    import sys

    kind = "a private" if private else "the public"
    question = (
        f"Send {len(plan.files)} files ({plan.size:,} bytes) and a card to {kind} repository {plan.repo}?"
    )
    if not sys.stdin.isatty():
        raise UsageError("nobody can confirm the push", expected="--yes", got="no terminal")
    if not typer.confirm(question, err=True):
        raise UsageError("the push was not confirmed", hint="nothing was sent")
