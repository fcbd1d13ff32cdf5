"""The cache of the Hub's client: look-ups without the client's HTTP library, and removals."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import constants

from transferzoo.base.errors import TransferZooError


def is_commit(revision: str | None) -> bool:
    """Return whether a revision is a full commit hash, whose files never change."""
    return bool(re.fullmatch(r"[0-9a-f]{40}", revision or ""))


def cached_snapshot(repo: str, revision: str | None = None, repo_type: str = "model") -> Path | None:
    """Return the folder with the cached files of a repository at a revision, None without any.

    The client's own `try_to_load_from_cache` looks in the same places. Importing it loads an HTTP library,
    which would make `transferzoo list` a quarter slower.

    Args:
        repo: "OWNER/NAME".
        revision: a commit, tag or branch; the default branch if None. A branch is at the commit that it was
            at when the Hub was last asked.
        repo_type: "model" or "dataset".
    """
    name = constants.REPO_ID_SEPARATOR.join((f"{repo_type}s", *repo.split("/")))
    folder = Path(constants.HF_HUB_CACHE) / name
    commit = revision or constants.DEFAULT_REVISION
    if (ref := folder / "refs" / commit).is_file():
        commit = ref.read_text(encoding="utf-8").strip()
    snapshot = folder / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def known_absent(snapshot: Path, file: str) -> bool:
    """Return whether the Hub has answered that a repository has no such file at the commit of a snapshot."""
    return (snapshot.parents[1] / ".no_exist" / snapshot.name / file).exists()


def commit_of(path: Path) -> str:
    """Return the commit that a cached file belongs to, 40 hexadecimal digits.

    Raises:
        TransferZooError: the path is not in the Hub's cache.
    """
    found = re.findall(r"/[a-z]+s--[^/]+/snapshots/([0-9a-f]{40})/", path.as_posix())
    if not found:
        raise TransferZooError(f"{path} is no file of the Hub's cache", expected="…/snapshots/COMMIT/FILE")
    return str(found[-1])


def cached_digest(path: Path) -> str:
    """Return the hash that the Hub keeps of a cached file, empty in a cache without symbolic links.

    The SHA-256 of an LFS file (64 digits), the git SHA-1 of any other (40 digits).
    """
    name = path.readlink().name if path.is_symlink() else ""
    return name if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", name) else ""


def delete_partial_downloads() -> None:
    """Delete the unfinished downloads of this process, where the system lists its open files.

    The client deletes them itself when a download fails. A process that is interrupted ends without waiting
    for its download threads, which may hang in a slow read.
    """
    try:
        open_files = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    except OSError:
        return
    cache = Path(constants.HF_HUB_CACHE).resolve()
    for path in open_files:
        if path.name.endswith(".incomplete") and cache in path.parents:
            path.unlink(missing_ok=True)
