"""Files of the Hub: downloaded once, and checked before anyone reads them."""

from __future__ import annotations

import re
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferzoo.base.digests import digest_of
from transferzoo.base.errors import TransferZooError
from transferzoo.hub.cache import kept_digest
from transferzoo.hub.retries import patiently
from transferzoo.hub.sentences import Place, missing, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_BYTES = 20 * 2**30  # no file this project reads or writes comes near
HASHES = {40: "git SHA-1", 64: "SHA-256"}  # by the number of their digits
UNREACHABLE = ("ConnectError", "ConnectionError", "OfflineModeIsEnabled")
"""What the client and its HTTP libraries call it if there is no way to the Hub."""
_counter: ContextVar[Callable[[int], None] | None] = ContextVar("counter", default=None)


def fetch(
    repo: str, file: str, *, revision: str | None = None, repo_type: str = "model", sha256: str | None = None
) -> Path:
    """Return a local copy of a file of the Hub, downloaded unless it is cached, and checked.

    The Hub's client does not look at the bytes it gets. Here they are hashed and compared with the hash the
    Hub keeps of the file; a damaged copy is replaced once and never returned. A process hashes a file once.
    The Hub's own settings hold: `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_OFFLINE`, `HF_TOKEN`.

    Args:
        repo: "OWNER/NAME".
        file: path of the file within the repository.
        revision: a commit, tag or branch; the default branch if None.
        repo_type: "model" or "dataset".
        sha256: what the file's SHA-256 must be, besides what the Hub says.

    Raises:
        TransferZooError: the repository, revision or file does not exist or may not be read, the Hub cannot
            be reached and the file is not cached, the file has more than `MOST_BYTES`, or it is not what its
            hash or `sha256` says.
    """
    place = Place(repo, file, revision, repo_type)
    try:
        return _fetched(place, sha256.lower() if sha256 else "")
    except TransferZooError:
        raise
    except Exception as error:  # the client raises its own, httpx's, requests' and the system's errors
        raise translated(error, place) from error


@contextmanager
def counting(add: Callable[[int], None]) -> Iterator[None]:
    """Let what the block downloads be counted instead of shown by bars of the client.

    Args:
        add: called with bytes as they come, negative ones where a file begins anew; what it raises ends the
            download.
    """
    token = _counter.set(add)
    try:
        yield
    finally:
        _counter.reset(token)


def commit_of(path: Path) -> str:
    """Return the commit that a file of `fetch` belongs to, 40 hexadecimal digits.

    Raises:
        TransferZooError: the path is not in the Hub's cache.
    """
    found = re.findall(r"/[a-z]+s--[^/]+/snapshots/([0-9a-f]{40})/", path.as_posix())
    if not found:
        raise TransferZooError(f"{path} is no file of the Hub's cache", expected="…/snapshots/COMMIT/FILE")
    return str(found[-1])


def _fetched(place: Place, sha256: str) -> Path:
    """Return the path of a checked copy."""
    from huggingface_hub import constants

    declared = _declared(place)
    path = _downloaded(place)
    expected = _expected(path, declared) or sha256
    if _differs(path, expected):
        if not path.is_symlink():  # a cache without links: the client would keep the copy
            path.unlink()
        try:
            path = _downloaded(place, force=True)
        except Exception as error:
            online = "fetch it again when the Hub can be reached"
            offline = "unset HF_HUB_OFFLINE once to fetch it again"
            hint = f"it is deleted from the cache; {offline if constants.HF_HUB_OFFLINE else online}"
            raise _refused(place, path, expected, hint) from error
        expected = _expected(path, declared) or sha256
        if _differs(path, expected):
            twice = "it came damaged twice and is deleted from the cache"
            raise _refused(place, path, expected, f"{twice}; try again later or on another network")
    if _differs(path, sha256):  # an undamaged file, which may stay
        raise TransferZooError(
            f"{place} does not match the SHA-256 asked for",
            expected=sha256,
            got=digest_of(path, 64),
            hint="check the revision and the SHA-256",
        )
    return path


