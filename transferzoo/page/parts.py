"""What a page is made of: a part for each study, and one for each group of runs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from transferzoo.base.table import Table
    from transferzoo.page.charts import Figure
    from transferzoo.page.example_images import RowExamples
    from transferzoo.studies.claims import Verdict


MOST_NAMES = 6
"""Most names that are listed among the facts."""


@dataclass(frozen=True)
class Part:
    """One study, or a group of runs, on a page.

    Attributes:
        name: anchor, and what its files begin with; unique on a page.
        title: what it is.
        about: the question, in a sentence.
        facts: what it is computed from: name → values.
        verdicts: on a study's claims.
        figures: in order.
        tables: in order.
        examples: images, outcomes and commands of each row of the first table.
        commands: those that repeat it.
        configuration: name → text, exact.
        reading: how to read it.
        rankings: tables with ranks.
        links: (row, column) of the first table → anchor of its examples, within the part.
    """

    name: str
    title: str
    about: str
    facts: Mapping[str, tuple[str, ...]]
    verdicts: tuple[Verdict, ...]
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...]
    examples: tuple[RowExamples, ...]
    commands: tuple[str, ...]
    configuration: Mapping[str, str]
    reading: str
    rankings: tuple[Table, ...] = ()
    links: Mapping[tuple[int, int], str] = field(default_factory=dict)


def with_unique_names(parts: Sequence[Part]) -> list[Part]:
    """Return the parts, numbered where several have one name or one title."""
    named: dict[str, Part] = {}
    titles: set[str] = set()
    for part in parts:
        numbers = range(2, len(parts) + 2)
        names = (part.name, *(f"{part.name}-{number}" for number in numbers))
        name = next(name for name in names if name not in named)
        headings = (part.title, *(f"{part.title} ({number})" for number in numbers))
        title = next(title for title in headings if title not in titles)
        titles.add(title)
        named[name] = replace(part, name=name, title=title)
    return list(named.values())


def slug(text: str) -> str:
    """Return a name that anchors and files can have: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"


def unique_texts(values: Iterable[object]) -> tuple[str, ...]:
    """Return values as text, without duplicates."""
    return tuple(dict.fromkeys(str(value) for value in values))


def names_or_count(values: tuple[str, ...], kind: str) -> tuple[str, ...]:
    """Return values if they are few, else how many there are."""
    return values if len(values) <= MOST_NAMES else (f"{len(values)} {kind}",)


def format_range(counts: Iterable[int]) -> tuple[str, ...]:
    """Return the smallest and the largest of some numbers as text, in one where they are equal."""
    ends = sorted(counts)
    return (" to ".join(unique_texts(f"{end:,}" for end in (ends[0], ends[-1]))),) if ends else ()
