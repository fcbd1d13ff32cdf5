"""Two files on the loopback Hub, one of git and one stored as LFS, and what is asked about them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "hf_secretsecretsecret"
TEXT, WEIGHTS = b"written in git", b"stored as LFS" * 100
FILES = {"owner/model/a.txt": TEXT, "owner/model/w.safetensors": WEIGHTS}
HASHES = {"a.txt": ("git SHA-1", ""), "w.safetensors": ("SHA-256", hashlib.sha256(WEIGHTS).hexdigest())}


def downloading(file: str, **options: Any) -> tuple[str, dict[str, Any]]:
    return "download_file", {"repo": "owner/model", "file": file, **options}


def left(home: Path) -> list[Path]:
    """Return the files and links of the cache that stand for content."""
    return [
        path
        for kind in ("blobs", "snapshots")
        for path in home.glob(f"hub/*/{kind}/**/*")
        if not path.is_dir()
    ]
