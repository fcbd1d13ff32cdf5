"""Drawings of Matplotlib as files, whatever characters the names in them have."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

from transferzoo.base.printable import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure_bytes(figure: Figure, kind: str, **options: Any) -> bytes:
    """Return a figure as a file; an SVG is XML, which has no place for control characters.

    Args:
        figure: what is drawn.
        kind: "svg", "png" or "pdf".
        **options: of `Figure.savefig`.
    """
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing")  # it would print the character itself
        figure.savefig(file, format=kind, **options)
    content = file.getvalue()
    return printable(content.decode("utf-8")).encode() if kind == "svg" else content
