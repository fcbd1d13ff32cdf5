"""`transferzoo push`: a checkpoint to the Hub."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferzoo.base.errors import UsageError
from transferzoo.cli.options import Json, ZooFile
from transferzoo.cli.output import log, show_json, show_line

if TYPE_CHECKING:
    from transferzoo.sync.push import Parcel


def push(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(metavar="[CHECKPOINT]", help="Checkpoint folder.", show_default="the newest one"),
    ] = None,
    repo: Annotated[
        str | None,
        typer.Option(metavar="[USER/]NAME", help="Repository.", show_default="your own, the folder's name"),
    ] = None,
    licence: Annotated[
        str, typer.Option(metavar="ID", help="Licence of the weights, as the Hub writes it: mit.")
    ] = "",
    private: Annotated[bool, typer.Option("--private", help="Make the repository a private one.")] = False,
    revision: Annotated[
        str | None,
        typer.Option(metavar="BRANCH", help="Branch to commit to.", show_default="the default one"),
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Name for the commit.", show_default="none")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead.")] = False,
    unmeasured: Annotated[
        bool, typer.Option("--unmeasured", help="Also without an accuracy in its recipe.json.")
    ] = False,
    runs: Annotated[
        Path, typer.Option(metavar="DIR", help="Run folders whose success rates the card shows.")
    ] = Path("runs"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the card and what would be sent.")
    ] = False,
    json: Json = False,
    zoo: ZooFile = None,
) -> None:
    """Share a checkpoint on the Hub, with a model card; the same push again changes nothing."""
    from tempfile import TemporaryDirectory

    from transferzoo import hub
    from transferzoo.sync.push import newest, parcel, send
    from transferzoo.zoo.reader import load_zoo

    folder = checkpoint or newest(Path("checkpoints"))
    name = repo or folder.resolve().name
    if "/" not in name:
        name = f"{'USER' if dry_run and not repo else hub.whoami()}/{name}"
    what = parcel(load_zoo(zoo), folder, name, licence=licence, runs=runs, unmeasured=unmeasured)
    if dry_run:
        _show_plan(what, as_json=json)
        return
    if not yes:
        _confirm(what, private=private)
    options = {"private": private, "revision": revision, "tag": tag, "create_pr": create_pr}
    with TemporaryDirectory() as place:
        sent = send(what, Path(place), **options)
    if json:
        show_json(asdict(sent))
        return
    log(f"{sent.url}: {'sent' if sent.changed else 'nothing new'}, commit {sent.commit[:12]}.")
    log(f"Attack from it with: transferzoo attack --surrogate hf-hub:{sent.repo} --targets all")


def _show_plan(what: Parcel, *, as_json: bool) -> None:
    if as_json:
        show_json({"repo": what.repo, "files": what.files, "bytes": what.size, "card": what.card})
        return
    show_line(what.card)
    log(f"Would send {', '.join(what.files)} ({what.size:,} bytes) and this card to {what.repo}.")


def _confirm(what: Parcel, *, private: bool) -> None:
    """Ask whether to go on.

    Raises:
        UsageError: nobody is there to answer, or the answer is no.
    """
    import sys

    kind = "a private" if private else "the public"
    question = (
        f"Send {len(what.files)} files ({what.size:,} bytes) and a card to {kind} repository {what.repo}?"
    )
    if not sys.stdin.isatty():
        raise UsageError("nobody can confirm the push", expected="--yes", got="no terminal")
    if not typer.confirm(question, err=True):
        raise UsageError("the push was not confirmed", hint="nothing was sent")
