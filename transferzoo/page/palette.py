"""Colours with two values, for light and for dark themes.

Figures are drawn in the light values. In a page each of them becomes a CSS variable, `var(--series-1)`, that
the theme sets; so no two of the light values may be equal. Lines and text stand out from what is behind them
by 3 and 4.5 to 1 (WCAG 2.2, 1.4.11 and 1.4.3), and no chart tells things apart by colour alone.
"""

from __future__ import annotations

COLOURS = {
    "paper": ("#ffffff", "#12161b"),
    "ink": ("#1b1f24", "#e6eaee"),
    "muted": ("#59636e", "#9aa5b1"),
    "rule": ("#d8dde3", "#323a44"),
    "on-pale": ("#1b1f25", "#f2f5f8"),
    "on-strong": ("#fffffe", "#0c1116"),
    "series-1": ("#0067b1", "#5cb3f0"),
    "series-2": ("#c44e00", "#f29a5b"),
    "series-3": ("#00795a", "#3fc79a"),
    "series-4": ("#a8407f", "#e58cc0"),
    "series-5": ("#7a6200", "#dcc64e"),
    "series-6": ("#5b4fc0", "#ab9ff5"),
    "series-7": ("#b3261e", "#ff8378"),
    "series-8": ("#4d5761", "#b4bec8"),
    "heat-0": ("#eef4fc", "#212730"),
    "heat-1": ("#cbe0f9", "#222f44"),
    "heat-2": ("#accef5", "#223b5a"),
    "heat-3": ("#8ebcef", "#224970"),
    "heat-4": ("#72abe7", "#225886"),
    "heat-5": ("#579adb", "#23699b"),
    "heat-6": ("#418ccf", "#2875a6"),
    "heat-7": ("#2579bc", "#388fbf"),
    "heat-8": ("#0e6aa9", "#4da3ce"),
    "heat-9": ("#005b92", "#68b7db"),
    "heat-10": ("#004c7b", "#86cbe6"),
    "heat-11": ("#033e62", "#a9def1"),
}
"""Name → its value in a light theme and in a dark one."""
SERIES = sum(name.startswith("series-") for name in COLOURS)
LEVELS = sum(name.startswith("heat-") for name in COLOURS)
PALE = 7
"""Levels of a heat map, from below, whose text is that of pale cells."""


def light(name: str) -> str:
    """Return the colour that figures are drawn in."""
    return COLOURS[name][0]


def heat(share: float) -> tuple[str, str]:
    """Return the names of the colours of a cell and of the text in it.

    Args:
        share: how far up the scale it is, in [0, 1].
    """
    level = min(int(share * LEVELS), LEVELS - 1)
    return f"heat-{level}", "on-pale" if level < PALE else "on-strong"


def css(*, dark: bool) -> str:
    """Return the declarations of the CSS variables of a theme."""
    return "".join(f"--{name}:{values[dark]};" for name, values in COLOURS.items())
