"""Files of others, read within bounds: whatever they hold, reading ends soon, in a value or in an error.

A pipe or a device could be read for ever, a small gzip file can unpack to a disk full, and JSON can be nested
more deeply than Python can follow, or hold numbers and characters that nothing here can.
"""

from __future__ import annotations

import csv
import errno
import gzip
import io
import json
import math
import re
import stat
import zlib
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 256 * 2**20
"""Bytes of a text that is read as a whole."""
MOST_DEPTH = 100
"""Brackets around a value."""
MOST_RATIO = 100
"""Unpacked bytes a packed one, of gzip files that unpack to more than `SMALL` bytes."""
SMALL = 64 * 2**20
_LARGEST = 2**64
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def check_regular(path: Path) -> None:
    """Check that a path, if there is something, leads to a file or a folder.

    Raises:
        OSError: it leads to a pipe, a socket or a device.
    """
    mode = path.stat().st_mode if path.exists() else stat.S_IFREG
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "It is a pipe or a device, not a file", str(path))


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return what a file holds.

    Raises:
        OSError: it cannot be read, is no file, or is larger than `most` bytes.
    """
    check_regular(path)
    with path.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"It is larger than {most:,} bytes", str(path))
    return content


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """Return the UTF-8 text that a file holds, line ends as they are.

    Raises:
        OSError: see `read_bytes`.
        ValueError: it is not UTF-8.
    """
    return read_bytes(path, most).decode("utf-8")


def read_csv(path: Path) -> csv.DictReader[str]:
    """Return the rows of a CSV file, by the names in its first line.

    Raises:
        OSError: see `read_bytes`.
        ValueError: it is not UTF-8. What is no CSV raises `csv.Error` once its rows are read.
    """
    text = io.StringIO(read_text(path).removeprefix("\ufeff"), newline="")
    return csv.DictReader(text, skipinitialspace=True)


def read_json(path: Path, *, finite: bool = True) -> Any:
    """Return what a JSON file holds; see `parse_json`.

    Raises:
        OSError: see `read_bytes`.
        ValueError: see `parse_json`.
    """
    return parse_json(read_text(path), finite=finite)


def parse_json(text: str, *, finite: bool = True) -> Any:
    """Return what a JSON text says.

    Args:
        text: JSON.
        finite: refuse infinite numbers and NaN, which Python writes and JSON does not have.

    Raises:
        ValueError: it is no JSON, is nested more than `MOST_DEPTH` deep, or holds a number beyond 64 bits or
            half of a character.
    """
    try:
        value = json.loads(
            text,
            parse_int=_whole,
            parse_float=_finite if finite else float,
            parse_constant=_refuse if finite else float,
        )
    except RecursionError:
        raise _too_deep() from None
    if text.count("[") + text.count("{") > MOST_DEPTH:
        _check_depth(value)
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("it holds half of a character (a lone surrogate)") from None
    return value


def unpack_gzip(path: Path, most: int | None = None) -> bytes:
    """Return what a gzip file unpacks to.

    Args:
        path: the file.
        most: bytes that it may unpack to; by default `MOST_RATIO` times its size, or `SMALL`.

    Raises:
        OSError: see `read_bytes`.
        ValueError: it is no whole gzip file, or unpacks to more.
    """
    check_regular(path)
    bound = max(SMALL, MOST_RATIO * path.stat().st_size)
    most = bound if most is None else min(most, bound)
    try:
        with gzip.open(path) as stream:
            content = stream.read(most + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError("it is no whole gzip file") from error
    if len(content) > most:
        raise ValueError(f"it unpacks to more than {most:,} bytes")
    return content


def _whole(digits: str) -> int:
    if len(digits) > 21 or abs(int(digits)) > _LARGEST:
        raise ValueError(f"the number {digits[:12]}… has more than 64 bits")
    return int(digits)


def _finite(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise ValueError(f"the number {digits[:12]} is too large")
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MOST_DEPTH + 1):
        level = [one for one in level if isinstance(one, dict | list)]
        if not level:
            return
        level = [part for one in level for part in (one.values() if isinstance(one, dict) else one)]
    raise _too_deep()


def _too_deep() -> ValueError:
    return ValueError(f"it is nested more than {MOST_DEPTH} deep")
