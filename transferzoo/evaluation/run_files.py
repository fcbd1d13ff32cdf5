"""How the files of a run folder are read back, checked, and written. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from transferzoo.base.atomic import write_text
from transferzoo.base.errors import DataError, reason
from transferzoo.base.foreign_files import parse_json, read_text
from transferzoo.results.records import Record, read_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")


@dataclass(frozen=True)
class Selection:
    """Which images a run attacks.

    Attributes:
        ids: in order.
        labels: their classes.
        target_classes: None of an untargeted attack.
        names: of their files, empty where they have none.
    """

    ids: list[int]
    labels: list[int]
    target_classes: list[int] | None
    names: list[str]


def read_file(path: Path, parse: Callable[[str], T]) -> T:
    """Return what a file of a run holds.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        return parse(read_text(path))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path} is missing", hint="run the attack command again, which makes it")
    return DataError(
        f"cannot read {path}: {reason(error)}", hint="run the attack command again, which makes it anew"
    )


def read_lines(read: Callable[[str], T], text: str) -> list[T]:
    """Return what each line of a text holds; empty ones hold nothing."""
    return [read(line) for line in text.split("\n") if line]


def read_records(text: str) -> list[Record]:
    """Return the records that a file holds.

    Raises:
        ValueError: one is none, or they are of different images.
    """
    records = read_lines(read_record, text)
    if len({len(record.outcomes) for record in records}) > 1:
        raise ValueError("the records have different numbers of outcomes")
    return records


def read_selection(text: str) -> Selection:
    """Return the selection that a file holds."""
    content = parse_json(text)
    ids, names = list(content["ids"]), content.get("names")
    return Selection(ids, list(content["labels"]), content.get("targets"), names or [""] * len(ids))


def write_anew(path: Path, text: str) -> None:
    """Write a file unless it holds that already: it follows from the configuration, or it is damaged."""
    try:
        if path.read_text(encoding="utf-8") == text:
            return
    except (OSError, UnicodeDecodeError):
        pass
    write_text(path, text)
