"""Archives of images, unpacked once into a cache folder named by the archive's SHA-256.

An archive is what a stranger wrote: it may name files outside its folder, hold links and devices, unpack to a
thousand times its size, or lie about sizes. So nothing is left to the archive: what is made are folders and
new files, below a new folder, under names that were checked, and no larger than was declared.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from transferzoo.base.atomic import writing
from transferzoo.base.cache_folder import cache_folder
from transferzoo.base.digests import digest_of
from transferzoo.base.errors import DataError
from transferzoo.datasets.kept_folder import kept_folder
from transferzoo.datasets.members import BY_HAND, damaged, members, whole
from transferzoo.datasets.pixels import SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transferzoo.datasets import OnProgress
    from transferzoo.datasets.members import Member

KEPT = SUFFIXES | {".csv", ".json", ".parquet", ".txt"}
"""Suffixes of the files that are unpacked; others are passed over."""
CHUNK = 2**20
KIND = "unpacked"
"""Folder of the cache that archives are unpacked in."""


def is_archive(path: Path) -> bool:
    """Return whether a path is a file with the name of an archive: .zip, .tar, .tar.gz or .tgz."""
    return path.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz")) and path.is_file()


def unpacked(archive: Path, on_progress: OnProgress = lambda *_: None) -> Path:
    """Return the folder that an archive unpacks to, unpacked unless it is there already.

    The folder lies in `unpacked/` under the variable TRANSFERZOO_CACHE, by default ~/.cache/transferzoo, and
    is whole or absent (`kept_folder`). Images, tables and texts are written; other and hidden files are not.

    Args:
        archive: a zip, a tar or a gzipped tar.
        on_progress: called with the bytes of the archive that are done, and all.

    Raises:
        DataError: the archive is damaged, encrypted, holds no image or table, or has anything in it that a
            set of images has no need of: a name that leads elsewhere, a link, a device, a name twice, a size
            that is not what comes; or it passes a bound of `datasets.members`.
        TransferZooError: the cache cannot be written, or the disk has too little room.
    """
    with whole(archive):
        digest = digest_of(archive, 64)
    return kept_folder(KIND, digest, lambda folder: _unpack(archive, folder, on_progress))


def archive_of(path: Path) -> Path | None:
    """Return the folder of an unpacked archive that a path leads into, links resolved; None for none."""
    cache, real = cache_folder(KIND).resolve(), path.resolve()
    return cache / real.relative_to(cache).parts[0] if cache in real.parents else None


def _unpack(archive: Path, folder: Path, on_progress: OnProgress) -> None:
    packed, count = archive.stat().st_size, 0
    with archive.open("rb") as raw:
        for member in members(archive, raw, folder):
            parts = _parts(archive, member)
            if member.kind == "file" and _wanted(parts):
                _write(archive, member, folder.joinpath(*parts))
                count += 1
            on_progress(raw.tell(), packed)
    if not count:
        raise DataError(
            f"{archive} holds no image and no table", expected=f"files that end in {', '.join(sorted(KEPT))}"
        )


def _parts(archive: Path, member: Member) -> list[str]:
    """Return the parts of a member's name.

    Raises:
        DataError: on some system the name leads out of a folder, or the member is neither file nor folder.
    """
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    strange = ".." in parts or any(re.match("[A-Za-z]:", part) for part in parts)
    if strange or member.name.startswith("/") or "\\" in member.name or "\0" in member.name:
        raise DataError(
            f"{archive} holds a name that leads out of its folder",
            expected="relative names",
            got=repr(member.name[:80]),
            hint=BY_HAND,
        )
    if member.kind not in ("file", "folder"):
        raise DataError(
            f"{archive} holds what is {member.kind}",
            expected="files and folders",
            got=repr(member.name[:80]),
            hint=BY_HAND,
        )
    return parts


def _wanted(parts: list[str]) -> bool:
    hidden = any(part.startswith(".") for part in parts)
    return bool(parts) and not hidden and Path(parts[-1]).suffix.lower() in KEPT


def _write(archive: Path, member: Member, file: Path) -> None:
    with writing(file.parent):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            stream = file.open("xb")
        except (FileExistsError, NotADirectoryError):
            raise DataError(f"{archive} holds {member.name[:80]!r} twice", hint=BY_HAND) from None
        with stream:
            for chunk in _chunks(archive, member):
                stream.write(chunk)


def _chunks(archive: Path, member: Member) -> Iterator[bytes]:
    """Yield the bytes of a file, as many as were declared; zipfile and tarfile stop there.

    Raises:
        DataError: fewer come, or they are damaged.
    """
    got = 0
    with whole(archive), member.open() as source:
        while chunk := source.read(CHUNK):
            got += len(chunk)
            yield chunk
    if got != member.size:
        raise damaged(
            archive, "or lies", expected=f"{member.size} bytes of {member.name[:80]!r}", got=str(got)
        )
