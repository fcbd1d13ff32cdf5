"""What lies in a zip, a tar or a gzipped tar, read once from front to back and within bounds."""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from transferzoo.base.errors import DataError, TransferZooError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MOST_MEMBERS = 2_000_000
MOST_BYTES = 200 * 2**30
MOST_RATIO = 200
"""Unpacked bytes a packed one, of archives that unpack to more than `SMALL` bytes."""
SMALL = 2**30
HEADERS = 2**20
"""Bytes that may lie between two files of a tar: names, times, padding."""
BY_HAND = "unpack it yourself, look at it, and give its folder with --data PATH"


@dataclass(frozen=True)
class Member:
    """What an archive says of a file or folder, nothing of which need be true.

    Attributes:
        name: its path, with "/" between the parts.
        kind: "file", "folder", or words for what it is instead.
        size: in bytes.
        open: returns a stream of its bytes, until the next member is asked for.
    """

    name: str
    kind: str
    size: int
    open: Callable[[], IO[bytes]]


def members(archive: Path, raw: IO[bytes], folder: Path) -> Iterator[Member]:
    """Yield the members of an archive.

    Args:
        archive: its file; .zip is a zip, .tar a tar, and anything else a gzipped tar.
        raw: that file, open.
        folder: where it is unpacked to.

    Raises:
        DataError: the archive is damaged or encrypted, or one of the bounds of this module is passed.
        TransferZooError: the disk of `folder` has too little room.
    """
    suffix = archive.suffix.lower()
    if suffix == ".zip":
        return _of_zip(archive, raw, folder)
    stream: Any = raw if suffix == ".tar" else gzip.GzipFile(fileobj=raw)
    return _of_tar(archive, _Metered(archive, stream), folder)


@contextmanager
def whole(archive: Path) -> Iterator[None]:
    """Turn what the readers of archives raise into a sentence; what that is depends on what is damaged.

    Raises:
        DataError: the block raised an exception that is none of this package.
    """
    try:
        yield
    except TransferZooError:
        raise
    except Exception as error:
        raise damaged(archive, f"({type(error).__name__})") from error


def damaged(archive: Path, reason: str, *, expected: str = "", got: str = "") -> DataError:
    """Return the sentence for an archive that contradicts itself."""
    return DataError(
        f"{archive} is damaged {reason}".rstrip(), expected=expected, got=got, hint="fetch it again"
    )


def _bounded(archive: Path, count: int, size: int) -> None:
    """Refuse more members or bytes than a set of images has.

    Args:
        archive: the archive.
        count: members so far.
        size: bytes that it has unpacked to then.

    Raises:
        DataError: a bound is passed.
    """
    by_ratio = max(SMALL, MOST_RATIO * archive.stat().st_size)
    for what, most, got in (
        ("files", MOST_MEMBERS, count),
        ("bytes unpacked", MOST_BYTES, size),
        ("bytes unpacked, by its own size", by_ratio, size),
    ):
        if got > most:
            raise DataError(
                f"{archive} is too large",
                expected=f"at most {most:,} {what}",
                got=f"{got:,} or more",
                hint=BY_HAND,
            )


def _roomy(archive: Path, folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise TransferZooError(
            f"the disk of {folder.parent} has no room for {archive.name}",
            expected=f"{size:,} bytes free",
            got=f"{free:,}",
            hint="free some space, or name another folder in TRANSFERZOO_CACHE",
        )


def _of_zip(archive: Path, raw: IO[bytes], folder: Path) -> Iterator[Member]:
    with whole(archive), zipfile.ZipFile(raw) as archived:
        infos = archived.infolist()
        size = sum(info.file_size for info in infos)
        _bounded(archive, len(infos), size)
        _roomy(archive, folder, size)
        for info in infos:
            if info.flag_bits & 1:
                raise DataError(f"{archive} is encrypted", hint=BY_HAND)
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # zipfile bounds what it unpacks at once for these two alone
                raise DataError(f"{archive} is compressed by another method than deflate", hint=BY_HAND)
            yield Member(info.filename, _zip_kind(info), info.file_size, partial(archived.open, info))


def _zip_kind(info: zipfile.ZipInfo) -> str:
    form = stat.S_IFMT(info.external_attr >> 16)
    if form not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link" if form == stat.S_IFLNK else "neither a file nor a folder"
    return "folder" if info.is_dir() else "file"


class _Metered:
    """What a tar is read through: counts the bytes and stops at a limit, so that no header can be endless.

    Attributes:
        position: bytes read.
        limit: bytes that may be read.
        last: the bytes read last.
    """

    def __init__(self, archive: Path, stream: IO[bytes]) -> None:
        self._archive, self._stream = archive, stream
        self.position, self.limit, self.last = 0, HEADERS, b""

    def read(self, count: int) -> bytes:
        """Read up to `count` bytes.

        Raises:
            DataError: the limit is passed.
        """
        self.last = self._stream.read(count)
        self.position += len(self.last)
        if self.position > self.limit:
            raise damaged(self._archive, "", expected=f"at most {HEADERS:,} bytes between two files")
        return self.last


def _of_tar(archive: Path, metered: Any, folder: Path) -> Iterator[Member]:
    with whole(archive), tarfile.open(fileobj=metered, mode="r|", bufsize=tarfile.RECORDSIZE) as archived:
        _roomy(archive, folder, archive.stat().st_size)
        count = 0
        while (info := archived.next()) is not None:
            archived.members.clear()  # type: ignore[attr-defined]  # it would keep them all
            count += 1
            end = info.offset_data + info.size
            _bounded(archive, count, end)
            _roomy(archive, folder, info.size)
            metered.limit = end + HEADERS
            yield Member(info.name, _tar_kind(info), info.size, partial(_extracted, archived, info, folder))
        _ended(archive, metered, archived.offset)


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "a link"
    if info.isreg() and not info.issparse():
        return "file"
    return "folder" if info.isdir() else "neither a file nor a folder"


def _extracted(archived: tarfile.TarFile, info: tarfile.TarInfo, folder: Path) -> IO[bytes]:
    if hasattr(tarfile, "data_filter"):  # a second opinion, of those Pythons that have one
        tarfile.data_filter(info, str(folder))
    stream = archived.extractfile(info)
    assert stream is not None, info.type
    return stream


def _ended(archive: Path, metered: _Metered, offset: int) -> None:
    """Check that a tar ends with an empty block, and read the rest, which a gzip file's checksum covers.

    tarfile takes a damaged header for the end.

    Args:
        archive: the archive.
        metered: what it was read through, in whole records.
        offset: where tarfile saw its end.
    """
    start = offset - (metered.position - len(metered.last))
    if metered.last[start : start + tarfile.BLOCKSIZE] != bytes(tarfile.BLOCKSIZE):
        raise damaged(archive, "", expected="an empty block at its end")
    metered.limit = metered.position + HEADERS
    while metered.read(tarfile.RECORDSIZE):
        pass
