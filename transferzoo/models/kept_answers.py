"""What a served model has answered, kept on this machine so that no image is asked for twice.

One file of SQLite a model, which several processes may use at once: they share its pace too.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from transferzoo.base.errors import TransferZooError, reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (image BLOB PRIMARY KEY, answer BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS pace (one INTEGER PRIMARY KEY, last REAL NOT NULL);
"""
_WAIT = 60.0
"""Seconds for which another process may hold the file."""
_BEFORE = 32
"""Requests of other processes that one waits for at most; more, a clock has been set back."""


class KeptAnswers:
    """Answers by image.

    Args:
        path: of the file; where it cannot be used, this process remembers the answers alone.
    """

    def __init__(self, path: Path) -> None:
        self._base, self._path = _opened(path), path

    def known(self, images: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the answers that are known, by the digest of their images.

        Raises:
            TransferZooError: the file cannot be used any more; so do `add` and `wait`.
        """
        found = {}
        with self._usable():
            for image in images:
                row = self._base.execute("SELECT answer FROM answers WHERE image = ?", (image,)).fetchone()
                if row is not None:
                    found[image] = row[0]
        return found

    def add(self, answers: Mapping[bytes, bytes]) -> None:
        """Keep answers by the digest of their images."""
        with self._usable(), self._base:
            self._base.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", answers.items())

    def wait(self, per_second: float) -> None:
        """Wait until one more request keeps to so many a second, of all processes together."""
        with self._usable(), self._base:
            self._base.execute("BEGIN IMMEDIATE")
            row = self._base.execute("SELECT last FROM pace").fetchone()
            now = time.time()
            last = min(row[0] if row else 0.0, now + max(_WAIT, _BEFORE / per_second))
            pause = max(0.0, last + 1 / per_second - now)
            self._base.execute("INSERT OR REPLACE INTO pace VALUES (1, ?)", (now + pause,))
        time.sleep(pause)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise TransferZooError(
                f"the answers kept in {self._path} cannot be used: {reason(error)}",
                hint="free some space, wait until nothing else uses it, or delete it: all is then asked anew",
            ) from error


def _opened(path: Path) -> sqlite3.Connection:
    """Open a file of answers; one that cannot be read is made anew, and without a place there is none."""
    for place in (path, path, None):
        try:
            if place is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
            base = sqlite3.connect(place or ":memory:", timeout=_WAIT, check_same_thread=False)
            base.executescript(_TABLES)
            with base:  # shows whether it can be written
                base.execute("DELETE FROM answers WHERE image IS NULL")
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.OperationalError):
                with suppress(OSError):
                    path.unlink()
        except OSError:
            pass
        else:
            return base
    raise AssertionError("SQLite always has memory")
