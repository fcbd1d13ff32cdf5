"""What the READMEs say of the package's studies is what their committed records say, and links have ends."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from helpers.fixtures import set_bf16
from make_readme import BLOCK, FIGURE, PICTURES, README, READMES
from transferzoo.studies.claims import format_difference, judge
from transferzoo.studies.result_file import RESULTS, SUFFIX, read_results
from transferzoo.studies.schema import built_in, find_study

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Result

TEXT = README.read_text(encoding="utf-8")
EVERY = "".join(file.read_text(encoding="utf-8") for file in READMES)
QUICK = [block for block in BLOCK.finditer(EVERY) if re.search("zoo (list|report)", block["command"])]
TOLD = [block for block in QUICK if " report " in block["command"]]
FIRST = "transferzoo attack --surrogate resnet50-sam --targets all"
SURROGATES = "transferzoo attack --surrogate resnet50-* --targets all"
PAGES = (
    *READMES,
    *(README.parent / "transferzoo").glob("*.md"),
    README.parent / ".github" / "CONTRIBUTING.md",
)
NAMES = sorted(path.name.removesuffix(SUFFIX) for path in RESULTS.glob(f"*{SUFFIX}"))


def rates(table: str) -> dict[str, float]:
    """Return the success rates of a printed table of one surrogate, by target."""
    cells = [line.split() for line in table.splitlines()]
    found = {row[0]: float(row[2]) for row in cells if len(row) == 6 and row[-1] == "500"}
    return found | {row[0]: float(row[1]) for row in cells if row[:1] == ["mean"]}


@pytest.mark.usefixtures("one_thread")
def test_the_first_command_prints_what_the_readme_says(
    cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for how a processor rounds in float32, an image or two of 500.

    The images depend on the targets alone, so that this is a row of the table of the zoo's surrogates too.
    """
    set_bf16(monkeypatch, False)
    (block,) = (found[0] for found in BLOCK.finditer(TEXT) if found["command"] == FIRST)
    told = rates(block)
    done = cli(*shlex.split(FIRST)[1:])
    assert done.code == 0, done.err
    found = rates(done.out)
    assert len(told) == 10 and found.keys() == told.keys()
    assert found["mean"] == pytest.approx(told["mean"], abs=0.5)
    assert found == pytest.approx(told, abs=1)
    assert len(means()) == 14
    assert told["mean"] == means()["resnet50-sam"]


@pytest.mark.usefixtures("one_thread")
def test_bfloat16_changes_nothing_in_the_first_command(
    cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer images, but every one ends the same on a processor that multiplies in it."""
    outcomes = []
    for able in (True, False):
        set_bf16(monkeypatch, able)
        done = cli(*shlex.split(FIRST)[1:], "--images", 20, "--runs", f"runs {able}", "--json")
        assert done.code == 0, done.err
        outcomes.append([(one["target"], one["outcomes"]) for one in json.loads(done.out)["records"]])
    assert outcomes[0] == outcomes[1]
    assert "in bf16" not in " ".join(cli("report", *Path("runs True").iterdir()).out.split())


def surrogates() -> str:
    """Return the table of the zoo's surrogates."""
    (block,) = (found[0] for found in BLOCK.finditer(EVERY) if found["command"] == SURROGATES)
    return block


def means() -> dict[str, float]:
    """Return the first column of that table, by surrogate."""
    rows = re.findall(r"^ (resnet50-\S+) +([\d.]+)  ", surrogates().partition("vit\n")[0], re.M)
    return {name: float(mean) for name, mean in rows}


def test_the_figure_is_of_the_table() -> None:
    (figure,) = FIGURE.finditer(TEXT)
    assert figure["command"] == SURROGATES
    drawn = ElementTree.parse(PICTURES / f"{figure['name']}.svg").getroot()
    texts = [(e.text or "", float(e.attrib["x"])) for e in drawn.iterfind(".//{*}text")]
    ticks = {float(text): x for text, x in texts if re.fullmatch(r"\+?\d+", text)}
    unit = (ticks[20] - ticks[0]) / 20
    names = [text for text, _ in texts if text.startswith("resnet50-")]
    lines = [group for group in drawn.iterfind(".//{*}g") if group.get("id", "").startswith("line2d_")]
    marks = [float(mark.attrib["x"]) for line in lines for mark in line.iterfind(".//{*}use")]
    told = re.findall(r"^ (resnet50-\S+) +([+-][\d.]+) +\[", surrogates(), re.M)
    assert names == [name for name, _ in told]
    found = [(x - ticks[0]) / unit for x in marks]
    assert found == pytest.approx([float(value) for _, value in told], abs=0.06)


@pytest.mark.parametrize("block", QUICK, ids=[block["command"] for block in QUICK])
def test_what_a_readme_prints_is_what_the_command_prints(
    block: re.Match[str], cli: Callable[..., Result]
) -> None:
    program, *arguments = shlex.split(block["command"])
    done = cli(*arguments)
    assert (program, done.code, done.err) == ("transferzoo", 0, "")
    lines = [line.rstrip() for line in done.out.strip("\n").splitlines()]
    assert block[0].splitlines()[2:-2] == lines


def test_every_study_with_records_is_told() -> None:
    """The design of a study is committed before its first record."""
    assert sorted(shlex.split(block["command"])[2] for block in TOLD) == NAMES
    assert set(NAMES) <= set(built_in())


def test_the_table_of_claims_is_of_the_records() -> None:
    text = (README.parent / "transferzoo" / "studies" / "README.md").read_text(encoding="utf-8")
    row = r"^\| .*\| `([\w-]+)` \| (.+) \| (.+) \| (.+) \| (?:yes|no|–) \|$"
    lines = re.findall(row, text, re.MULTILINE)
    known = {name: judge(read_results(RESULTS / f"{name}{SUFFIX}")) for name in {line[0] for line in lines}}
    for study, claim, came, verdict in lines:
        (found,) = (one for one in known[study] if one.claim.say == claim)
        assert found.difference is not None
        ends = (found.difference.mean, found.difference.low, found.difference.high)
        mean, low, high = (format_difference(value, found.claim).replace("-", "−") for value in ends)
        assert (came, verdict) == (f"{mean} ({low} to {high})", found.words)
    assert len(lines) == text.count("\n| ") - text.count("\n| ---") - 1


@pytest.mark.parametrize("name", NAMES)
def test_records_are_of_the_study_as_it_stands(name: str) -> None:
    found = read_results(RESULTS / f"{name}{SUFFIX}")
    assert found.study == find_study(name)
    assert {one.surrogate for one in found.outcomes} <= found.study.surrogates.keys()
    assert {one.seed for one in found.outcomes} <= set(found.study.seeds)


@pytest.mark.parametrize("file", PAGES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_links_lead_to_files(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    assert not [link for link in links if not (file.parent / link).exists()]
    assert text.startswith("# ")


def test_a_newcomer_reads_little() -> None:
    assert TEXT.count("\n") <= 260
    assert len(TEXT.encode()) <= 18 * 1024
