"""Files of the Hub: downloaded once, and compared with their hashes before they are read."""

from __future__ import annotations

import re
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import constants

from transferzoo.base.digests import digest_of
from transferzoo.base.errors import TransferZooError
from transferzoo.hub.cache import cached_digest, commit_of, is_commit
from transferzoo.hub.retries import with_retries
from transferzoo.hub.sentences import HubPath, missing_file_error, translating

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_BYTES = 20 * 2**30  # no file this project reads or writes comes near
HASHES = {40: "git SHA-1", 64: "SHA-256"}  # by the number of their digits
UNREACHABLE = ("ConnectError", "OfflineModeIsEnabled")
"""What the client and its HTTP library, whose name differs by version, call it if the Hub is out of reach."""
_on_bytes: ContextVar[Callable[[int], None] | None] = ContextVar("on_bytes", default=None)


def download_file(
    repo: str,
    file: str,
    *,
    revision: str | None = None,
    repo_type: str = "model",
    sha256: str | None = None,
    pulled_as: str = "",
) -> Path:
    """Return a local copy of a file of the Hub, downloaded unless it is cached, and checked.

    The Hub's client does not hash what it downloads. Here the file is compared with the hash that the Hub
    keeps of it; a damaged copy is replaced once and never returned. A process hashes a file once.
    The Hub's own settings hold: `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_OFFLINE`, `HF_TOKEN`.

    Args:
        repo: "OWNER/NAME".
        file: path of the file within the repository.
        revision: a commit, tag or branch; the default branch if None.
        repo_type: "model" or "dataset".
        sha256: the file's SHA-256 must be this, whatever the Hub keeps.
        pulled_as: what `transferzoo pull` knows it by, where its repository does not say so.

    Raises:
        TransferZooError: the repository, revision or file does not exist or is not accessible, the Hub cannot
            be reached and the file is not cached, the file has more than `MAX_BYTES`, or it is not what its
            hash or `sha256` requires.
    """
    path = HubPath(repo, file, revision, repo_type, pulled_as)
    with translating(path):
        return _checked(path, sha256.lower() if sha256 else "")


@contextmanager
def report_progress(on_bytes: Callable[[int], None]) -> Iterator[None]:
    """Report the bytes that the block downloads instead of showing the client's progress bars.

    Args:
        on_bytes: called with the number of bytes as they arrive, a negative one where a file is started anew.
            An error that it raises ends the download.
    """
    token = _on_bytes.set(on_bytes)
    try:
        yield
    finally:
        _on_bytes.reset(token)


def _checked(remote: HubPath, sha256: str) -> Path:
    """Return a cached copy of a file whose hash is right; see `download_file`."""
    declared = _declared(remote)
    path = _download(remote)
    expected = _expected(path, declared) or sha256
    if _differs(path, expected):
        if not path.is_symlink():  # a cache without links: the client would keep the copy
            path.unlink()
        try:
            path = _download(remote, force=True)
        except Exception as error:
            online = "download it again when the Hub can be reached"
            offline = "unset HF_HUB_OFFLINE once to download it again"
            hint = f"it is deleted from the cache; {offline if constants.HF_HUB_OFFLINE else online}"
            raise _damaged(remote, path, expected, hint) from error
        expected = _expected(path, declared) or sha256
        if _differs(path, expected):
            twice = "it arrived damaged twice and is deleted from the cache"
            raise _damaged(remote, path, expected, f"{twice}; try again later or on another network")
    if _differs(path, sha256):  # an undamaged file, which may stay
        raise TransferZooError(
            f"{remote} does not match the SHA-256 asked for",
            expected=sha256,
            got=digest_of(path, 64),
            hint="check the revision and the SHA-256",
        )
    return path


def _declared(path: HubPath) -> tuple[str, str]:
    """Return the commit and the hash that the Hub declares for a file, empty where it is not asked.

    Other errors than a Hub out of reach are left to the download, which uses the cache and is repeated.

    Raises:
        MissingFileError: the Hub has answered before that the commit has no such file.
        LocalEntryNotFoundError: the Hub is out of reach, and the file is not cached.
        TransferZooError: the file is too large.
    """
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    at: dict[str, Any] = {"revision": path.revision, "repo_type": path.repo_type}
    found = try_to_load_from_cache(path.repo, path.file, **at)
    if found is not None and is_commit(path.revision):
        if not isinstance(found, str):  # it is cached that the commit has no such file
            raise missing_file_error(path)
        return "", ""
    try:
        url = hf_hub_url(path.repo, path.file, **at)
        metadata = get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:
        if found is None and type(error).__name__ in UNREACHABLE:  # the client would try for half a minute
            raise errors.LocalEntryNotFoundError("no connection") from error
        return "", ""
    check_size(path, metadata.size or 0)
    return metadata.commit_hash or "", metadata.etag or ""


def check_size(path: HubPath, size: int) -> None:
    """Refuse a file that is larger than any this project reads or writes.

    Raises:
        TransferZooError: it has more than `MAX_BYTES`.
    """
    if size > MAX_BYTES:
        raise TransferZooError(
            f"{path} is too large",
            expected=f"at most {MAX_BYTES / 2**30:.0f} GiB",
            got=f"{size / 2**30:.0f} GiB",
            hint="check the file name and the revision",
        )


def _download(path: HubPath, *, force: bool = False) -> Path:
    from huggingface_hub import hf_hub_download

    on_bytes = _on_bytes.get()
    found = with_retries(
        lambda: hf_hub_download(
            path.repo,
            path.file,
            revision=path.revision,
            repo_type=path.repo_type,
            force_download=force,
            tqdm_class=_progress_bar(on_bytes) if on_bytes else None,
        )
    )
    return Path(found)


def _progress_bar(on_bytes: Callable[[int], None]) -> type:
    """Return a class of progress bars, for the client, that show nothing and call `on_bytes`."""
    tqdm: Any = import_module("huggingface_hub.utils").tqdm

    def start(bar: Any, *arguments: Any, **options: Any) -> None:
        tqdm.__init__(bar, *arguments, **{**options, "disable": True})

    def update(bar: Any, n: float | None = 1) -> None:
        on_bytes(int(n or 0))

    return type("SilentBar", (tqdm,), {"__init__": start, "update": update})


def _expected(path: Path, declared: tuple[str, str]) -> str:
    """Return the hash the Hub keeps of a cached file, empty if unknown.

    In the cache a file is a link to a blob that has the hash as its name. That blob may be a link itself.
    """
    commit, etag = declared
    if path.is_symlink():
        return cached_digest(path)
    is_hash = len(etag) in HASHES and re.fullmatch(r"[0-9a-f]+", etag)
    return etag if is_hash and commit == commit_of(path) else ""


def _differs(path: Path, expected: str) -> bool:
    return bool(expected) and digest_of(path, len(expected)) != expected


def _damaged(remote: HubPath, path: Path, expected: str, hint: str) -> TransferZooError:
    """Delete a damaged file with its blob; return the error."""
    got = digest_of(path, len(expected)) if path.exists() else ""
    entries = {path, path.parent / path.readlink(), path.resolve()} if path.is_symlink() else {path}
    try:
        for entry in entries:
            entry.unlink(missing_ok=True)
    except OSError:
        hint = f"delete {path}: this process is not allowed to"
    return TransferZooError(
        f"{remote} does not match its {HASHES.get(len(expected), 'SHA-256')}",
        expected=expected,
        got=got,
        hint=hint,
    )