def _declared(place: Place) -> tuple[str, str]:
    """Return the commit and the hash that the Hub declares for a file, empty where it is not asked.

    A Hub that does not answer is left to the download, which has the cache and repetitions.

    Raises:
        MissingFileError: the Hub once said that the commit has no such file.
        LocalEntryNotFoundError: there is no way to the Hub, and the file is not cached.
        TransferZooError: the file is too large.
    """
    from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    where: dict[str, Any] = {"revision": place.revision, "repo_type": place.repo_type}
    found = try_to_load_from_cache(place.repo, place.file, **where)
    if found is not None and re.fullmatch(r"[0-9a-f]{40}", place.revision or ""):
        if not isinstance(found, str):  # a commit does not change
            raise missing(place)
        return "", ""
    try:
        url = hf_hub_url(place.repo, place.file, **where)
        known = get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:
        if found is None and type(error).__name__ in UNREACHABLE:  # the client would try for half a minute
            raise errors.LocalEntryNotFoundError("no connection") from error
        return "", ""
    check_size(place, known.size or 0)
    return known.commit_hash or "", known.etag or ""


def check_size(place: Place, size: int) -> None:
    """Refuse a file that is larger than any this project reads or writes.

    Raises:
        TransferZooError: it has more than `MOST_BYTES`.
    """
    if size > MOST_BYTES:
        raise TransferZooError(
            f"{place} is too large",
            expected=f"at most {MOST_BYTES / 2**30:.0f} GiB",
            got=f"{size / 2**30:.0f} GiB",
            hint="check the file name and the revision",
        )


def _downloaded(place: Place, *, force: bool = False) -> Path:
    from huggingface_hub import hf_hub_download

    options: dict[str, Any] = {"revision": place.revision, "repo_type": place.repo_type}
    if (add := _counter.get()) and "tqdm_class" in signature(hf_hub_download).parameters:
        options["tqdm_class"] = _bar(add)
    found = patiently(lambda: hf_hub_download(place.repo, place.file, force_download=force, **options))
    return Path(str(found))


def _bar(add: Callable[[int], None]) -> type:
    """Return a class of progress bars, as the client makes them, that shows nothing and calls `add`."""
    tqdm: Any = import_module("huggingface_hub.utils").tqdm

    def start(bar: Any, *arguments: Any, **options: Any) -> None:
        tqdm.__init__(bar, *arguments, **{**options, "disable": True})

    def update(bar: Any, n: float | None = 1) -> None:
        add(int(n or 0))

    return type("Counted", (tqdm,), {"__init__": start, "update": update})


def _expected(path: Path, declared: tuple[str, str]) -> str:
    """Return the hash the Hub keeps of a cached file, empty if unknown.

    In the cache a file is a link to a blob that has the hash as its name. That blob may be a link itself.
    """
    commit, etag = declared
    if path.is_symlink():
        return kept_digest(path)
    known = commit == commit_of(path) and len(etag) in HASHES and re.fullmatch(r"[0-9a-f]+", etag)
    return etag if known else ""


def _differs(path: Path, expected: str) -> bool:
    return bool(expected) and digest_of(path, len(expected)) != expected


def _refused(place: Place, path: Path, expected: str, hint: str) -> TransferZooError:
    """Delete a damaged file with its blob; return the sentence."""
    got = digest_of(path, len(expected)) if path.exists() else ""
    entries = {path, path.parent / path.readlink(), path.resolve()} if path.is_symlink() else {path}
    try:
        for entry in entries:
            entry.unlink(missing_ok=True)
    except OSError:
        hint = f"delete {path}, which may not be done from here"
    return TransferZooError(
        f"{place} does not match its {HASHES.get(len(expected), 'SHA-256')}",
        expected=expected,
        got=got,
        hint=hint,
    )
