"""Names of files for names of other things: one to one, on every file system."""

from __future__ import annotations

import hashlib
import re

LONGEST = 80
"""Characters that are kept of a name; with the digest behind them they fit every file system."""


def file_name(name: str) -> str:
    """Return the file name of a name: itself where every file system keeps it as it is, else with a digest.

    Of "fashion-mnist/vgg" it is "fashion-mnist-vgg-" and twelve digits of its SHA-256; so neither "a/b" and
    "a--b" nor, where file systems know no case, "a" and "A" share a file.
    """
    plain = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-.")[:LONGEST]
    if plain == name and not _like_a_digest(plain):
        return plain
    return f"{plain or 'name'}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _like_a_digest(name: str) -> bool:
    """Return whether a name could be one that has got a digest."""
    return bool(re.search(r"-[0-9a-f]{12}$", name))
