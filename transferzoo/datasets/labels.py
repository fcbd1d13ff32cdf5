"""Labels: are they classes of the data set, and which class does a folder name mean?"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from transferzoo.base.errors import DataError, few
from transferzoo.datasets.imagenet import WORDNET_ID, imagenet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from transferzoo.zoo.schema import DatasetSpec

LABEL_COLUMNS = ("label", "labels", "fine_label", "cls")
"""What the column of the labels is called in lists and tables; of several the first counts."""
MOST_NUMBERED = 100_000
"""Numbers from here on are names of classes, dates for example, and do not count them."""


def checked(label: object, spec: DatasetSpec, where: str, first: int = 0) -> int:
    """Return `label` as a 0-based class number.

    A string is a name where a class is spelled so, and a number otherwise; but where classes are called by
    numbers that are not their own, as playing cards are, it is a name alone. An integer is a number.

    Args:
        label: an integer, a string that holds one, or the name of a class.
        spec: gives the classes.
        where: names the file and row in an error.
        first: the label of the first class; from 1 on, labels are numbers before they are names.

    Raises:
        DataError: neither an integer in first..first + len(classes) - 1 nor the name of a class.
    """
    if isinstance(label, str) and not first:
        if label in spec.classes:
            return spec.classes.index(label)
        if _is_number(label) and _are_called_by_numbers(spec.classes):
            raise DataError(
                f"{where} has a label that is no class of '{spec.name}'",
                expected=f"the name of one, {few(spec.classes, 20)}",
                got=repr(label),
                hint="classes that are called by numbers do not go by their place",
            )
    try:
        number = int(label) - first if isinstance(label, str | int) else -1
    except ValueError:
        meant = _meant(str(label), spec)
        number = meant[0] if len(meant) == 1 else -1
    if not 0 <= number < len(spec.classes):
        named = "" if str(label).removeprefix("-").isdecimal() else " or the name of a class"
        raise DataError(
            f"{where} has a label that is no class of '{spec.name}'",
            expected=f"an integer in {first}..{first + len(spec.classes) - 1}{named}",
            got=repr(label),
            hint=f"labels are {first}-based",
        )
    return number


def of_folders(folders: Sequence[str], spec: DatasetSpec, home: str) -> dict[str, int]:
    """Return the class of every folder, each by its name (`of_folder`).

    Where the classes are nameless, as ImageNet's are here, and the folders have no numbers, the thousand
    classes of ImageNet go by their WordNet ids ("n01440764"), so that not every one need be there; of other
    classes there must be a folder each, and their sorted order counts.

    Args:
        folders: names of folders in `home`, sorted.
        spec: gives the classes.
        home: names where they lie in an error.

    Raises:
        DataError: a folder is no class.
    """
    nameless = spec.classes == numbered(len(spec.classes))
    if not nameless or any(name.isdecimal() for name in folders):
        return {name: of_folder(name, spec, f"{home}/{name}") for name in folders}
    if len(spec.classes) == 1000 and all(WORDNET_ID.fullmatch(name) for name in folders):
        ids = [*imagenet()]
        if set(folders) <= set(ids):
            return {name: ids.index(name) for name in folders}
    if len(folders) != len(spec.classes):
        raise DataError(
            f"the folders of {home} cannot be told apart",
            expected=f"a folder for each of the {len(spec.classes)} classes of '{spec.name}'",
            got=f"{len(folders)}, {folders[0]} among them",
        )
    return {name: label for label, name in enumerate(folders)}


def of_folder(name: str, spec: DatasetSpec, where: str) -> int:
    """Return the class a folder stands for.

    The folder has the class name (case aside; `t-shirt-top` for `T-shirt/top`) or the 0-based class number,
    which says nothing where classes are called by other numbers, as playing cards are.

    Raises:
        DataError: the name is neither.
    """
    if name in spec.classes:
        return spec.classes.index(name)
    by_place = not _are_called_by_numbers(spec.classes)
    if by_place and name.isdecimal() and int(name) < len(spec.classes):
        return int(name)
    meant = _meant(name, spec)
    if len(meant) == 1:
        return meant[0]
    raise DataError(
        f"{where} is a folder, but no class of '{spec.name}'",
        expected=f"one of {few(spec.classes, 20)}"
        + (f", or a number in 0..{len(spec.classes) - 1}" if by_place else ""),
        got=repr(name),
        hint="rename the folder; the order of folders says nothing",
    )


def _meant(name: str, spec: DatasetSpec) -> list[int]:
    """Return the classes of that name, spelling aside."""
    return [index for index, known in enumerate(spec.classes) if plain(known) == plain(name)]


def _is_number(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


@cache
def _are_called_by_numbers(classes: tuple[str, ...]) -> bool:
    """Return whether a class is called by another number than its own."""
    return any(name.isdecimal() and int(name) != label for label, name in enumerate(classes))


def order_of(names: Sequence[str], spec: DatasetSpec) -> Mapping[int, int] | None:
    """Return which class of a data set each integer of a file is, None where integers are class numbers.

    They are unless every name is another class of the data set, spelling aside; or there are no names, and
    classes are called by numbers that do not count them (`names_of_labels`): dates, for example.

    Args:
        names: of the labels 0, 1, …; none where the file has none.
        spec: gives the classes.
    """
    if not names:
        called = {int(name): label for label, name in enumerate(spec.classes) if name.isdecimal()}
        return called if max(called, default=0) >= MOST_NUMBERED else None
    ours = [plain(name) for name in spec.classes]
    place = {name: label for label, name in enumerate(ours)}
    order = [place.get(plain(name), -1) for name in names]
    if -1 in order or len(place) < len(ours) or len({*order}) < len(order):
        return None
    return None if order == [*range(len(ours))] else dict(enumerate(order))


def names_of_labels(labels: Iterable[object], first: int = 0) -> tuple[str, ...]:
    """Return the class names that labels tell: sorted; where all are numbers, "0", "1", … up to the largest.

    Args:
        labels: integers, strings that hold one, or names.
        first: the label of the first class.
    """
    names = {str(label) for label in labels if label is not None} - {""}
    if names and all(name.isdecimal() for name in names):
        last = max(int(name) for name in names)
        if last < MOST_NUMBERED:
            return numbered(last - first + 1)
    return tuple(sorted(names))


def numbered(count: int) -> tuple[str, ...]:
    """Return the names of so many classes without names: "0", "1", …."""
    return tuple(str(label) for label in range(count))


def class_order(theirs: Sequence[str], ours: Sequence[str]) -> list[int] | None:
    """Return where each of our classes stands among those of a model, None where both are in one order.

    Args:
        theirs: names of a model's classes.
        ours: those of the data set.

    Returns:
        None also where the names are not the same ones, spelling aside: then classes go by their number.
    """
    there, here = [[plain(name) for name in names] for names in (theirs, ours)]
    if there == here or sorted(there) != sorted(here) or len(set(here)) < len(here):
        return None
    return [there.index(name) for name in here]


def plain(name: object) -> str:
    """Return a class name without what spellings differ in; one of signs alone as it is."""
    return _plain(str(name))


@cache  # the names of all models of ImageNet are compared with those of a data set, again and again
def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum()) or name
