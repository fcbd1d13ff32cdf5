"""Files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from transferzoo.base.errors import TransferZooError, refusal
from transferzoo.base.foreign_files import check_regular

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_NAME = re.compile(r"\..+\.[0-9a-f]+\.tmp")
UNLOCKED_AGE = 86_400
"""Seconds after which a temporary file that cannot be locked counts as left by a killed process."""


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file for writing; when the block ends well, it takes the place of `path`.

    The file lies beside `path` under a name of its own and is locked until it has taken that place, so that
    `sweep` in another process, container or thread knows it from what a killed process left.

    Raises:
        TransferZooError: the folder cannot be written or the disk is full; `path` is as it was.
    """
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        try:  # before there is a file: Ctrl-C may come at any moment
            with _locked_file(temporary) as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
                if fcntl is None:  # Windows renames no open file
                    stream.close()
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder and below, not what is being written.

    Where the file system has no locks, a file counts as left once nobody wrote to it for `UNLOCKED_AGE`.
    """
    for leftover in folder.rglob(".*.tmp"):
        if not _NAME.fullmatch(leftover.name) or not leftover.is_file():
            continue
        with suppress(OSError), leftover.open("rb") as stream:  # another process may be faster
            free = _lock(stream, shared=True)
            if free is None:
                free = time.time() - leftover.stat().st_mtime > UNLOCKED_AGE
            if free:
                leftover.unlink()


def _locked_file(path: Path) -> BinaryIO:
    """Return a new file, locked where the file system has locks, and open for writing."""
    while True:
        stream = path.open("wb")
        if _lock(stream) is not False and os.fstat(stream.fileno()).st_nlink:
            return stream
        stream.close()  # swept before it was locked


def _lock(stream: BinaryIO, *, shared: bool = False) -> bool | None:
    """Lock a file until it is closed or the process ends; return whether that went, None without locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write into a sentence.

    Raises:
        TransferZooError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free some space and run the same command again" if full else "choose a folder you may write"
        reason = "the disk is full" if full else refusal(error)
        raise TransferZooError(f"cannot write to {place}: {reason}", hint=hint) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically.

    Weights come here serialised: torch and safetensors would report a full disk as errors of their own, and
    safetensors would make the file readable for its owner alone.
    """
    with replacing(path) as stream:
        stream.write(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: object) -> None:
    """Write an indented JSON file atomically, keys in the order given."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    check_regular(path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
