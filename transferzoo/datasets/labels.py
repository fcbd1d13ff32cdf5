"""Labels: are they classes of the data set, and which class does a folder name mean?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from transferzoo.errors import DataError

if TYPE_CHECKING:
    from transferzoo.specs import DatasetSpec


def checked(label: object, spec: DatasetSpec, where: str) -> int:
    """Return `label` as a 0-based class number.

    Args:
        label: an integer, or a string that holds one.
        spec: gives the classes.
        where: names the file and row in an error.

    Raises:
        DataError: not an integer in 0..len(classes) - 1.
    """
    try:
        number = int(label) if isinstance(label, str | int) else -1
    except ValueError:
        number = -1
    if not 0 <= number < len(spec.classes):
        raise DataError(
            f"{where} has a label that is no class of '{spec.name}'",
            expected=f"an integer in 0..{len(spec.classes) - 1}",
            got=repr(label),
            hint="labels are 0-based",
        )
    return number


def of_folder(name: str, spec: DatasetSpec, where: str) -> int:
    """Return the class a folder stands for.

    The folder bears the class name (case aside; `t-shirt-top` for `T-shirt/top`) or the 0-based class number.

    Raises:
        DataError: the name is neither.
    """
    if name in spec.classes:
        return spec.classes.index(name)
    if name.isdecimal() and int(name) < len(spec.classes):
        return int(name)
    meant = [index for index, known in enumerate(spec.classes) if _plain(known) == _plain(name)]
    if len(meant) == 1:
        return meant[0]
    known = ", ".join(spec.classes[:20]) + (", …" if len(spec.classes) > 20 else "")
    raise DataError(
        f"{where} is a folder, but no class of '{spec.name}'",
        expected=f"one of {known}, or a number in 0..{len(spec.classes) - 1}",
        got=repr(name),
        hint="rename the folder; the order of folders says nothing",
    )


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "-", name.casefold()).strip("-")
