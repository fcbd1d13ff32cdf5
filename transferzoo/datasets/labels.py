"""Labels: are they classes of the data set, and which class does a folder name mean?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.base.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferzoo.zoo.schema import DatasetSpec


def checked(label: object, spec: DatasetSpec, where: str, first: int = 0) -> int:
    """Return `label` as a 0-based class number.

    Args:
        label: an integer, or a string that holds one.
        spec: gives the classes.
        where: names the file and row in an error.
        first: the label of the first class.

    Raises:
        DataError: not an integer in first..first + len(classes) - 1.
    """
    try:
        number = int(label) - first if isinstance(label, str | int) else -1
    except ValueError:
        number = -1
    if not 0 <= number < len(spec.classes):
        raise DataError(
            f"{where} has a label that is no class of '{spec.name}'",
            expected=f"an integer in {first}..{first + len(spec.classes) - 1}",
            got=repr(label),
            hint=f"labels are {first}-based",
        )
    return number


def of_folders(folders: Sequence[str], spec: DatasetSpec, home: str) -> dict[str, int]:
    """Return the class of every folder, each by its name (`of_folder`).

    Where the classes are nameless, as ImageNet's are here, and the folders have no numbers, there must be one
    folder a class, and their sorted order counts.

    Args:
        folders: names of folders in `home`, sorted.
        spec: gives the classes.
        home: names where they lie in an error.

    Raises:
        DataError: a folder is no class.
    """
    nameless = spec.classes == tuple(str(label) for label in range(len(spec.classes)))
    if not nameless or any(name.isdecimal() for name in folders):
        return {name: of_folder(name, spec, f"{home}/{name}") for name in folders}
    if len(folders) != len(spec.classes):
        raise DataError(
            f"the folders of {home} cannot be told apart",
            expected=f"a folder for each of the {len(spec.classes)} classes of '{spec.name}'",
            got=f"{len(folders)}, {folders[0]} among them",
        )
    return {name: label for label, name in enumerate(folders)}


def of_folder(name: str, spec: DatasetSpec, where: str) -> int:
    """Return the class a folder stands for.

    The folder has the class name (case aside; `t-shirt-top` for `T-shirt/top`) or the 0-based class number.

    Raises:
        DataError: the name is neither.
    """
    if name in spec.classes:
        return spec.classes.index(name)
    if name.isdecimal() and int(name) < len(spec.classes):
        return int(name)
    meant = [index for index, known in enumerate(spec.classes) if plain(known) == plain(name)]
    if len(meant) == 1:
        return meant[0]
    known = ", ".join(spec.classes[:20]) + (", …" if len(spec.classes) > 20 else "")
    raise DataError(
        f"{where} is a folder, but no class of '{spec.name}'",
        expected=f"one of {known}, or a number in 0..{len(spec.classes) - 1}",
        got=repr(name),
        hint="rename the folder; the order of folders says nothing",
    )


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
    letters = "".join(character for character in str(name).casefold() if character.isalnum())
    return letters or str(name)
