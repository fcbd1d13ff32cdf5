"""Files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from transferzoo.base.errors import TransferZooError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, it takes the place of `path`.

    Raises:
        TransferZooError: the folder cannot be written or the disk is full; `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path.parent):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder and below, not what is being written.

    A number of a killed process that another has got since keeps its file until a later sweep.
    """
    for leftover in folder.rglob(".*.tmp"):
        writer = leftover.name.split(".")[-2]
        if not writer.isdecimal() or int(writer) == os.getpid() or not _is_alive(int(writer)):
            leftover.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":
        return False  # asking would end it there
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # another user's
    return True


def _umask() -> int:
    """Return the process's umask; some writers make files only their owner can read."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


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
        reason = "the disk is full" if full else (error.strerror or str(error)).lower()
        raise TransferZooError(f"cannot write to {place}: {reason}", hint=hint) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically.

    Weights come here serialised: torch and safetensors would report a full disk as errors of their own, and
    safetensors would make the file readable for its owner alone.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: object) -> None:
    """Write an indented JSON file atomically, keys in the order given."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
