"""Folders of the cache that are made once, under a name that tells what they hold: whole, or absent."""

from __future__ import annotations

import json
import shutil
import zlib
from typing import TYPE_CHECKING

from transferzoo.base.atomic import writing
from transferzoo.base.cache_folder import cache_folder
from transferzoo.base.foreign_files import read_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTENTS = ".contents.json"
"""File of such a folder that lists the others."""
MOST_READ = 2**30
"""Bytes of a folder that are read to see whether they are still the same."""


def kept_folder(kind: str, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder of the cache, made unless it is there already.

    A process that is killed leaves nothing that counts, and of several at once one makes it and the others
    wait for it.

    Args:
        kind: folder of the cache that it lies in.
        name: what tells it from others of its kind.
        make: writes all files into an empty folder.

    Raises:
        TransferZooError: the cache cannot be written.
    """
    from filelock import FileLock

    cache = cache_folder(kind)
    folder = cache / name
    if _is_whole(folder):
        return folder
    part = cache / f".{name}.part"
    with writing(cache):
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f".{name}.lock"):
            if not _is_whole(folder):
                for old in (part, folder):  # what a killed process left, or what was damaged since
                    shutil.rmtree(old, ignore_errors=True)
                try:
                    part.mkdir()
                    make(part)
                    (part / CONTENTS).write_text(json.dumps(_contents(part)), encoding="utf-8")
                    part.rename(folder)
                finally:
                    shutil.rmtree(part, ignore_errors=True)
    return folder


def _is_whole(folder: Path) -> bool:
    """Return whether a folder holds what was written into it, file by file and byte by byte.

    Of more than `MOST_READ` bytes the sizes are compared alone: they are read when they are used.
    """
    try:
        known = read_json(folder / CONTENTS)
        return bool(known == _contents(folder))
    except (OSError, ValueError):
        return False


def _contents(folder: Path) -> dict[str, list[int]]:
    """Return the size of every file below a folder, and its CRC-32 where all are few bytes."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != CONTENTS]
    sizes = {path: path.stat().st_size for path in files}
    few = sum(sizes.values()) <= MOST_READ
    return {
        path.relative_to(folder).as_posix(): [size, *([zlib.crc32(path.read_bytes())] if few else [])]
        for path, size in sizes.items()
    }
