"""Names of others reach no file that is written with their control characters."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from helpers.records import record
from helpers.reports import written
from transferzoo.base.printable import printable
from transferzoo.page.html import render_page
from transferzoo.page.parts import Part
from transferzoo.results.comparisons import Findings
from transferzoo.results.tables import tables

HOSTILE = {
    "title of the window": "\x1b]0;own\x07",
    "C1": "\x9b2J",
    "carriage return": "fine\rbad",
    "direction": "abc\u202efdp.exe",
    "line separator": "a\u2028b",
}


def _found(name: str) -> Findings:
    """Return results with a surrogate and a target of that name."""
    rows = (record("a", "c", "1100"), record("a", "d", "1000"))
    return Findings(
        tuple(replace(r, surrogate=f"toys/{name}", target=f"toys/{name}{r.target}") for r in rows)
    )


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("suffix", [".json", ".csv", ".md", ".tex"])
def test_a_report_is_printable(suffix: str, kind: str) -> None:
    text = written(f"t{suffix}", _found(HOSTILE[kind]))
    assert printable(text) == text
    if suffix == ".json":
        assert json.loads(text)["records"][0]["surrogate"] == f"toys/{HOSTILE[kind]}"


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_page_is_printable(kind: str) -> None:
    name, shown = HOSTILE[kind], tuple(tables(_found(HOSTILE[kind])))
    facts, rest = {name: (name,)}, {"commands": (), "configuration": {}, "reading": name}
    part = Part("run", name, name, facts, (), (), shown, (), **rest)  # type: ignore[arg-type]
    page = render_page([part])
    assert printable(page) == page
    assert printable(name) in page


@pytest.mark.parametrize("name", ["=1+1", "+1", "@SUM(A1)", 'a"b,c'])
def test_a_name_is_in_the_csv_as_it_is(name: str) -> None:
    rows = list(csv.DictReader(io.StringIO(written("t.csv", _found(name)))))
    assert rows[0]["surrogate"] == f"toys/{name}"
