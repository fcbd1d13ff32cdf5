"""Colours that can be told apart, and names that keep apart."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from transferzoo.page import palette
from transferzoo.page.canvas import spread_apart


def contrast(first: str, second: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot((0.2126, 0.7152, 0.0722), linear))

    low, high = sorted(map(luminance, (first, second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_stand_out(theme: int) -> None:
    """WCAG 2.2: text by 4.5 to 1, lines by 3 to 1."""
    colours = {name: values[theme] for name, values in palette.COLOURS.items()}
    paper = colours["paper"]
    for name in ("ink", "muted", *(name for name in colours if name.startswith("series"))):
        assert contrast(colours[name], paper) >= 4.5, name
    for level in range(palette.LEVELS):
        fill, ink = palette.heat((level + 0.5) / palette.LEVELS)
        assert fill == f"heat-{level}"
        assert contrast(colours[fill], colours[ink]) >= 4.5, fill


def test_no_two_colours_are_drawn_alike() -> None:
    drawn = [palette.light(name) for name in palette.COLOURS]
    assert len(set(drawn)) == len(drawn)


def test_names_at_the_ends_of_lines_keep_apart() -> None:
    for places in ([0.0, 0.0, 0.0], [5, 50, 51], [100, 99, 98, 3]):
        moved = spread_apart(places, 10, 0, 100)
        assert all(abs(a - b) >= 10 for a, b in combinations(moved, 2))
        assert all(0 <= place <= 100 for place in moved)
        order = sorted(range(len(places)), key=places.__getitem__)
        assert order == sorted(range(len(places)), key=moved.__getitem__)
    assert spread_apart([5, 50], 10, 0, 100) == [5, 50]
    assert spread_apart([50, 50], 10, 0, 100) == [45, 55]
