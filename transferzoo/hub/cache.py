"""What the Hub's client keeps on this machine, looked at without the client, whose import takes a while."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

MAIN = "main"
"""The branch that stands for no revision."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TRUE = ("1", "ON", "YES", "TRUE")


def cache_folder() -> Path:
    """Return where the client keeps files: `HF_HUB_CACHE`, else `hub` in `HF_HOME`."""
    client = sys.modules.get("huggingface_hub.constants")
    if client is not None:  # which reads the variables once
        return Path(client.HF_HUB_CACHE)
    caches = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("HF_HOME", f"{caches}/huggingface")
    named = os.environ.get("HF_HUB_CACHE", os.environ.get("HUGGINGFACE_HUB_CACHE", f"{home}/hub"))
    return Path(os.path.expandvars(named)).expanduser()


def offline() -> bool:
    """Return whether the client may ask nobody: `HF_HUB_OFFLINE`."""
    client = sys.modules.get("huggingface_hub.constants")
    if client is not None:
        return bool(client.HF_HUB_OFFLINE)
    said = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return said.upper() in _TRUE


def snapshot(repo: str, revision: str | None = None, repo_type: str = "model") -> Path | None:
    """Return the folder with the files of a repository that are on this machine, None without any.

    Args:
        repo: "OWNER/NAME".
        revision: a commit, tag or branch; the default branch, as it was when it was last asked for, if None.
        repo_type: "model" or "dataset".
    """
    place = cache_folder() / f"{repo_type}s--{repo.replace('/', '--')}"
    commit = revision or MAIN
    if not _COMMIT.fullmatch(commit):
        try:
            commit = (place / "refs" / commit).read_text(encoding="utf-8").strip()
        except OSError:
            return None
    folder = place / "snapshots" / commit
    return folder if folder.is_dir() else None


def held(repo: str, repo_type: str, digest: str) -> Path:
    """Return where the content of a file lies, whatever commits it belongs to; it need not exist."""
    return cache_folder() / f"{repo_type}s--{repo.replace('/', '--')}" / "blobs" / digest


def drop_partial() -> None:
    """Delete what this process has of unfinished downloads, where the system tells which files are open."""
    try:
        opened = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    except OSError:
        return
    for path in opened:
        if path.name.endswith(".incomplete") and cache_folder().resolve() in path.parents:
            path.unlink(missing_ok=True)


def known_absent(folder: Path, file: str) -> bool:
    """Return whether the Hub said that a file is not in a repository at the commit of a snapshot."""
    return (folder.parents[1] / ".no_exist" / folder.name / file).exists()


def kept_digest(path: Path) -> str:
    """Return the hash that the cache knows a file by, empty without one.

    A SHA-256 (64 digits), or of what is no LFS file the SHA-1 that is its name in git (40 digits).
    """
    name = path.readlink().name if path.is_symlink() else ""
    return name if len(name) in (40, 64) and re.fullmatch(r"[0-9a-f]+", name) else ""
