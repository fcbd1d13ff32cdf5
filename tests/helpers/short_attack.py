"""A short attack on the built-in models and on models of the user's own, and what came of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Result
    from helpers.refusals import Run

TRY = ("attack", "-s", "resnet50-sgd", "-t", "vgg", "--steps", 3, "--images", 20)


def records(cli: Run, few: Path, *flags: object) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the record of every surrogate and target by their short names."""
    return by_pair(cli(*TRY, "--data", few, *flags, "--json"))


def by_pair(result: Result) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the records that a command printed, by surrogate and target."""
    assert result.code == 0, result.err
    found = json.loads(result.out)["records"]
    return {(r["surrogate"].rpartition("/")[2], r["target"].rpartition("/")[2]): r for r in found}
