"""The page is harmless whatever the names in it are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from helpers.pages import STUDY, Page, results, runs_part
from transferzoo.page import study_report
from transferzoo.page.html import SCRIPT, render_page

EVIL = '</title></style></script><script>alert("1")</script><img src=x onerror=alert(2)>'
MATHS = r"$\undefined{_$ %s {0} & é 猫"


@pytest.mark.parametrize("name", [EVIL, MATHS], ids=["markup", "maths"])
def test_names_are_harmless(name: str) -> None:
    """In a page, and drawn; as the name of everything that has one."""
    plain = results(
        name=name,
        about=name,
        dataset=name,
        attacks=[name],
        surrogates={name: STUDY["surrogates"]["sgd"], "sam": STUDY["surrogates"]["sam"]},
        claims=[{"say": name, "higher": {"surrogate": name}, "lower": {"surrogate": "sam"}}],
    )
    renamed = {
        "sgd": name,
        "sam": "sam",
        "wide-resnet": "wide-resnet",
        "vision-transformer": "vision-transformer",
    }
    outcomes = [
        replace(o, surrogate=renamed[o.surrogate], target=renamed.get(o.target, o.target))
        for o in plain.outcomes
        if o.surrogate in renamed and o.epoch in (3, 4)
    ]
    values = [
        replace(v, surrogate=renamed[v.surrogate])
        for v in plain.values
        if v.surrogate in renamed and v.epoch in (3, 4)
    ]
    found = replace(plain, outcomes=tuple(outcomes), values=tuple(values), versions={name: name})
    drawn = study_report.study_part(found)
    names = {figure.name for figure in drawn.figures}
    assert names >= {"differences", "success", "means", "epochs", "sharpness"}
    tree = Page.of(render_page([drawn])).root
    assert tree.one("h1").text == f"Study {name}"
    assert not list(tree.every("img"))
    assert tree.one("script").text == SCRIPT.read_text(encoding="utf-8")
    texts = [e.text for e in tree.every("text")]
    assert any(text.startswith(name[:12]) for text in texts)


@pytest.mark.parametrize("name", [EVIL, MATHS], ids=["markup", "maths"])
def test_names_in_runs_are_harmless_and_every_cell_leads_somewhere(name: str) -> None:
    tree = Page.of(render_page([runs_part(name=name)])).root
    assert tree.one("script").text == SCRIPT.read_text(encoding="utf-8")
    assert len([*tree.every("img")]) == 4 * 4
    ids = {e.attributes["id"] for e in tree.every() if "id" in e.attributes}
    links = [e.attributes["href"] for e in tree.every("a") if e.attributes.get("class") == "cell"]
    assert len(links) == len(set(links)) == 8
    assert {link[1:] for link in links} <= ids
    assert any(name in e.text for e in tree.every("h3"))
