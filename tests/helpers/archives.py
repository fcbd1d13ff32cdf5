"""Archives written by hand, honest ones and others."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KINDS = ("zip", "tar", "tar.gz", "tgz")
Entry = tuple[str | tarfile.TarInfo, bytes]


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip of files; a name that ends in "/" is a folder."""
    return zipped_as([(zipfile.ZipInfo(name), content) for name, content in files.items()], method)


def zipped_as(entries: Sequence[tuple[zipfile.ZipInfo, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for info, content in entries:
            archive.writestr(info, content, method)
    return buffer.getvalue()


def zip_link(name: str, target: str, form: int = stat.S_IFLNK) -> tuple[zipfile.ZipInfo, bytes]:
    """Return a symbolic link, or what else `form` says."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3  # Unix
    info.external_attr = (form | 0o777) << 16
    return info, target.encode()


def patched(archive: bytes, field: int, value: bytes) -> bytes:
    """Return a zip whose first entry in the directory has other bytes from `field` on."""
    start = archive.index(b"PK\x01\x02") + field
    return archive[:start] + value + archive[start + len(value) :]


def tarred(*entries: Entry, file_format: int = tarfile.GNU_FORMAT) -> bytes:
    """Return a tar of files and whatever a `TarInfo` says."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=file_format) as archive:
        for named, content in entries:
            info = tarfile.TarInfo(named) if isinstance(named, str) else named
            info.size = info.size or len(content)
            archive.addfile(info)
            archive.fileobj.write(content + bytes(-len(content) % tarfile.BLOCKSIZE))
            archive.offset += len(content) + -len(content) % tarfile.BLOCKSIZE
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "", size: int = 0) -> Entry:
    """Return an entry of another kind than a file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info, b""


def gzipped(archive: bytes) -> bytes:
    return gzip.compress(archive, mtime=0)


def packed(files: Mapping[str, bytes], kind: str) -> bytes:
    """Return an archive of one of the `KINDS`."""
    if kind == "zip":
        return zipped(files)
    plain = tarred(*files.items())
    return plain if kind == "tar" else gzipped(plain)
