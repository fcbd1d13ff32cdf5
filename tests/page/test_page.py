"""The page: well-formed, labelled and self-contained."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from helpers.pages import STRONG, Page, compared_results, results
from transferzoo.base.table import typeset
from transferzoo.page import study_report
from transferzoo.page.charts import Axis, CurvePanel, Curves, Heatmap, MeanInterval
from transferzoo.page.html import SCRIPT, render_page
from transferzoo.page.palette import COLOURS
from transferzoo.page.parts import slug, with_unique_names
from transferzoo.page.svg import inline_svg, render_file
from transferzoo.page.verdicts import verdict_sentence
from transferzoo.studies.claims import judge
from transferzoo.studies.entries import Claim
from transferzoo.studies.result_file import Results
from transferzoo.studies.schema import built_in, find_study

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.pages import Element
    from transferzoo.page.parts import Part

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")


@pytest.fixture(scope="module")
def part() -> Part:
    return study_report.study_part(results())


@pytest.fixture(scope="module")
def text(part: Part) -> str:
    return render_page([part])


def _captions(part: Part) -> list[str]:
    return [part.reading, *(one.caption for one in part.figures), *(one.caption for one in part.tables)]


def test_training_seeds_are_named_where_something_is_trained(part: Part) -> None:
    assert len([said for said in _captions(part) if "training seed" in said]) >= 5
    sides = [{"surrogate": "first", "attack": f"{attack} gradients"} for attack in ("mi+di, 48", "mi, 50")]
    found = compared_results()
    claim = Claim.model_validate({"say": "it is", "higher": sides[0], "lower": sides[1]})
    study = found.study.model_copy(update={"claims": (claim,)})
    existing = study_report.study_part(replace(found, study=study))
    assert {figure.name for figure in existing.figures} >= {"differences", "means", "cost"}
    assert not [said for said in _captions(existing) if "seed" in said]
    assert any("95 % intervals over images" in said for said in _captions(existing))


@pytest.fixture(scope="module")
def tree(text: str) -> Element:
    return Page.of(text).root


def test_the_page_is_whole_and_names_its_language(text: str, tree: Element) -> None:
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert tree.one("head").one("title").text == "Study by-hand · TransferZoo"
    (viewport,) = [m for m in tree.every("meta") if m.attributes.get("name") == "viewport"]
    assert viewport.attributes["content"] == "width=device-width, initial-scale=1"
    assert len(text.encode()) < 5_000_000


def test_nothing_is_loaded_and_nothing_runs_but_the_pages_own_script(text: str, tree: Element) -> None:
    script = tree.one("script")
    assert script.text == SCRIPT.read_text(encoding="utf-8")
    assert not script.attributes
    for element in tree.every():
        assert element.name not in ("iframe", "object", "embed", "base", "form")
        assert not any(name.startswith("on") for name in element.attributes)
        for name in ("src", "href", "xlink:href", "data", "srcset"):
            if name in element.attributes:
                assert element.attributes[name].startswith(("#", "data:")), element.attributes[name]
    assert not re.search(r"@import|url\((?!#)", text)
    (policy,) = [m for m in tree.every("meta") if m.attributes.get("http-equiv")]
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    rules = policy.attributes["content"].split("; ")
    assert rules == [
        "default-src 'none'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
    ]


def test_ids_are_unique_and_every_reference_has_one(text: str, tree: Element) -> None:
    ids = [e.attributes["id"] for e in tree.every() if "id" in e.attributes]
    assert len(set(ids)) == len(ids)
    links = {e.attributes["href"][1:] for e in tree.every("a", "use")}
    labels = {word for e in tree.every() for word in e.attributes.get("aria-labelledby", "").split()}
    clips = set(re.findall(r"url\(#([^)]+)\)", text))
    assert clips
    assert links | labels | clips <= set(ids)


@pytest.mark.parametrize("count", [1, 2])
def test_headings_are_in_order(part: Part, count: int) -> None:
    small = replace(part, figures=part.figures[:1])
    levels = [
        int(e.name[1]) for e in Page.of(render_page(with_unique_names([small] * count))).root.every(*HEADINGS)
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert max(levels) == 2 + count


@pytest.mark.parametrize("count", [1, 2])
def test_landmarks_have_names_of_their_own(part: Part, count: int) -> None:
    """Sections and articles with a name are landmarks, which a screen reader lists."""
    parts = [replace(part, figures=(), title=f"Study {number}") for number in range(count)]
    tree = Page.of(render_page(with_unique_names(parts))).root
    texts = {e.attributes["id"]: e.text for e in tree.every() if "id" in e.attributes}
    labels = [e.attributes.get("aria-labelledby", "") for e in tree.every("section", "article")]
    names = [" ".join(texts[word] for word in label.split()) for label in labels if label]
    assert len(names) == len(set(names)) == (3 if count == 1 else 8)
    assert not [e for e in tree.every() if e.attributes.get("role") == "region"]


def test_every_figure_is_drawn_twice_labelled_and_has_its_numbers(part: Part, tree: Element) -> None:
    blocks = [e for e in tree.every("div") if e.attributes.get("class") == "figure"]
    assert [block.one("h3").text for block in blocks] == [figure.title for figure in part.figures]
    for block in blocks:
        wide, narrow = block.every("svg")
        for svg in (wide, narrow):
            assert svg.attributes["role"] == "img"
            label, description_id = svg.attributes["aria-labelledby"].split()
            title, description = svg.every("title", "desc")
            assert (title.attributes["id"], description.attributes["id"]) == (label, description_id)
            assert title.text
            assert description.text
            assert len(list(svg.every("path", "use"))) > 3
        assert block.one("figcaption").text
        assert list(block.one("details").one("tbody").every("tr"))


def test_every_table_has_a_caption_and_heads(tree: Element) -> None:
    tables = list(tree.every("table"))
    assert len(tables) == 9
    for table in tables:
        assert table.one("caption").text
        for head in table.one("thead").every("th"):
            assert head.attributes["scope"] == "col"
            assert head.text
        for row in table.one("tbody").every("tr"):
            (head,) = row.every("th")
            assert head.attributes["scope"] == "row"
            assert len(list(row.every("th", "td"))) == len(list(table.one("thead").every("th", "td")))


def test_drawings_follow_the_theme(tree: Element, text: str) -> None:
    for svg in tree.every("svg"):
        painted = " ".join(e.attributes.get("style", "") for e in svg.every())
        assert "var(--" in painted
        assert not re.search(r"#[0-9a-f]{6}", painted)
        assert "font-family" not in painted
    for name in COLOURS:
        assert text.count(f"--{name}:") == 2, name


def test_verdicts_have_marks_and_numbers(tree: Element) -> None:
    (table,) = [e for e in tree.every("table") if "claims" in (e.attributes.get("class") or "").split()]
    rows = [[cell.text for cell in row.every("td", "th")] for row in table.one("tbody").every("tr")]
    marks = ["✓ supported", "✗ not supported", "? cannot tell", "✓ supported", "– not measured"]
    assert [mark for mark, _ in rows] == marks
    assert "2 supported, 1 not supported, 1 cannot tell, 1 not measured" in table.one("caption").text
    first, second, *_, last = (claim for _, claim in rows)
    mean = {name: (3 * (STRONG[name] + 0.5) - 2) / 60 for name in STRONG}
    assert f"l-sam {100 * mean['l-sam']:.1f}\u00a0%" in first
    assert first.endswith("from 20 images and 2 training seeds.")
    assert "Difference beyond the 90 points claimed −" in second
    assert last == "Nobody knowsNot all of it was measured."
    assert "points" not in rows[3][1]
    assert "Largest eigenvalue of the Hessian: sgd 525, l-sam 21" in rows[3][1]


def test_targets_and_ratios_are_in_the_sentence() -> None:
    first, *_ = judge(results())
    assert " Higher on 2 of 3 targets, lower on 1 (Holm, 5 %)." in verdict_sentence(
        replace(first, better=(2, 1))
    )
    sides = {"higher": {"surrogate": "sgd"}, "lower": {"surrogate": "l-sam"}}
    ratio: dict[str, Any] = {
        **{side: {**operand, "measure": "accuracy"} for side, operand in sides.items()},
        "say": "SGD is more accurate",
        "scale": "log",
        "by": 0.01,
    }
    (verdict,) = judge(results(claims=[ratio]))
    assert "Ratio beyond the ×1.01 claimed ×1.06, 95 % interval ×" in verdict_sentence(verdict)


def test_no_difference_has_a_mark_and_its_size() -> None:
    equal = [{"say": "Nothing", "higher": {"surrogate": "sgd"}, "lower": {"surrogate": "sgd"}, "bound": 0.5}]
    page = Page.of(render_page([study_report.study_part(results(claims=equal))]))
    cells = [cell.text for cell in page.root.every("td") if "no difference" in cell.text]
    assert cells == ["≈ no difference of 50 points", "no difference of 50 points"], "in the list, the table"


def test_the_facts_are_listed(tree: Element) -> None:
    facts = dict(zip([e.text for e in tree.every("dt")], [e.text for e in tree.every("dd")], strict=True))
    assert facts == {
        "Data set": "fashion-mnist",
        "Attacked images": "20",
        "Training seeds": "0, 1",
        "Surrogates": "sgd, sam, l-sam",
        "Targets": "sgd, wide-resnet, vision-transformer",
        "Attacks": "bim (steps 10)",
        "Made with": "transferzoo 1, torch 2",
    }
    assert "transferzoo study by-hand.yaml --data PATH" in [e.text for e in tree.every("pre")]


def test_a_study_is_repeated_by_name_only_if_it_is_the_packages_own(tmp_path: Path) -> None:
    """A file of one's own may have the name of a study of the package."""
    original = find_study("minimizers")
    content = yaml.safe_load(built_in()["minimizers"].read_text(encoding="utf-8"))
    (tmp_path / "minimizers.yaml").write_text(yaml.safe_dump({**content, "seeds": [7]}), encoding="utf-8")
    own = find_study(str(tmp_path / "minimizers.yaml"))
    commands = [study_report.study_part(Results(study, (), (), {})).commands for study in (original, own)]
    assert commands == [
        ("transferzoo study minimizers --data PATH",),
        ("transferzoo study minimizers.yaml --data PATH",),
    ]


