"""Parts → one page of HTML: no request, readable without script or colours, on a phone and on paper."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from transferzoo.base.printable import printable
from transferzoo.base.table import typeset
from transferzoo.page import palette
from transferzoo.page.descriptions import describe, numbers_table
from transferzoo.page.html_tables import (
    COMMAND,
    SCROLLS,
    examples_of_row,
    foldable_table,
    join,
    number_table,
)
from transferzoo.page.parts import slug
from transferzoo.page.svg import inline_svg
from transferzoo.page.verdicts import MARKS, verdict_sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transferzoo.page.charts import Figure
    from transferzoo.page.parts import Part
    from transferzoo.studies.claims import Verdict

STYLE, SCRIPT = (Path(__file__).parent / name for name in ("style.css", "page.js"))
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{}'"
"""What a browser may fetch for the page, nothing, and run: the page's own script alone, by its hash."""
MAIN = "_content"
"""Anchor of the content; no name of a part has an underscore, and only anchors in a part have two hyphens."""
PAGE = Markup(
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta http-equiv="Content-Security-Policy" content="{policy}">'
    '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
    "<title>{title} · TransferZoo</title><style>{style}</style></head>"
    '<body><a href="#{main}" class="skip">Skip to the content</a>'
    '<header><p class="eyebrow">TransferZoo report</p><h1>{title}</h1><p class="lead">{about}</p></header>'
    '{contents}<main id="{main}">{parts}</main>'
    "<footer><p>Made by transferzoo report. The page loads nothing; its script sorts tables and opens cells."
    "</p></footer><script>{script}</script></body></html>\n"
)


class Section(NamedTuple):
    """A section of a part."""

    anchor: str
    heading: str
    content: Markup
    parts: tuple[tuple[str, str], ...] = ()
    """Anchor and heading of what is in it."""


def render_page(parts: Sequence[Part], on_figure: Callable[[str], None] = lambda _: None) -> str:
    """Return the page, the same for the same parts.

    Args:
        parts: in order.
        on_figure: called with the title of each figure that is drawn.
    """
    alone = len(parts) == 1
    title = parts[0].title if alone else "Studies and runs"
    about = parts[0].about if alone else f"{', '.join(part.title for part in parts)}."
    sections = [(part, _sections(part, 3 if alone else 4, on_figure)) for part in parts]
    script = SCRIPT.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = PAGE.format(
        policy=POLICY.format(digest),
        script=Markup(script),
        title=title,
        style=_style(),
        main=MAIN,
        about=about,
        contents=_contents(sections),
        parts=join(_part(part, found, alone=alone) for part, found in sections),
    )
    return printable(page)


def _style() -> Markup:
    light, dark = palette.css(dark=False), palette.css(dark=True)
    themes = f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    return Markup(themes + "\n" + STYLE.read_text(encoding="utf-8"))


