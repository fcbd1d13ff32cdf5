"""What a search found as a preset, and the zoo file that it is written to. Nothing here imports torch."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import yaml

from transferzoo.base.atomic import write_text
from transferzoo.base.errors import UsageError
from transferzoo.base.yaml_file import read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from transferzoo.searches.moves import Candidate

SECTION = re.compile(r"^attacks:[ \t]*(#.*)?$", re.MULTILINE)
"""The line of a zoo file below which its attacks are."""


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
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or yaml.safe_load(name) != name:
        raise UsageError(
            "the preset cannot have this name",
            expected="small letters, digits and hyphens, a letter first, no word like null",
            got=f"'{name}'",
        )
    if path is None:
        return
    attacks = _attacks(_content(path), path)
    if name not in attacks:
        _with_preset(path, [f"{name}: {{}}"])
    elif _about(gradients) not in str(attacks[name]):
        raise _taken(path, name)


def _content(path: Path) -> dict[str, Any]:
    return read_yaml(path).data if path.exists() else {"schema": 1}


def _attacks(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    attacks = content.get("attacks") or {}
    if not isinstance(attacks, dict):
        raise _no_place(path)
    return attacks


def _taken(path: Path, name: str) -> UsageError:
    return UsageError(f"{path} has another attack '{name}' already", expected="another --name")


def _no_place(path: Path) -> UsageError:
    return UsageError(
        f"no attack can be added to {path}",
        expected="a line `attacks:`, and the attacks on lines below it, not in braces",
    )


def save_preset(path: Path, name: str, lines: Sequence[str]) -> bool:
    """Write a preset to a zoo file, below its `attacks:`; the rest stays as it is.

    Args:
        path: of the file.
        name: of the preset.
        lines: as of `preset_lines`.

    Returns:
        Whether it was written; a file that has it already stays as it is.

    Raises:
        UsageError: the file has another preset of that name, or cannot be added to.
        TransferZooError: it cannot be written.
    """
    attacks = _attacks(_content(path), path)
    if name in attacks:
        if attacks[name] != yaml.safe_load("\n".join(lines))[name]:
            raise _taken(path, name)
        return False
    write_text(path, _with_preset(path, lines))
    return True


def _with_preset(path: Path, lines: Sequence[str]) -> str:
    """Return the text of a zoo file with the lines of a preset that it has not, indented as its first one is.

    Raises:
        UsageError: lines there would not be a further preset, or change what else the file says.
    """
    content = _content(path)
    text = path.read_text(encoding="utf-8") if path.exists() else "schema: 1\n"
    if "attacks" not in content:
        text = text.rstrip("\n") + "\n\nattacks:\n"
    section = SECTION.search(text)
    if section is None:
        raise _no_place(path)
    before, after = text[: section.end()], text[section.end() :] or "\n"
    first = re.search(r"^( *)[^\s#]", after, re.MULTILINE)
    indent = (first and first[1]) or "  "
    found = "\n".join([before, *(indent + line.strip() for line in lines)]) + after
    wanted = {**content, "attacks": _attacks(content, path) | yaml.safe_load("\n".join(lines))}
    try:
        if yaml.safe_load(found) == wanted:
            return found
    except yaml.YAMLError:
        pass
    raise _no_place(path)
