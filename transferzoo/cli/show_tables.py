"""What `show` prints for people: a table of what is known about a thing, longer texts and lists below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.base.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MOST = 20
"""Items of a list that are written out, as of class names."""
TEXTS = ("about", "definition")
"""Keys of texts that are printed as they are."""


def tables(entry: Mapping[str, Any]) -> list[Table]:
    """Return a table of everything that is known, and one of each list of records, as of files.

    What is not known, empty, zero or no is left out.
    """
    known = {key: value for key, value in entry.items() if value}
    listed = {key: value for key, value in known.items() if _records(value)}
    rows = tuple(
        (key.replace("_", " "), _WRITTEN.get(key, _text)(value))
        for key, value in known.items()
        if key not in listed and key not in ("kind", "name", *TEXTS)
    )
    title = f"{entry['kind']} {entry['name']}"
    return [Table(title, ("what", "value"), rows), *(_list(key, value) for key, value in listed.items())]


def texts(entry: Mapping[str, Any]) -> list[str]:
    """Return the texts that follow the tables."""
    return [entry[key] for key in TEXTS if entry.get(key)]


def _list(name: str, records: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of records, what not all of them have in a last column behind its name."""
    shared = [key for key in records[0] if all(key in record for record in records)]
    rest = any(len(record) > len(shared) for record in records)
    rows = []
    for record in records:
        others = ", ".join(f"{key} {value}" for key, value in record.items() if key not in shared)
        cells = (_WRITTEN.get(key, _text)(record[key]) for key in shared)
        rows.append((*cells, others) if rest else tuple(cells))
    return Table(name, (*shared, *[""] * rest), tuple(rows))


def _records(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, dict) for item in value)


def _text(value: object) -> str:
    """Write a value: what is nested once in lines, what is nested in them in one."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_inline(item)}" for key, item in value.items())
    return _inline(value)


def _inline(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, dict):
        return ", ".join(f"{key}={_inline(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        more = [f"… ({len(value)} in all)"] if len(value) > MOST else []
        return ", ".join([*map(_inline, value[:MOST]), *more])
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _share(value: float) -> str:
    return f"{100 * value:.2f} %"


_WRITTEN: dict[str, Callable[[Any], str]] = {
    "accuracy": _share,
    "claimed": _share,
    "bytes": "{:,}".format,
    "claims": "\n".join,
}
"""How values of some keys are written; the others as text."""
