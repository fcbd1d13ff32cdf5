"""Attacks of equal cost: a number of gradients sets the steps and their length."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from helpers.refusals import ATTACK, nothing_written, refused

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")


def budget(cli: Run, few: Path, *flags: object) -> list[tuple[str, str, int]]:
    plain = ATTACK[: ATTACK.index("--steps")]
    found = cli(*plain, "--data", few, *flags, "--dry-run", "--json")
    assert found.code == 0, found.err
    content = json.loads(found.out)
    costs = [entry["gradients"] for entry in content["gradient_evaluations"]["per_image"]]
    return [(s["techniques"], s["step"], c) for s, c in zip(content["config"]["attacks"], costs, strict=True)]


def test_a_number_of_gradients_sets_the_steps(cli: Run, few: Path) -> None:
    asked = ("-a", "bim", "-a", "mi", "--max-gradients", 7)
    assert budget(cli, few, *asked) == [("", "eps/7", 7), ("mi:decay=1,normalise=mean", "eps/7", 7)]
    assert budget(cli, few, "--max-gradients", 30) == [("", "eps/10", 30)]
    assert budget(cli, few, "--max-gradients", 3, "--step", "eps/5") == [("", "eps/5", 3)]
    assert budget(cli, few, "-a", "fgsm", "--max-gradients", 7) == [("", "eps", 1)]
    together = ("-s", "resnet50-sam", "-a", "mi", "-a", "mi+long", "--ensemble", "--max-gradients", 8)
    assert [cost for _, _, cost in budget(cli, few, *together)] == [8, 8]


def test_few_steps_are_long_enough_to_reach_the_border(cli: Run, few: Path, tmp_path: Path) -> None:
    assert budget(cli, few, "-a", "paper", "--steps", 4) == [("", "eps/4", 4)]
    assert budget(cli, few, "--steps", 12) == [("", "eps/10", 12)]
    assert budget(cli, few, "--steps", 4, "--step", "eps/10") == [("", "eps/10", 4)]
    (tmp_path / "own.yaml").write_text("""
attacks:
  short: {spec: "", step: eps/10, steps: 3, about: its own size of a step}
  quick: {spec: "", steps: 3, about: only their number}
""")
    own = ("--zoo", tmp_path / "own.yaml", "-a", "short", "-a", "quick")
    assert budget(cli, few, *own) == [("", "eps/10", 3), ("", "eps/3", 3)]


def test_too_few_gradients_are_a_sentence(cli: Run, few: Path, tmp_path: Path) -> None:
    plain = ATTACK[: ATTACK.index("--steps")]
    together = (*plain, "-s", "resnet50-sam", "--ensemble", "--data", few)
    refused(
        cli(*together, "--max-gradients", 1),
        2,
        "one step of 'bim' on 2 models together costs more",
        "at least 2",
        "got 1",
    )
    refused(cli(*ATTACK, "--data", few, "--max-gradients", 9), 2, "--steps and --max-gradients")
    nothing_written(tmp_path)
