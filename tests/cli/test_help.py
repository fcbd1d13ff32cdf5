"""What the help teaches is so: few options first, examples that work, and what to do without a command."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

import pytest
from typer.main import get_command

from transferzoo.cli.app import COMMANDS, app
from transferzoo.cli.examples import EXAMPLES, QUICK_START
from transferzoo.cli.options import IMAGES, MODELS, RESULTS, SPEED
from transferzoo.minimizers import show_rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Result

ROOT = get_command(app)
EVERY = [example for examples in EXAMPLES.values() for _, example in examples]
QUICK = [
    line.split("   ")[0].strip() for line in QUICK_START.splitlines() if line.startswith("  transferzoo")
]
HARMLESS = {
    "list": [],
    "show": [],
    "attack": ["--dry-run"],
    "train": ["--dry-run"],
    "study": ["--dry-run"],
    "report": [],
}
"""Command → what makes its examples answer at once; those of other commands compute or ask the Hub."""


def options(command: str) -> dict[str, str | None]:
    """Return the options of a command, apart from --help, and their panels."""
    parameters = ROOT.commands[command].params  # type: ignore[attr-defined]
    found = [p for p in parameters if p.param_type_name == "option"]
    return {p.name: p.rich_help_panel for p in found}


@pytest.mark.parametrize("command", COMMANDS)
def test_five_options_at_most_come_first(command: str, cli: Callable[..., Result]) -> None:
    panels = options(command)
    assert sum(panel is None for panel in panels.values()) <= 5
    assert panels.get("zoo", MODELS) == MODELS and panels["json"] == RESULTS
    printed = cli(command, "--help").out
    for panel in {panel for panel in panels.values() if panel}:
        assert f"─ {panel} ─" in printed


@pytest.mark.parametrize(("command", "first"), [("attack", "surrogate"), ("train", "recipe")])
def test_what_a_command_alone_has_comes_before_what_several_have(command: str, first: str) -> None:
    at_top = [option for option, panel in options(command).items() if panel is None]
    assert at_top[0] == first


def test_the_same_purpose_has_the_same_panel() -> None:
    panels: dict[str, set[str]] = {}
    for command in COMMANDS:
        for option, panel in options(command).items():
            panels.setdefault(option, set()).add(panel or "")
    shared = {"output": RESULTS, "visibility": RESULTS, "precision": SPEED, "compile": SPEED, "data": IMAGES}
    assert {option: panels[option] for option in shared} == {name: {panel} for name, panel in shared.items()}


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_end_the_help(
    command: str, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    printed = cli(command, "--help").out
    assert 2 <= len(EXAMPLES[command]) <= 3
    behind = printed[printed.rindex("╯") :]
    lines = [line.strip() for line in behind.splitlines()]
    for comment, example in EXAMPLES[command]:
        assert lines[lines.index(f"{comment}:") + 1] == example


@pytest.mark.parametrize("example", [*EVERY, *QUICK])
def test_examples_are_understood(example: str) -> None:
    program, command, *arguments = shlex.split(example)
    assert program == "transferzoo"
    ROOT.commands[command].make_context(command, arguments)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "example",
    [
        one
        for one in [*EVERY, *QUICK]
        if one.split()[1] in HARMLESS and not re.search(r"NAME|runs/\*|my-", one)
    ],
)
def test_examples_work(example: str, cli: Callable[..., Result]) -> None:
    _, command, *arguments = shlex.split(example)
    done = cli(command, *arguments, *(one for one in HARMLESS[command] if one not in arguments))
    assert done.code == 0, done.err
    assert done.out


def test_without_a_command_there_is_a_quick_start(cli: Callable[..., Result]) -> None:
    done = cli()
    assert (done.code, done.err) == (0, "")
    assert len(QUICK) >= 4 and all(command in done.out for command in QUICK)
    assert all(re.search(rf"\b{command}\b", done.out) for command in COMMANDS)


@pytest.mark.usefixtures("untimed")
def test_the_quick_start_trains_by_a_minimizer_alone(cli: Callable[..., Result]) -> None:
    (example,) = [one for one in QUICK if one.split()[1] == "train"]
    assert example == "transferzoo train --minimizer gsam"
    planned = json.loads(cli(*example.split()[1:], "--dry-run", "--json").out)["config"]
    assert (planned["dataset"], planned["minimizer"]) == ("fashion-mnist", show_rule("gsam"))


def test_exit_codes_are_told(cli: Callable[..., Result]) -> None:
    told = " ".join(cli("--help").out.split())
    assert "0 done" in told
    for code, meaning, command in [
        (2, "2 the request is wrong", ["attack", "-s", "nothing-of-that-name"]),
        (2, "2 the request is wrong", ["attack", "--no-such-option"]),
        (1, "1 failed", ["report", "."]),
    ]:
        assert meaning in told
        assert cli(*command).code == code
