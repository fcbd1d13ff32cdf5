"""The one place that speaks: data on stdout, talk and progress on stderr."""

from __future__ import annotations

import codecs
import io
import json
import os
import shlex
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.text import Text

from transferzoo.base.distributed import follows
from transferzoo.base.printable import escaped, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import ConsoleOptions, RenderableType
    from rich.progress import Progress

    OnProgress = Callable[[str, int, int], None]
    from rich.segment import Segment

PIPE_WIDTH = 120
"""Columns of a table that is not printed on a terminal."""
TOLD_EVERY = 30.0
"""Seconds from one line of progress to the next where no bar can be shown."""


PLAIN = {
    **dict.fromkeys("–—−", "-"),
    **dict.fromkeys("“”", '"'),
    **dict.fromkeys("‘’′", "'"),
    "▲": "^",
    "▼": "v",
    "†": "#",
    "·": "*",
    "×": "x",
    "≥": ">",
    "≤": "<",
    "→": ">",
    "…": "~",
    "∞": "o",
}
"""Signs in tables and sentences → what stands for them where the encoding of stdout has none."""


def ready_streams() -> None:
    """Let the standard streams take whatever is written to them.

    A stream that was closed, as daemons do, leads nowhere. What an encoding other than UTF-8 lacks is written
    as `PLAIN` says, a sign for a sign, so that columns stay in line.
    """
    codecs.register_error("plain", _plain)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("r+", encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, nowhere)
            setattr(sys, f"__{name}__", nowhere)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not _is_unicode(stream):
            stream.reconfigure(errors="plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(sign, "?") for sign in lacking), error.end


def _is_unicode(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().startswith("utf")


class _Console(Console):
    """A console on which text is no command: what comes from files of others is shown, not obeyed."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what is shown; styles and movements of the cursor are not in the text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def log(message: str) -> None:
    """Tell the user something on stderr, unwrapped and without markup."""
    _Console(stderr=True).print(Text(message), soft_wrap=True)


def as_written() -> str:
    """Return the command that the user wrote, for a shell in the same folder."""
    return shlex.join(["transferzoo", *sys.argv[1:]])


def silence() -> None:
    """Send what this process says from now on nowhere: another one says it."""
    sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115


@contextmanager
def report_once(fails_first: Callable[[], bool]) -> Iterator[None]:
    """Let only one of several processes speak of what ends the block.

    Args:
        fails_first: whether this is the one.
    """
    try:
        yield
    except BaseException:
        if not fails_first():
            silence()
        elif getattr(sys.stderr, "name", None) == os.devnull:
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        raise


def show(*tables: RenderableType) -> None:
    """Print tables on stdout, see `_width`."""
    console = _Console(width=_width(sys.stdout))
    for table in tables:
        console.print(table)


def log_table(table: RenderableType) -> None:
    """Print a table on stderr, see `_width`."""
    _Console(stderr=True, width=_width(sys.stderr)).print(table)


def show_line(text: str, label: str = "") -> None:
    """Print text on stdout as it is, unwrapped and without markup, behind a bold label if there is one."""
    _Console().print(Text.assemble((label, "bold"), text), soft_wrap=True)


def terminal_width() -> int:
    """Return the columns a table may take."""
    return _Console(width=_width(sys.stdout)).width


def _width(stream: TextIO) -> int | None:
    """Return what COLUMNS says, else 120 columns for a pipe; None where rich finds them: of a terminal."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal():
        return int(columns) or PIPE_WIDTH
    return None if stream.isatty() else PIPE_WIDTH


def show_json(content: object) -> None:
    """Print JSON on stdout."""
    ascii_only = not _is_unicode(sys.stdout)
    sys.stdout.write(escaped(json.dumps(content, indent=2, ensure_ascii=ascii_only)) + "\n")


def progress_bar() -> Progress:
    """Return a progress bar on stderr; silent where stderr is not a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = _Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


@contextmanager
def progress(what: str) -> Iterator[OnProgress]:
    """Show a bar; give what is called with what is being done, how much is done and how much there is.

    Where stderr is no terminal, a log of CI for example, a line says it every `TOLD_EVERY` seconds.

    Args:
        what: is done first.
    """
    with progress_bar() as bar:
        task, told = bar.add_task(what, total=1, note=""), time.monotonic()

        def advance(what: str, done: int, total: int) -> None:
            nonlocal told
            bar.update(task, description=what, completed=done, total=total)
            if bar.disable and time.monotonic() - told > TOLD_EVERY and not follows():
                told = time.monotonic()
                log(f"{what}: {done:,} of {total:,}")

        yield advance