def _sections(part: Part, depth: int, on_figure: Callable[[str], None]) -> list[Section]:
    """Return the sections that have content; `depth` is that of the headings of figures."""
    figures = tuple((f"{part.name}--{figure.name}", figure.title) for figure in part.figures)
    drawn = []
    for figure in part.figures:
        drawn.append(_figure(figure, part.name, depth))
        on_figure(figure.title)
    found = [
        ("claims", "Claims", _verdicts(part.verdicts) if part.verdicts else Markup(), ()),
        ("ranking", "Ranking", join(map(number_table, part.rankings)), ()),
        ("all-figures", "Figures", join(drawn), figures),
        ("tables", "Tables", _tables(part), ()),
        ("examples", "Examples", join(examples_of_row(row, part.name, depth) for row in part.examples), ()),
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
        outer = Markup('<li><a href="#{}">{}</a><ul>{}</ul></li>').format(part.name, part.title, join(inner))
        items += inner if len(parts) == 1 else [outer]
    nav = Markup('<nav aria-label="On this page"><p>On this page</p><ul>{}</ul></nav>')
    return nav.format(join(items))


def _entry(anchor: str, heading: str, parts: Sequence[tuple[str, str]]) -> Markup:
    inner = Markup("<ul>{}</ul>").format(join(_entry(*each, ()) for each in parts)) if parts else ""
    return Markup('<li><a href="#{}">{}</a>{}</li>').format(anchor, heading, inner)


def _part(part: Part, sections: Sequence[Section], *, alone: bool) -> Markup:
    title = f"{part.name}--heading"
    above = "" if alone else f"{title} "  # sections of several parts have the same headings
    section = Markup(
        '<section id="{anchor}" aria-labelledby="{above}{anchor}-heading">'
        '<{level} id="{anchor}-heading">{heading}</{level}>{content}</section>'
    )
    heading = Markup('<h2 id="{}">{}</h2><p class="lead">{}</p>').format(title, part.title, part.about)
    fact = Markup("<div><dt>{}</dt><dd>{}</dd></div>")
    return Markup(
        '<article id="{}"{}>{}<dl>{}</dl>'
        '<p class="reading"><strong>How to read it.</strong> {}</p>{}</article>'
    ).format(
        part.name,
        "" if alone else Markup(' aria-labelledby="{}"').format(title),
        "" if alone else heading,
        join(fact.format(name, _names(values)) for name, values in part.facts.items()),
        typeset(part.reading),
        join(
            section.format(
                anchor=each.anchor,
                above=above,
                level="h2" if alone else "h3",
                heading=each.heading,
                content=each.content,
            )
            for each in sections
        ),
    )


def _names(values: Sequence[str]) -> Markup:
    """Return names with commas, none of them broken at a hyphen where it fits a line."""
    *others, last = values
    span = Markup('<span class="name">{}</span>')
    return Markup(" ").join(span.format(text) for text in (*(f"{value}," for value in others), last))


# ---------------------------------------------------------------- contents of sections


def _verdicts(verdicts: Sequence[Verdict]) -> Markup:
    kinds = {kind: sum(one.verdict == kind for one in verdicts) for kind in MARKS}
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    row = Markup(
        '<tr><td><span class="verdict {kind}"><span aria-hidden="true">{mark}</span> {verdict}</span></td>'
        '<th scope="row"><span class="claim">{claim}</span><span class="numbers">{numbers}</span></th></tr>'
    )
    rows = (
        row.format(
            kind=slug(one.verdict),
            mark=MARKS[one.verdict],
            verdict=one.words,
            claim=one.claim.say,
            numbers=typeset(verdict_sentence(one)),
        )
        for one in verdicts
    )
    return Markup(
        '<table class="claims sortable"><caption>What the records say of {} claims: {}.</caption>'
        '<thead><tr><th scope="col">Verdict</th><th scope="col">Claim</th></tr></thead>'
        "<tbody>{}</tbody></table>"
    ).format(len(verdicts), counts, join(rows))


def _figure(figure: Figure, part: str, depth: int) -> Markup:
    name = f"{part}--{figure.name}"
    drawn = []
    for kind in ("wide", "narrow"):
        made = inline_svg(figure.chart, f"{name}-{kind}", figure.title, describe(figure), wide=kind == "wide")
        scrolls = SCROLLS.format(figure.title) if made.broad else ""
        drawn.append(Markup('<div class="scroll {}"{}>{}</div>').format(kind, scrolls, made.svg))
    caption = Markup("<figcaption>{}</figcaption>").format(typeset(figure.caption)) if figure.caption else ""
    return Markup(
        '<div id="{name}" class="figure"><h{depth}>{title}</h{depth}><figure>{drawn}{caption}</figure>'
        "<details><summary>The numbers</summary>{numbers}</details></div>"
    ).format(
        name=name,
        depth=depth,
        title=figure.title,
        drawn=join(drawn),
        caption=caption,
        numbers=number_table(numbers_table(figure)),
    )


def _tables(part: Part) -> Markup:
    """Return the tables; the cells of the first lead to their examples and command."""
    links = {place: f"{part.name}--{anchor}" for place, anchor in part.links.items()}
    return join(foldable_table(table, {} if at else links) for at, table in enumerate(part.tables))


def _repeat(part: Part) -> Markup:
    file = Markup("<details><summary>{}</summary><pre{}><code>{}</code></pre></details>")
    return join(
        (
            *(COMMAND.format(line) for line in part.commands),
            *(file.format(name, SCROLLS.format(name), text) for name, text in part.configuration.items()),
        )
    )
