"""Which of a model's classes are those of a data set: by name where both have names, else by number.

Names are compared without capitals and signs, and part by part, "tench, Tinca tinca". Numbers in another
order, "0", "1", "10" as sorted folders have them, are names too. WordNet ids and the words for the thousand
classes of ImageNet stand for each other. A model of 1,000 classes without names, or of
1,001 with one for the background before them, is taken to have those.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transferzoo.datasets.imagenet import WORDNET_ID, imagenet
from transferzoo.datasets.labels import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NUMBERED_NAME = re.compile(r"(?:label|class)?[ _-]?(\d+)", re.IGNORECASE)
"""Names that only count: "3", "LABEL_3"."""
BACKGROUND = "background"
SHOWN = 4
"""Classes that a sentence names."""
SAME = 0.9
"""Share of a model's names that have to be ImageNet's, each in its place, for the others to be too."""


@dataclass(frozen=True)
class ClassMap:
    """Where the classes of a data set stand among a model's.

    Attributes:
        places: of each class of the data set its number in the model; None where the model does not know it.
        count: how many classes the model has.
        by_name: whether names say so, or the numbers were the same.
    """

    places: tuple[int | None, ...]
    count: int
    by_name: bool

    @property
    def is_plain(self) -> bool:
        """Whether the model's classes are the data set's, in its order."""
        return self.places == tuple(range(self.count))


def map_classes(theirs: Sequence[str], ours: Sequence[str]) -> ClassMap | None:
    """Return where the classes of a data set stand among a model's.

    Args:
        theirs: names of the model's classes in the order of its logits; numbers where they have no names.
        ours: those of the data set, likewise.

    Returns:
        None where neither names nor numbers tell.
    """
    if found := _by_number(theirs, ours):
        return found
    if not _is_nameless(ours) or not _is_nameless(theirs):
        named = _by_name(_as_imagenet(theirs), _as_imagenet(ours))
        if named is not None:
            return named
    if len(theirs) == len(ours):
        return ClassMap(tuple(range(len(ours))), len(theirs), by_name=False)
    if len(theirs) == len(ours) + 1 == 1001:
        return ClassMap(tuple(range(1, len(theirs))), len(theirs), by_name=False)
    return None


def describe(
    name: str, theirs: Sequence[str], ours: Sequence[str], found: ClassMap, *, stated: bool = False
) -> str:
    """Return a sentence on how classes were mapped; empty where they are the same ones in one order.

    Args:
        name: of the model.
        theirs: as for `map_classes`.
        ours: likewise.
        found: what it returned.
        stated: the user said which classes they are.
    """
    known = [(one, place) for one, place in zip(ours, found.places, strict=True) if place is not None]
    if found.is_plain and (found.by_name or _is_nameless(ours) or _is_nameless(theirs)):
        return ""
    if found.is_plain:
        return f"Classes: '{name}' has other names for its {found.count:,}; they are taken by number."
    shown = ", ".join(f"{one} is {place}" + _called(theirs[place], one) for one, place in known[:SHOWN])
    more = ", …" if len(known) > SHOWN else ""
    how = "as stated" if stated else "by name" if found.by_name else "by number, the background aside"
    return (
        f"Classes: of the {found.count:,} of '{name}', {len(known):,} are the data's, {how}: {shown}{more}."
        + (" Its other classes do not count." if found.count > len(known) else "")
    )


def _called(theirs: str, ours: str) -> str:
    return "" if plain(theirs) == plain(ours) or theirs.isdecimal() else f" ({theirs.partition(',')[0]})"


def _is_nameless(names: Sequence[str]) -> bool:
    return all(NUMBERED_NAME.fullmatch(name) for name in names)


def _by_number(theirs: Sequence[str], ours: Sequence[str]) -> ClassMap | None:
    """Return where numbers stand among a model's, each once; None where it only counts its classes."""
    there, here = _numbers(theirs), _numbers(ours)
    times = Counter(there)
    if None in here or there == [*range(len(there))] or any(times[number] != 1 for number in here):
        return None
    return ClassMap(tuple(map(there.index, here)), len(theirs), by_name=True)


def _numbers(names: Sequence[str]) -> list[int | None]:
    """Return the number that each name counts by, None for another name."""
    found = map(NUMBERED_NAME.fullmatch, names)
    return [int(match[1]) if match else None for match in found]


def _by_name(theirs: Sequence[str], ours: Sequence[str]) -> ClassMap | None:
    """Return where names stand among others; None where none does."""
    if _is_nameless(theirs) or _is_nameless(ours):
        return None
    places: list[int | None] = [None] * len(ours)
    for spelled in (_exactly, _wholly, _partly):
        index = _index(map(spelled, theirs))
        for number, name in enumerate(ours):
            if places[number] is None:
                places[number] = _only(index, spelled(name))
    once = [place if places.count(place) == 1 else None for place in places]
    if all(place is None for place in once):
        return None
    return ClassMap(tuple(once), len(theirs), by_name=True)


def _index(spellings: Iterable[set[str]]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for place, names in enumerate(spellings):
        for name in names:
            found.setdefault(name, set()).add(place)
    return found


def _only(index: dict[str, set[int]], spellings: set[str]) -> int | None:
    """Return the one place that a class of these spellings has, None for none or several."""
    places = {place for name in spellings for place in index.get(name, ())}
    return places.pop() if len(places) == 1 else None


def _exactly(name: str) -> set[str]:
    return {plain(name)}


def _wholly(name: str) -> set[str]:
    return {plain(one) for one in (name, words_of(name)) if one}


def _partly(name: str) -> set[str]:
    return {plain(part) for one in (name, words_of(name)) for part in one.split(",") if part.strip()}


def words_of(name: str) -> str:
    """Return the words for a WordNet id of ImageNet's, "tench, Tinca tinca"; empty for another name."""
    return imagenet().get(name, "") if WORDNET_ID.fullmatch(name) else ""


def _as_imagenet(names: Sequence[str]) -> Sequence[str]:
    """Return the WordNet ids of ImageNet's classes, with or without background; others as they are."""
    before = len(names) - 1000
    if before not in (0, 1):
        return names
    ids = [BACKGROUND] * before + [*imagenet()]
    same = sum(bool(_partly(name) & _partly(known)) for name, known in zip(names, ids, strict=True))
    return ids if _is_nameless(names) or same > SAME * len(names) else names
