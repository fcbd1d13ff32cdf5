"""The page in headless Chromium: quiet, drawn, and usable on a phone and on a desk, by day and by night.

Without Chromium these tests are skipped; `TRANSFERZOO_CHROMIUM` names one that is not on the path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from helpers.browser import SIZES, Browser, check_quiet
from helpers.pages import compared_results, few_results, results
from transferzoo.page import study_report
from transferzoo.page.html import render_page
from transferzoo.page.parts import with_unique_names
from transferzoo.studies.result_file import RESULTS, SUFFIX, read_results

if TYPE_CHECKING:
    from pathlib import Path


BOXES = """
[...document.querySelectorAll('svg')].filter(svg => svg.checkVisibility()).map(svg => {
  const box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width;
  const all = [...svg.querySelectorAll('text')];
  const texts = all.map(text => {
    const place = text.getBoundingClientRect();
    const turned = /rotate\\(-?[1-9]/.test(text.getAttribute('transform'));
    return [text.textContent, place.left, place.top, place.right, place.bottom, turned];
  });
  const sizes = all.map(text => scale * parseFloat(getComputedStyle(text).fontSize));
  return {name: svg.getAttribute('aria-labelledby'), left: box.left, right: box.right, width: box.width,
          height: box.height, smallest: Math.min(...sizes), texts: texts};
})
"""
FOLDED = """
[...document.querySelectorAll('details')].map(details => {
  const [summary, content] = details.children;
  const shown = [summary, content].map(each => each.checkVisibility({contentVisibilityAuto: true}));
  const hidden = content.scrollHeight - content.clientHeight;
  const cut = getComputedStyle(content).overflowY === 'visible' ? 0 : hidden;
  return {heading: summary.textContent, open: details.open, shown: shown, hidden: cut,
          height: content.getBoundingClientRect().height};
})
"""
FIGURES = ("differences", "success", "means", "epochs", "rho", "sharpness")
LARGEST = 5_000_000
"""Bytes of a page."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "page.html"
    part = study_report.study_part(results())
    path.write_text(render_page([part]), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}-{'dark' if size[1] else 'light'}")
def shown(request: pytest.FixtureRequest, browser: Browser, address: str) -> tuple[Browser, int, bool]:
    width, dark = request.param
    browser.open(address, width, dark=dark)
    return browser, width, dark


def test_the_page_is_quiet_and_drawn(shown: tuple[Browser, int, bool], address: str, tmp_path: Path) -> None:
    browser, width, dark = shown
    check_quiet(browser, address, width)
    paper = browser.tell("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(18, 22, 27)" if dark else "rgb(255, 255, 255)")
    drawn = browser.tell(BOXES)
    kind = "narrow" if width == 360 else "wide"
    names = [each["name"].removeprefix("by-hand--").partition("-title")[0] for each in drawn]
    assert names == [f"{name}-{kind}" for name in FIGURES]
    for each in drawn:
        assert each["width"] > 100
        assert each["height"] > 50
        assert 0 <= each["left"] < each["right"] <= width
        assert each["smallest"] >= 8.5, f"{each['name']} cannot be read"
    _check_labels(browser)
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 20_000


@pytest.mark.parametrize("file", sorted(RESULTS.glob(f"*{SUFFIX}")), ids=lambda file: file.name)
def test_the_packages_own_studies_are_pages(file: Path, browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(render_page([study_report.study_part(read_results(file))]), encoding="utf-8")
    assert path.stat().st_size < LARGEST
    browser.open(path.as_uri(), 360)
    for width in (360, 1440):
        browser.resize(width)
        check_quiet(browser, path.as_uri(), width)
        _check_labels(browser)


def _check_labels(browser: Browser) -> None:
    for each in browser.tell(BOXES):
        level = [text for text in each["texts"] if text[0].strip() and not text[5]]
        for number, first in enumerate(level):
            for second in level[number + 1 :]:
                assert not _overlap(first, second), f"{each['name']}: {first[0]} and {second[0]}"


def _overlap(first: list[Any], second: list[Any]) -> bool:
    """Return whether two boxes share more than the empty rim of their lines."""
    _, left, top, right, bottom, _ = first
    _, other_left, other_top, other_right, other_bottom, _ = second
    across = min(right, other_right) - max(left, other_left)
    down = min(bottom, other_bottom) - max(top, other_top)
    return bool(across > 1 and down > 4)


def test_it_can_be_used_by_keys(browser: Browser, address: str) -> None:
    browser.open(address, 1440)
    assert browser.tell("document.querySelector('.skip').getBoundingClientRect().right") <= 0
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert browser.tell("document.activeElement.textContent") == "Skip to the content"
    assert browser.tell("document.activeElement.getBoundingClientRect().left") >= 0
    outline = browser.tell("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    is_open = browser.tell(
        "(document.querySelector('details summary').click(), document.querySelector('details').open)"
    )
    assert is_open is True


def test_a_screen_reader_gets_the_figures(browser: Browser, address: str) -> None:
    browser.open(address, 360)
    browser.call("Accessibility.enable")
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    images = [node for node in nodes if node.get("role", {}).get("value") == "image"]
    assert len(images) == 6
    for node in images:
        assert node["name"]["value"]
    tables = [node["name"]["value"] for node in nodes if node.get("role", {}).get("value") == "table"]
    claims = [name for name in tables if name.startswith("What the records say of 5 claims")]
    assert len(claims) == 1, "the claims stay a table where they are laid out as blocks"


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("compared") / "page.html"
    path.write_text(render_page([study_report.study_part(compared_results())]), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize(("width", "dark"), SIZES)
def test_success_by_cost_is_drawn_and_beside_it_a_table(
    width: int, dark: bool, browser: Browser, compared: str
) -> None:
    browser.open(compared, width, dark=dark)
    check_quiet(browser, compared, width)
    _check_labels(browser)
    (drawn,) = [each for each in browser.tell(BOXES) if "--cost-" in each["name"]]
    assert 0 <= drawn["left"] < drawn["right"] <= width
    assert drawn["smallest"] >= 8.5
    browser.call("Emulation.setEmulatedMedia", media="print")
    shown = [each["height"] for each in browser.tell(FOLDED) if each["heading"] == "The numbers"]
    browser.call("Emulation.setEmulatedMedia", media="")
    assert min(shown) > 40


def test_what_is_folded_is_on_paper(browser: Browser, address: str) -> None:
    """With its summary as a heading, and neither cut nor scrolled."""
    browser.open(address, 720)
    browser.call("Emulation.setEmulatedMedia", media="print")
    folded = browser.tell(FOLDED)
    browser.call("Emulation.setEmulatedMedia", media="")
    assert [each["heading"] for each in folded] == ["The numbers"] * len(FIGURES) + ["by-hand.yaml"]
    for each in folded:
        assert not each["open"]
        assert each["shown"] == [True, True], "summary and content"
        assert each["height"] > 40
        assert each["hidden"] == 0, f"{each['hidden']} pixels of it are scrolled away"


@pytest.mark.parametrize("width", [360, 1440])
def test_claims_sort_as_other_tables_do(browser: Browser, address: str, width: int) -> None:
    browser.open(address, width)
    table = "document.querySelector('table.claims')"
    verdicts = f"[...{table}.tBodies[0].rows].map(row => row.cells[0].innerText.replace(/^\\W+/, ''))"
    head = f"{table}.tHead.rows[0].cells[0]"
    before = browser.tell(verdicts)
    assert browser.tell(f"{head}.querySelector('button').checkVisibility()")
    box = browser.tell(f"(b => [b.left, b.right, b.height])({head}.getBoundingClientRect())")
    assert 0 <= box[0] < box[1] <= width and box[2] > 10, "it can be seen and pressed"
    for order in ("ascending", "descending"):
        browser.tell(f"{head}.querySelector('button').click()")
        assert browser.tell(f"{head}.getAttribute('aria-sort')") == order
        assert sorted(browser.tell(verdicts)) == sorted(before)
        kinds = list(dict.fromkeys(browser.tell(verdicts)))
        assert len(kinds) == len(set(before)) > 1, "those of a kind stand together"


"""Pixels between the margins of A4, 10 mm each, at 96 an inch."""


def test_several_parts_fit_a_phone(browser: Browser, tmp_path: Path) -> None:
    part = study_report.study_part(few_results())
    path = tmp_path / "two.html"
    path.write_text(render_page(with_unique_names([part, part])), encoding="utf-8")
    browser.open(path.as_uri(), 360)
    assert browser.tell("document.documentElement.scrollWidth") <= 360