def test_equal_charts_are_equal_bytes(part: Part) -> None:
    for figure in part.figures:
        first, second = (render_file(figure.chart, "svg") for _ in range(2))
        assert first == second
        assert b"<dc:date>" not in first
    assert render_file(part.figures[0].chart, "png") == render_file(part.figures[0].chart, "png")


def test_own_settings_of_matplotlib_stay_out(part: Part) -> None:
    import matplotlib

    before = render_file(part.figures[0].chart, "svg")
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "grid.alpha": 0.1}):
        assert render_file(part.figures[0].chart, "svg") == before
        assert matplotlib.rcParams["font.size"] == 30


def test_broad_figures_are_scrolled_rather_than_shrunk(part: Part) -> None:
    (matrix,) = [figure.chart for figure in part.figures if figure.name == "success"]
    many = Heatmap(("sgd",), tuple(f"target-{n}" for n in range(40)), ((0.5,) * 40,))
    for wide in (True, False):
        assert not inline_svg(matrix, "n", "t", "d", wide=wide).broad
        made = inline_svg(many, "n", "t", "d", wide=wide)
        assert made.broad
        assert "min-width:" in made.svg


def test_parts_of_one_name_are_told_apart(part: Part) -> None:
    second = replace(part, name="by-hand-2")
    named = [each.name for each in with_unique_names([second, part, part, part])]
    assert named == ["by-hand-2", "by-hand", "by-hand-3", "by-hand-4"]
    assert [slug(text) for text in ("A b/../c", "é", "mi+di:p=0.7")] == ["a-b-c", "part", "mi-di-p-0-7"]


def test_numbers_have_a_minus_and_percent_signs_stay_with_them() -> None:
    assert typeset("-4.1 to sam-0.1 at 95 %, eps-3") == "−4.1 to sam-0.1 at 95\u00a0%, eps-3"


def test_a_study_without_claims_has_no_verdicts() -> None:
    assert judge(results(claims=[])) == ()


def test_ticks_that_run_into_each_other_are_left_out() -> None:
    line = {"sam": {0.1: MeanInterval(0.2, 0.2, 0.2), 0.4: MeanInterval(0.3, 0.3, 0.3)}}
    axis = Axis("ρ", log=True, ticks=(0.1, 0.2, 0.395, 0.4))
    chart = Curves(axis, (CurvePanel(Axis("Success rate", percent=True), line),))
    texts = re.findall(r"<text[^>]*>([^<]+)</text>", inline_svg(chart, "n", "t", "d", wide=False).svg)
    assert [text for text in texts if text.startswith("0.")] == ["0.1", "0.2", "0.395"]
