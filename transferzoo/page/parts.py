"""What a page is made of: a part a study, and one for all runs."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from transferzoo.base.table import Table
    from transferzoo.page.charts import Figure
    from transferzoo.page.pictures import Examples
    from transferzoo.studies.claims import Verdict


MOST_NAMED = 6
"""Attacks whose names stand among the facts."""


@dataclass(frozen=True)
class Part:
    """What is told of one study, or of runs together.

    Attributes:
        name: anchor, and what its files begin with; unique on a page.
        title: what it is.
        about: the question, in a sentence.
        facts: what it stands on: name → values.
        verdicts: on a study's claims.
        figures: in order.
        tables: in order.
        examples: adversarial images to look at.
        commands: what repeats it.
        configuration: name → text, exact.
        reading: how to read it.
    """

    name: str
    title: str
    about: str
    facts: Mapping[str, tuple[str, ...]]
    verdicts: tuple[Verdict, ...]
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...]
    examples: tuple[Examples, ...]
    commands: tuple[str, ...]
    configuration: Mapping[str, str]
    reading: str


def distinct(parts: Sequence[Part]) -> list[Part]:
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


def once(values: Iterable[object]) -> tuple[str, ...]:
    """Return values as text, each of them once."""
    return tuple(dict.fromkeys(str(value) for value in values))


def few(values: tuple[str, ...], kind: str) -> tuple[str, ...]:
    """Return values if they are few, else how many there are."""
    return values if len(values) <= MOST_NAMED else (f"{len(values)} {kind}",)


def from_to(counts: Iterable[int]) -> tuple[str, ...]:
    """Return the smallest and the largest of some numbers as text, in one where they are equal."""
    ends = sorted(counts)
    return (" to ".join(once(f"{end:,}" for end in (ends[0], ends[-1]))),) if ends else ()
