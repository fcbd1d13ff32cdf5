"""Drawings as SVG: in a page, labelled and in its colours; and as files of their own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree

from markupsafe import Markup

from transferzoo.base.figure_file import figure_bytes
from transferzoo.base.printable import printable
from transferzoo.page.canvas import NARROW, WIDE, style
from transferzoo.page.drawing import draw
from transferzoo.page.palette import COLOURS

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from transferzoo.page.charts import Chart

DPI = 200
_VARIABLES = {values[0]: f"var(--{name})" for name, values in COLOURS.items()}
_HEX = re.compile(r"#[0-9a-f]{6}")
_FONT = re.compile(r"\s*font-family:[^;]*;?")


class InlineSvg(NamedTuple):
    """A chart in a page.

    Attributes:
        svg: the element.
        broad: it is wider than the page and is scrolled, rather than shrunk until nobody can read it.
    """

    svg: Markup
    broad: bool


def inline_svg(chart: Chart, name: str, title: str, description: str, *, wide: bool) -> InlineSvg:
    """Return a chart as an element of a page, in colours of its theme and the font of its text.

    Args:
        chart: what is drawn.
        name: unique on the page.
        title: what it is, for a screen reader.
        description: what is to be seen.
        wide: for a desk rather than a phone.
    """
    root = ElementTree.fromstring(render_file(chart, "svg", wide=wide))
    width, height = (float(number) for number in root.get("viewBox", "").split()[2:])
    broad = width > 1.05 * (WIDE if wide else NARROW)
    limits = f"max-width:{width:.0f}px" + (f";min-width:{width:.0f}px" if broad else "")
    svg = Markup(
        '<svg viewBox="0 0 {width:g} {height:g}" role="img" style="{limits}"'
        ' aria-labelledby="{name}-title {name}-description"><title id="{name}-title">{title}</title>'
        '<desc id="{name}-description">{description}</desc>{drawn}</svg>'
    ).format(
        width=width,
        height=height,
        limits=limits,
        name=name,
        title=printable(title),
        description=printable(description),
        drawn=_drawn(root, name),
    )
    return InlineSvg(svg, broad)


def render_file(chart: Chart, kind: str, *, wide: bool = True) -> bytes:
    """Return a chart as a file; equal charts are equal bytes.

    Args:
        chart: what is drawn.
        kind: "svg" or "png", the latter with 200 pixels an inch.
        wide: for a desk rather than a phone.
    """
    metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[kind]
    with style():
        figure = draw(chart, wide=wide)
        return figure_bytes(figure, kind, dpi=72 if kind == "svg" else DPI, metadata=metadata)


def _drawn(root: Element, name: str) -> Markup:
    """Return what is drawn, without namespaces, metadata and the background."""
    (figure,) = (child for child in root if child.get("id") == "figure_1")
    for child in list(figure):
        if child.get("id") == "patch_1":
            figure.remove(child)
    shared = [child for child in root if _local(child.tag) == "defs"]
    for child in shared:
        for inner in list(child):
            if _local(inner.tag) == "style":
                child.remove(inner)
    kept = [figure, *(child for child in shared if len(child))]
    for element in (element for part in kept for element in part.iter()):
        _clean(element, name)
    return Markup("".join(ElementTree.tostring(part, encoding="unicode") for part in kept))


def _clean(element: Element, name: str) -> None:
    """Make an element one of HTML, with names of its own, the page's font and the theme's colours."""
    element.tag = _local(element.tag)
    element.text = element.text if element.tag == "text" else None
    element.tail = None
    given = {_local(key): value for key, value in element.attrib.items()}
    if element.tag == "g":
        given.pop("id", None)
    if "id" in given:
        given["id"] = f"{name}-{given['id']}"
    if "href" in given:
        given["href"] = f"#{name}-{given['href'][1:]}"
    if "clip-path" in given:
        given["clip-path"] = given["clip-path"].replace("#", f"#{name}-")
    if "style" in given:
        colours = _HEX.sub(lambda found: _VARIABLES.get(found[0], found[0]), given["style"])
        given["style"] = _FONT.sub("", colours).strip()
    if "d" in given:
        given["d"] = " ".join(given["d"].split())
    if given.get("transform", "").startswith("rotate(-0 "):
        del given["transform"]
    element.attrib.clear()
    element.attrib.update(given)


def _local(name: str) -> str:
    return name.rpartition("}")[2]
