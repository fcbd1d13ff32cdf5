"""Tables of runs in headless Chromium: they sort, their cells open, and they fit phone, desk and paper."""

from __future__ import annotations

import base64
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from helpers.browser import SIZES, Browser, check_quiet
from helpers.pages import runs_part
from transferzoo.page.html import render_page

if TYPE_CHECKING:
    from pathlib import Path

PAPER = 718


WITHOUT = """({
  buttons: document.querySelectorAll('button').length,
  dialogs: document.querySelectorAll('dialog').length,
  links: document.querySelectorAll('a.cell').length,
  lost: [...document.querySelectorAll('a.cell')].map(link => link.getAttribute('href'))
    .filter(href => !document.querySelector(href)),
  cell: document.querySelector(':target').id,
  seen: document.querySelector(':target').getBoundingClientRect().top < innerHeight,
})"""


def test_runs_with_many_targets_fit_the_paper(browser: Browser, tmp_path: Path) -> None:
    """Chromium would shrink all of a page for one table that is too wide."""
    names = [f"wide-resnet-{at}" for at in range(9)]
    part = runs_part()
    wide = replace(
        part.tables[0],
        columns=("surrogate", "attack", "mean", *names),
        rows=(("resnet50-lsam", "mi+di:p=0.7", *["46.4\n42.1–50.8"] * 10),) * 3,
        marks={},
    )
    path = tmp_path / "page.html"
    path.write_text(render_page([replace(part, tables=(wide,), links={})]), encoding="utf-8")
    browser.open(path.as_uri(), PAPER)
    browser.call("Emulation.setEmulatedMedia", media="print")
    right = browser.tell(
        "Math.max(...[...document.querySelectorAll('th, td')].map(c => c.getBoundingClientRect().right))"
    )
    hidden = browser.tell(
        "[...document.querySelectorAll('nav, dialog')].filter(e => e.checkVisibility()).length"
    )
    browser.call("Emulation.setEmulatedMedia", media="")
    assert 500 < right <= PAPER
    assert hidden == 0
    printed = base64.b64decode(browser.call("Page.printToPDF")["data"])
    assert printed.startswith(b"%PDF")
    assert 1 < len(re.findall(rb"/Type\s*/Page\b", printed)) < 12


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("runs") / "page.html"
    path.write_text(render_page([runs_part()]), encoding="utf-8")
    return path.as_uri()


HEADS = "document.querySelector('#runs--tables table').tHead.rows[0].cells"


COLUMN = "[...document.querySelector('#runs--tables table').tBodies[0].rows].map(r => r.cells[{}].innerText)"


SORTED = f"[...{HEADS}].map(head => head.getAttribute('aria-sort'))"


def _rates(browser: Browser) -> list[float]:
    """Return the success on the first target, in the order of the table."""
    texts = browser.tell(COLUMN.format(2))
    return [float(text.split("\n")[0].rstrip("▲▼")) for text in texts if text != "–"]


def _press(browser: Browser, key: str, code: int, text: str = "") -> None:
    for kind in ("keyDown", "keyUp"):
        typed = {"text": text} if text and kind == "keyDown" else {}
        browser.call(
            "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **typed
        )


@pytest.mark.parametrize(("width", "dark"), SIZES)
def test_a_page_of_runs_is_quiet_and_fits(browser: Browser, runs: str, width: int, dark: bool) -> None:
    browser.open(runs, width, dark=dark)
    check_quiet(browser, runs, width)
    browser.tell("document.querySelector('a.cell').click()")
    assert browser.tell("document.querySelector('dialog').getBoundingClientRect().right") <= width
    assert browser.tell("document.querySelector('dialog').getBoundingClientRect().left") >= 0
    check_quiet(browser, runs, width)


def test_a_table_sorts_by_click_and_by_key(browser: Browser, runs: str) -> None:
    browser.open(runs, 1440)
    before = _rates(browser)
    browser.tell(f"{HEADS}[2].querySelector('button').click()")
    values = _rates(browser)
    assert values == sorted(values, reverse=True)
    assert values != before
    assert browser.tell(SORTED) == [None, None, "descending", None]
    browser.tell(f"{HEADS}[2].querySelector('button').focus()")
    _press(browser, "Enter", 13, "\r")
    assert _rates(browser) == sorted(values)
    assert browser.tell(SORTED) == [None, None, "ascending", None]
    browser.tell(f"{HEADS}[0].querySelector('button').focus()")
    _press(browser, " ", 32, " ")
    firsts = [name[0] for name in browser.tell(COLUMN.format(0))]
    assert firsts == sorted(firsts)
    assert browser.tell(SORTED) == ["ascending", None, None, None]
    ranks = browser.tell(
        "document.querySelector('#runs--ranking table').tBodies[0].rows[0].cells[1].innerText"
    )
    assert ranks == "1"


def test_a_cell_opens_its_examples_and_command(browser: Browser, runs: str) -> None:
    browser.open(runs, 1440)
    cell = "document.querySelector('a.cell[href=\"#runs--cell-2-2\"]')"
    browser.tell(f"{cell}.focus()")
    _press(browser, "Enter", 13, "\r")
    assert browser.tell("document.querySelector('dialog').open") is True
    words = browser.tell("document.querySelector('dialog').innerText")
    assert "11\u00a0%" in words and "10\u00a0%" not in words, "this cell alone"
    assert "Coat" in words and "transferzoo attack -s toys/a -a mi:decay=1,normalise=mean" in words
    assert browser.tell("document.querySelectorAll('dialog img').length") == 4
    ids = browser.tell("[...document.querySelectorAll('[id]')].map(each => each.id)")
    assert len(ids) == len(set(ids))
    _press(browser, "Escape", 27)
    assert browser.tell("document.querySelector('dialog').open") is False
    assert browser.tell(f"document.activeElement === {cell}") is True


def test_without_script_all_is_there(browser: Browser, runs: str) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open("about:blank", 360)  # or the next is a place on the same page, which is not loaded again
    browser.open(f"{runs}#runs--cell-2-2", 360)
    found = {"seen": False}
    ends = time.monotonic() + 20
    while not found["seen"] and time.monotonic() < ends:  # it is scrolled to once it is laid out
        found = browser.call("Runtime.evaluate", expression=WITHOUT, returnByValue=True)["result"]["value"]
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert found == {
        "buttons": 0,
        "dialogs": 0,
        "links": 8,
        "lost": [],
        "cell": "runs--cell-2-2",
        "seen": True,
    }
