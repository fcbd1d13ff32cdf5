"""Text of others, as it may be shown: a terminal obeys control characters, and XML has no place for them."""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and line feed, delete, C1
    "\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of the text after it
    "\u2028\u2029\ud800-\udfff\ufffe\uffff]"  # other line ends, halves of characters, none at all
)


def printable(text: str) -> str:
    """Return a text with U+FFFD in place of control characters, tabs and line feeds aside."""
    return _UNPRINTABLE.sub("\ufffd", text)


def escaped(json_text: str) -> str:
    """Return a JSON text with escapes in place of what `printable` replaces: the same value."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json_text)
