"""Text of files of others reaches no terminal and no drawing with its control characters."""

from __future__ import annotations

import json
import sys
from io import StringIO
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from transferzoo.base.printable import escaped, printable

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = {
    "title of the window": "\x1b]0;own\x07",
    "colour": "\x1b[31mred",
    "C1": "\x9b2J",
    "carriage return": "fine\rbad",
    "backspace": "bad\b\b\bfine",
    "direction": "abc\u202efdp.exe",
    "isolate": "a\u2066b\u2069",
    "null": "a\0b",
    "delete": "a\x7f",
    "line separator": "a\u2028b",
}


def _is_clean(text: str) -> bool:
    return all(
        character in "\n\t" or (character.isprintable()) for character in text if character != "\ufffd"
    )


@pytest.mark.parametrize("kind", HOSTILE)
def test_control_characters_are_replaced(kind: str) -> None:
    shown = printable(f"before\t{HOSTILE[kind]}\nafter ε∞–▲")
    assert _is_clean(shown)
    assert shown.startswith("before\t")
    assert shown.endswith("\nafter ε∞–▲")
    assert len(shown) == len(f"before\t{HOSTILE[kind]}\nafter ε∞–▲")


@pytest.mark.parametrize("kind", HOSTILE)
def test_json_says_the_same_in_escapes(kind: str) -> None:
    content = {HOSTILE[kind]: [HOSTILE[kind], "ε"]}
    text = escaped(json.dumps(content, ensure_ascii=False))
    assert _is_clean(text)
    assert json.loads(text) == content


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("terminal", [True, False])
def test_no_way_of_speaking_lets_them_through(
    kind: str, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.table import Table

    from transferzoo.cli import output

    class Stream(StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return terminal

    stream = Stream()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, stream)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    table = Table("head", HOSTILE[kind].replace("[", "\\["), title=HOSTILE[kind])
    table.add_row(HOSTILE[kind], "x")
    output.log(HOSTILE[kind])
    output.show(table, HOSTILE[kind])
    output.log_table(table)
    output.show_line(HOSTILE[kind], HOSTILE[kind])
    output.show_json([HOSTILE[kind]])
    assert stream.getvalue().count("head") == 2
    assert _is_clean(stream.getvalue())


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_drawing_is_whole(kind: str, tmp_path: Path) -> None:
    from transferzoo.sharpness.plots import _figure, _save

    figure = _figure(3, 2)
    figure.add_subplot().set_title(HOSTILE[kind])
    _save(figure, tmp_path / "a.svg")
    assert _is_clean((tmp_path / "a.svg").read_text(encoding="utf-8"))
    ElementTree.parse(tmp_path / "a.svg")
