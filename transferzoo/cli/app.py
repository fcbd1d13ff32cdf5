"""The root command and the error boundary: one sentence on stderr, exit code 1, 2, 130 or 143."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from transferzoo.base.distributed import follows
from transferzoo.base.errors import TransferZooError, refusal
from transferzoo.base.plugins import PluginWarning
from transferzoo.base.version import __version__
from transferzoo.cli.attack import attack
from transferzoo.cli.audit import audit
from transferzoo.cli.compare import compare
from transferzoo.cli.examples import EXIT_CODES, QUICK_START, examples
from transferzoo.cli.interrupted import SENTENCE, Interrupted, sentence
from transferzoo.cli.list import list_
from transferzoo.cli.output import log, ready_streams, show_line, silence
from transferzoo.cli.pull import pull
from transferzoo.cli.push import push
from transferzoo.cli.report import report
from transferzoo.cli.score import score
from transferzoo.cli.search import search
from transferzoo.cli.sharpness import sharpness
from transferzoo.cli.show import show
from transferzoo.cli.study import study
from transferzoo.cli.train import train

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "list": (list_, "What there is"),
    "show": (show, "What there is"),
    "attack": (attack, "Measure"),
    "report": (report, "Measure"),
    "sharpness": (sharpness, "Measure"),
    "score": (score, "Measure"),
    "audit": (audit, "Measure"),
    "study": (study, "Measure"),
    "search": (search, "Measure"),
    "compare": (compare, "Measure"),
    "train": (train, "Make and share surrogates"),
    "pull": (pull, "Make and share surrogates"),
    "push": (push, "Make and share surrogates"),
}
"""Name → command, and its panel in the help."""


def _print_version(asked: bool) -> None:
    if asked:
        show_line(f"transferzoo {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Evaluate how adversarial examples transfer between image classifiers."""
    if context.invoked_subcommand is None:
        show_line(f"TransferZoo {__version__}. " + QUICK_START.format(commands=", ".join(COMMANDS)))


def _app(*names: str) -> typer.Typer:
    """Return the command line with these commands."""
    found = typer.Typer(
        invoke_without_command=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=EXIT_CODES,
    )
    found.callback()(_root)
    for name in names:
        run, panel = COMMANDS[name]
        found.command(name, epilog=examples(name), rich_help_panel=panel)(run)
    return found


app = _app(*COMMANDS)


def main() -> None:
    """Run the command line."""
    ready_streams()
    if sys.argv[1:2] == ["train"] and follows():
        silence()
    interrupted, own = 0, os.getpid()

    def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
        nonlocal interrupted
        interrupted = 128 + number
        if os.getpid() != own:  # forked a moment ago; this process ends it, or hears the signal too
            os._exit(interrupted)
        if _is_half_imported("torch"):  # its C++ aborts on an exception from here; nothing is begun yet
            os.write(2, f"{SENTENCE}\n".encode())
            os._exit(interrupted)
        raise Interrupted

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    _note_plugins()
    try:
        named = [name for name in sys.argv[1:2] if name in COMMANDS]
        (_app(*named) if named else app)()  # Typer reads the options of every command it has
    except BaseException as error:
        if interrupted:  # whatever it has become: an import that is interrupted raises errors of its own
            log(sentence(error))
            sys.exit(interrupted)
        _end(error)


def _note_plugins() -> None:
    """Tell of a plug-in that cannot be loaded in a sentence; a shell that completes a word hears nothing."""
    others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, PluginWarning):
            others(message, category, *place, **more)
        elif "_TRANSFERZOO_COMPLETE" not in os.environ:
            log(f"Note: {message}")

    warnings.showwarning = show


def _is_half_imported(name: str) -> bool:
    return bool(getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False))


def _end(error: BaseException) -> NoReturn:
    """Exit with one sentence for what a user can act on; raise the rest again."""
    if isinstance(error, TransferZooError):
        log(f"Error: {error}")
        sys.exit(error.exit_code)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    if isinstance(error, OSError):
        place = f" {error.filename}" if error.filename else ""
        log(f"Error: the system refuses{place}: {refusal(error)}; check the path and its permissions.")
        sys.exit(1)
    raise error
