"""How the command line looks on a terminal, in a pipe, and to a reader that leaves early."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from helpers.pages import few_results
from transferzoo.cli.output import progress_bar
from transferzoo.studies.result_file import write_results
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result

    Run = Callable[..., Result]

pytestmark = pytest.mark.usefixtures("one_thread")


def _on_terminal(columns: int, *arguments: str, **variables: str) -> str:
    """Run a command on a pseudo-terminal and return what it printed."""
    ours, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "CI")}
    environment |= {"COLUMNS": str(columns), "TERM": "xterm-256color", **variables}
    command = [sys.executable, "-m", "transferzoo", *arguments]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    assert process.wait() == 0
    return b"".join(parts).decode().replace("\r\n", "\n")


def test_narrow_terminal_and_no_color() -> None:
    zoo = load_zoo()
    names = [model.name for model in zoo.models.values() if model.dataset == zoo.default_dataset]
    coloured, plain = (_on_terminal(60, "list", **no) for no in ({}, {"NO_COLOR": "1"}))
    assert "\x1b[1m" in coloured, "the title is bold on a terminal"
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", plain)
    for text in (coloured, plain):
        lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
        assert max(map(len, lines)) <= 60
        assert all(any(name in line for line in lines) for name in names)


def test_verdicts_are_coloured_on_a_terminal_without_no_color(tmp_path: Path) -> None:
    write_results(few_results(), tmp_path / "by-hand.jsonl.gz")
    command = ("report", str(tmp_path / "by-hand.jsonl.gz"), "--verdicts")
    coloured, plain = (_on_terminal(120, *command, **no) for no in ({}, {"NO_COLOR": "1"}))
    assert "\x1b[32msupported" in coloured
    assert not re.search(r"\x1b\[[0-9;]*(3|4|9|10)[0-7]m", plain)
    without = [re.sub(r"\x1b\[[0-9;]*m", "", text) for text in (coloured, plain)]
    assert without[0] == without[1]


def test_a_bar_may_not_know_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    with progress_bar() as bar:
        task = bar.add_task("training", total=None, note="")
        bar.refresh()
        bar.update(task, completed=1.0, total=3.0)
        bar.refresh()
    printed = capsys.readouterr().err
    assert "0/?" in printed and "1/3" in printed


def test_pipe() -> None:
    command = [sys.executable, "-m", "transferzoo", "list", "models"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120
    assert done.stderr == ""
    for columns, width in (("90", 90), ("0", 120)):
        environment = os.environ | {"COLUMNS": columns}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        assert 60 < max(map(len, done.stdout.splitlines())) <= width


def test_reader_that_leaves_early() -> None:
    command = f"{sys.executable} -m transferzoo list attacks --json | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[", "")
