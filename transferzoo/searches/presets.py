"""What a search found as a preset, and the zoo file that it is written to. Nothing here imports torch."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from transferzoo.base.atomic import write_text
from transferzoo.base.errors import UsageError
from transferzoo.base.yaml_file import read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from transferzoo.searches.moves import Candidate

SECTION = "attacks:"


def preset_lines(name: str, best: Candidate, curve: Mapping[Candidate, float], how: str) -> list[str]:
    """Return the lines of a zoo file's `attacks:` that are an attack, its curve in a comment.

    Args:
        name: of the preset.
        best: the attack.
        curve: success after fewer gradients, in [0, 1].
        how: what it was chosen by, in a sentence.
    """
    points = ", ".join(f"{one.gradients}: {100 * rate:.1f} %" for one, rate in curve.items())
    entry = best.entry
    about = f"the strongest of {best.gradients} gradients that transferzoo search found"
    return [
        f"  # {how}",
        f"  # Success there by gradients an image: {points}.",
        f"  {name}: {{spec: {json.dumps('+'.join(best.techniques))}, step: {entry.step}, "
        f"steps: {entry.steps}, about: {about}}}",
    ]


def check_place(path: Path | None, name: str) -> None:
    """Check that a preset can be written to a zoo file: one that is not there yet, or has none of that name.

    Raises:
        UsageError: the name is no name of a preset, or the file has it already or cannot be added to.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise UsageError(
            "the preset cannot have this name", expected="small letters, digits and hyphens", got=f"'{name}'"
        )
    if path is None or not path.exists():
        return
    attacks = read_yaml(path).data.get("attacks", {})
    if name in attacks:
        raise UsageError(f"{path} has an attack '{name}' already", expected="another --name")
    if attacks and SECTION not in path.read_text(encoding="utf-8").splitlines():
        raise UsageError(
            f"{path} has its attacks in braces, where nothing can be added", expected=f"a line `{SECTION}`"
        )


def save_preset(path: Path, lines: Sequence[str]) -> None:
    """Write a preset to a zoo file, below its `attacks:`; the rest stays as it is.

    Raises:
        TransferZooError: the file cannot be written.
    """
    there = path.read_text(encoding="utf-8").splitlines() if path.exists() else ["schema: 1"]
    if SECTION not in there:
        there += ["", SECTION]
    place = there.index(SECTION) + 1
    write_text(path, "\n".join([*there[:place], *lines, *there[place:]]) + "\n")
