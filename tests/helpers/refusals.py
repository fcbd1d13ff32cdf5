"""How a command refuses: shared by the tests of bad input."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result

    Run = Callable[..., Result]

ATTACK = ("attack", "--surrogate", "resnet50-sgd", "--targets", "vgg", "--steps", 2, "--images", 4)


def refused(result: Result, code: int, *words: str) -> None:
    """Check that a command failed as it should: its exit code and one sentence that holds `words`.

    Before it may stand what the command took images and classes for.
    """
    assert result.code == code, result
    assert result.out == ""
    (line,) = (one for one in result.err.splitlines() if not one.startswith(("Data: ", "Classes: ")))
    assert re.fullmatch(r"Error: .+[.?]", line), line
    assert "Traceback" not in line
    assert not line.endswith(("..", "?."))
    for word in words:
        assert word in line


def once_begun(result: Result) -> Result:
    """Return what a training that has begun left, without the line that says what is trained."""
    first, newline, rest = result.err.partition("\n")
    return replace(result, err=rest) if newline and first.startswith("Training ") else result


def once_run(result: Result) -> Result:
    """Return what a command left that ran code which it was allowed to run, without the line that says so."""
    first, newline, rest = result.err.partition("\n")
    assert newline
    assert first.startswith("Running code that --allow-code allows: ")
    return replace(result, err=rest)


def nothing_written(folder: Path) -> None:
    assert [path.name for path in folder.iterdir() if path.name in ("runs", "checkpoints")] == []
