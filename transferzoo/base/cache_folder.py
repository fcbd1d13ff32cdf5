"""Where what can be made again is kept between commands."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """Return the folder of one kind of thing, under TRANSFERZOO_CACHE or in ~/.cache/transferzoo."""
    return Path(os.environ.get("TRANSFERZOO_CACHE") or "~/.cache/transferzoo").expanduser() / kind
