"""HTML that cannot be broken by what is written into it: text is escaped unless it is HTML already."""

from __future__ import annotations

import re
from html import escape

VOID = {"br", "img", "link", "meta"}
"""Elements without an end tag."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def join(*content: str) -> Markup:
    """Return HTML, one part after the other; what is no `Markup` is escaped."""
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in content))


def tag(element: str, *content: str, **attributes: str | None) -> Markup:
    """Return an element.

    Args:
        element: its name.
        content: what is in it; what is no `Markup` is escaped.
        attributes: written as they are named, without a `_` at the end and with hyphens for others; one that
            is None is left out. Values are escaped.
    """
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    start = Markup(f"<{element}{given}>")
    return start if element in VOID else join(start, *content, Markup(f"</{element}>"))


def lines(text: str) -> Markup:
    """Return text with its line breaks."""
    first, *others = text.split("\n")
    return join(first, *(part for other in others for part in (tag("br"), other)))


def prose(text: str) -> str:
    """Return text with a minus before negative numbers, and no line break before a percent sign."""
    return re.sub(r"(?<![\w-])-(?=\d)", "−", text).replace(" %", "\u00a0%")
