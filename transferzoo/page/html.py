"""Parts → one page of HTML: no script, no request, readable without colours, on a phone and on paper."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from transferzoo.page import palette
from transferzoo.page.descriptions import numbers, told
from transferzoo.page.markup import Markup, join, lines, prose, tag
from transferzoo.page.parts import slug
from transferzoo.page.svg import inline
from transferzoo.page.verdicts import MARKS, sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from transferzoo.base.table import Table
    from transferzoo.page.charts import Figure
    from transferzoo.page.parts import Part
    from transferzoo.page.pictures import Examples, Picture
    from transferzoo.studies.claims import Verdict

STYLE = Path(__file__).parent / "style.css"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a browser may fetch and run for the page: nothing."""
MAIN = "_content"
"""Anchor of the content; names of parts have no underscore, and two hyphens stand only behind them."""
LONG = 20
"""Rows of a table that stands open at most."""


class Section(NamedTuple):
    """A section of a part."""

    anchor: str
    heading: str
    content: Markup
    parts: tuple[tuple[str, str], ...] = ()
    """Anchor and heading of what is in it."""


def page(parts: Sequence[Part], tell: Callable[[str], None] = lambda _: None) -> str:
    """Return the page, the same for the same parts.

    Args:
        parts: what is told.
        tell: called with the title of each figure that is drawn.
    """
    alone = len(parts) == 1
    title = parts[0].title if alone else "Studies and runs"
    about = parts[0].about if alone else f"{', '.join(part.title for part in parts)}."
    sections = [(part, _sections(part, 3 if alone else 4, tell)) for part in parts]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{title} · TransferZoo"),
        tag("style", _style()),
    )
    body = tag(
        "body",
        tag("a", "Skip to the content", href=f"#{MAIN}", class_="skip"),
        tag(
            "header",
            tag("p", "TransferZoo report", class_="eyebrow"),
            tag("h1", title),
            tag("p", about, class_="lead"),
        ),
        _contents(sections),
        tag("main", *(_part(part, found, alone=alone) for part, found in sections), id=MAIN),
        tag("footer", tag("p", "Made by transferzoo report. The page loads nothing and runs no script.")),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _style() -> Markup:
    light, dark = palette.css(dark=False), palette.css(dark=True)
    themes = f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    return Markup(themes + "\n" + STYLE.read_text(encoding="utf-8"))


def _sections(part: Part, depth: int, tell: Callable[[str], None]) -> list[Section]:
    """Return what there is to tell; `depth` is that of the headings of figures."""
    figures = tuple((f"{part.name}--{figure.name}", figure.title) for figure in part.figures)
    drawn = []
    for figure in part.figures:
        drawn.append(_figure(figure, part.name, depth))
        tell(figure.title)
    found = [
        ("claims", "Claims", _verdicts(part.verdicts) if part.verdicts else Markup(), ()),
        ("all-figures", "Figures", join(*drawn), figures),
        ("examples", "Examples", join(*(_examples(each) for each in part.examples)), ()),
        ("tables", "Tables", join(*(_foldable(table) for table in part.tables)), ()),
        ("repeat", "How to repeat it", _repeat(part), ()),
    ]
    return [
        Section(f"{part.name}--{name}", heading, content, inner)
        for name, heading, content, inner in found
        if content
    ]


def _contents(parts: Sequence[tuple[Part, list[Section]]]) -> Markup:
    items: list[Markup] = []
    for part, sections in parts:
        inner = [_entry(each.anchor, each.heading, each.parts) for each in sections]
        outer = tag("a", part.title, href=f"#{part.name}")
        items += inner if len(parts) == 1 else [tag("li", outer, tag("ul", *inner))]
    return tag("nav", tag("p", "On this page"), tag("ul", *items), aria_label="On this page")


def _entry(anchor: str, heading: str, parts: Sequence[tuple[str, str]]) -> Markup:
    inner = tag("ul", *(_entry(*each, ()) for each in parts)) if parts else Markup()
    return tag("li", tag("a", heading, href=f"#{anchor}"), inner)


def _part(part: Part, sections: Sequence[Section], *, alone: bool) -> Markup:
    title = f"{part.name}--heading"
    own = () if alone else (tag("h2", part.title, id=title), tag("p", part.about, class_="lead"))
    above = "" if alone else f"{title} "  # sections of several parts have the same headings
    facts = tag(
        "dl", *(tag("div", tag("dt", name), tag("dd", _names(fact))) for name, fact in part.facts.items())
    )
    reading = tag("p", tag("strong", "How to read it."), " ", prose(part.reading), class_="reading")
    told = (
        tag(
            "section",
            tag("h2" if alone else "h3", each.heading, id=f"{each.anchor}-heading"),
            each.content,
            id=each.anchor,
            aria_labelledby=f"{above}{each.anchor}-heading",
        )
        for each in sections
    )
    label = None if alone else title
    return tag("article", *own, facts, reading, *told, id=part.name, aria_labelledby=label)


def _names(values: Sequence[str]) -> Markup:
    """Return names with commas, none of them broken at a hyphen where it fits a line."""
    *others, last = values
    spans = [tag("span", text, class_="name") for text in (*(f"{value}," for value in others), last)]
    return join(spans[0], *(part for span in spans[1:] for part in (" ", span)))


# ---------------------------------------------------------------- contents of sections


def _verdicts(verdicts: Sequence[Verdict]) -> Markup:
    kinds = {kind: sum(one.verdict == kind for one in verdicts) for kind in MARKS}
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    rows = (tag("tr", tag("td", _mark(one.verdict)), tag("th", _claim(one), scope="row")) for one in verdicts)
    return tag(
        "table",
        tag("caption", f"What the records say of {len(verdicts)} claims: {counts}."),
        tag("thead", tag("tr", tag("th", "Verdict", scope="col"), tag("th", "Claim", scope="col"))),
        tag("tbody", *rows),
        class_="claims",
    )


def _mark(verdict: str) -> Markup:
    sign = tag("span", MARKS[verdict], aria_hidden="true")
    return tag("span", sign, f" {verdict}", class_=f"verdict {slug(verdict)}")


def _claim(verdict: Verdict) -> Markup:
    said = tag("span", prose(sentence(verdict)), class_="numbers")
    return join(tag("span", verdict.claim.say, class_="claim"), said)


def _figure(figure: Figure, part: str, depth: int) -> Markup:
    name = f"{part}--{figure.name}"
    drawn = []
    for kind in ("wide", "narrow"):
        made = inline(figure.chart, f"{name}-{kind}", figure.title, told(figure), wide=kind == "wide")
        scrolls = _scrolls(figure.title) if made.broad else {}
        drawn.append(tag("div", made.svg, class_=f"scroll {kind}", **scrolls))
    listed = tag("details", tag("summary", "The numbers"), _table(numbers(figure)))
    caption = tag("figcaption", prose(figure.caption)) if figure.caption else Markup()
    return tag(
        "div",
        tag(f"h{depth}", figure.title),
        tag("figure", *drawn, caption),
        listed,
        id=name,
        class_="figure",
    )


def _examples(examples: Examples) -> Markup:
    head = tag("tr", tag("td"), *(tag("th", lines(name), scope="col") for name in examples.columns))
    body = (
        tag("tr", tag("th", lines(what), scope="row"), *(tag("td", _picture(each)) for each in pictures))
        for what, pictures in examples.rows
    )
    table = tag("table", tag("caption", tag("span", examples.title)), tag("thead", head), tag("tbody", *body))
    return join(
        tag("div", table, class_="scroll pictures", **_scrolls(examples.title)),
        tag("p", prose(examples.caption), class_="note"),
    )


def _picture(picture: Picture) -> Markup:
    data = base64.b64encode(picture.png).decode("ascii")
    note = tag("span", picture.note) if picture.note else Markup()
    return join(tag("img", src=f"data:image/png;base64,{data}", alt=picture.alt), note)


def _foldable(table: Table) -> Markup:
    """Return a table, folded where it is long."""
    if len(table.rows) <= LONG:
        return _table(table)
    return tag("details", tag("summary", f"{table.title} ({len(table.rows)} rows)"), _table(table))


def _table(table: Table) -> Markup:
    columns = [[row[at] for row in table.rows] for at in range(len(table.columns))]
    kinds = ["number" if at and _numeric(cells) else None for at, cells in enumerate(columns)]
    head = (tag("th", n, scope="col", class_=kind) for n, kind in zip(table.columns, kinds, strict=True))
    body = (
        tag(
            "tr",
            tag("th", lines(first), scope="row"),
            *(tag("td", lines(prose(cell)), class_=kind) for cell, kind in zip(rest, kinds[1:], strict=True)),
        )
        for first, *rest in table.rows
    )
    drawn = tag(
        "table", tag("caption", tag("span", table.title)), tag("thead", tag("tr", *head)), tag("tbody", *body)
    )
    note = tag("p", prose(table.caption), class_="note") if table.caption else Markup()
    return join(tag("div", drawn, class_="scroll", **_scrolls(table.title)), note)


def _numeric(cells: Iterable[str]) -> bool:
    return all(not cell or cell[0] in "0123456789–+-−<[" for cell in cells)


def _repeat(part: Part) -> Markup:
    commands = (tag("pre", tag("code", line), class_="command") for line in part.commands)
    texts = (
        tag("details", tag("summary", name), tag("pre", tag("code", text), **_scrolls(name)))
        for name, text in part.configuration.items()
    )
    return join(*commands, *texts)


def _scrolls(label: str) -> dict[str, str]:
    """Return the attributes of what may be wider than the page: it can be scrolled by keys too.

    A group is no landmark, of which a page of many tables would have too many to be of use.
    """
    return {"role": "group", "aria_label": label, "tabindex": "0"}
