"""What a search found as a preset, and the zoo file that it is written to. Nothing here imports torch."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import yaml

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
    return [
        f"  # {how}",
        f"  # Success there by gradients an image: {points}.",
        f"  {name}: {{spec: {json.dumps('+'.join(best.techniques))}, step: {entry.step}, "
        f"steps: {entry.steps}, about: {_about(best.gradients)}}}",
    ]


def _about(gradients: int) -> str:
    return f"the strongest of {gradients} gradients that transferzoo search found"


def check_place(path: Path | None, name: str, gradients: int) -> None:
    """Check that a preset can be written to a zoo file.

    That is one that is not there yet, has none of that name, or one that a search at this cost has found:
    whether it is the same is known when it is found again, see `save_preset`.

    Raises:
        UsageError: the name is no name of a preset, or the file has another one or cannot be added to.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise UsageError(
            "the preset cannot have this name", expected="small letters, digits and hyphens", got=f"'{name}'"
        )
    if path is None or not path.exists():
        return
    attacks = read_yaml(path).data.get("attacks", {})
    if name in attacks and _about(gradients) not in str(attacks[name]):
        raise _taken(path, name)
    if attacks and SECTION not in path.read_text(encoding="utf-8").splitlines():
        raise UsageError(
            f"{path} has its attacks in braces, where nothing can be added", expected=f"a line `{SECTION}`"
        )


def _taken(path: Path, name: str) -> UsageError:
    return UsageError(f"{path} has another attack '{name}' already", expected="another --name")


def save_preset(path: Path, name: str, lines: Sequence[str]) -> bool:
    """Write a preset to a zoo file, below its `attacks:`; the rest stays as it is.

    Args:
        path: of the file.
        name: of the preset.
        lines: as of `preset_lines`.

    Returns:
        Whether it was written; a file that has it already stays as it is.

    Raises:
        UsageError: the file has another preset of that name.
        TransferZooError: it cannot be written.
    """
    attacks = read_yaml(path).data.get("attacks", {}) if path.exists() else {}
    if name in attacks:
        if attacks[name] != yaml.safe_load("\n".join(lines))[name]:
            raise _taken(path, name)
        return False
    there = path.read_text(encoding="utf-8").splitlines() if path.exists() else ["schema: 1"]
    if SECTION not in there:
        there += ["", SECTION]
    place = there.index(SECTION) + 1
    write_text(path, "\n".join([*there[:place], *lines, *there[place:]]) + "\n")
    return True
