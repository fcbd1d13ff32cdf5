"""What the README says of the package's studies is what their committed records say."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest
from make_readme import BLOCK, README

from transferzoo.page.opened import RESULTS
from transferzoo.studies.results import SUFFIX, read_results
from transferzoo.studies.spec import built_in, find_study

if TYPE_CHECKING:
    import re
    from collections.abc import Callable

    from conftest import Result

TOLD = [
    block for block in BLOCK.finditer(README.read_text(encoding="utf-8")) if " report " in block["command"]
]
NAMES = sorted(path.name.removesuffix(SUFFIX) for path in RESULTS.glob(f"*{SUFFIX}"))


@pytest.mark.parametrize("block", TOLD, ids=[block["command"] for block in TOLD])
def test_what_was_found_is_what_the_command_prints(block: re.Match[str], cli: Callable[..., Result]) -> None:
    program, *arguments = shlex.split(block["command"])
    done = cli(*arguments)
    assert (program, done.code, done.err) == ("transferzoo", 0, "")
    lines = [line.rstrip() for line in done.out.strip("\n").splitlines()]
    assert block[0].splitlines()[2:-2] == lines


def test_every_study_of_the_package_has_records_and_is_told() -> None:
    assert sorted(shlex.split(block["command"])[2] for block in TOLD) == NAMES == sorted(built_in())


@pytest.mark.parametrize("name", NAMES)
def test_records_are_of_the_study_as_it_stands(name: str) -> None:
    found = read_results(RESULTS / f"{name}{SUFFIX}")
    assert found.study == find_study(name)
    assert {one.surrogate for one in found.outcomes} == found.study.surrogates.keys()
    assert {one.seed for one in found.outcomes} == set(found.study.seeds)
