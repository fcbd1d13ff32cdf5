"""A disk that is full when files of some names are written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest


def fill_disk(patch: pytest.MonkeyPatch, *names: str) -> None:
    """Let what is written for these files go to /dev/full, where the system itself refuses it."""
    undisturbed = Path.open

    def open_file(path: Path, *arguments: Any, **options: Any) -> Any:
        stream = undisturbed(path, *arguments, **options)
        if not any(path.match(f".{name}.*.tmp") for name in names) or stream.mode != "wb":
            return stream
        stream.close()
        return Path("/dev/full").open("wb")

    patch.setattr(Path, "open", open_file)
