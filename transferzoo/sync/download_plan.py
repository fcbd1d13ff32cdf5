"""What the Hub has of what is wanted, and the download of what is missing, several things at a time."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

from transferzoo import hub
from transferzoo.base.errors import TransferZooError
from transferzoo.base.threads import run_in_threads
from transferzoo.models.download import pulled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from transferzoo.hub import Listing
    from transferzoo.sync.inventory import Item, Need

    Answers = dict[tuple[str, str | None, str], Listing | TransferZooError]

AT_ONCE = 4
"""Downloads at a time where none is given."""


class File(NamedTuple):
    """A file that is wanted.

    Attributes:
        path: within its repository.
        size: bytes.
        digest: its SHA-256 (64 digits), or of what is no LFS file the SHA-1 that is its name in git (40).
        missing: bytes of it that are not on this machine.
        kept: whether it is found there; content that only other commits have is not.
    """

    path: str
    size: int
    digest: str
    missing: int
    kept: bool


@dataclass(frozen=True)
class Order:
    """Something that is wanted, and what the Hub says of it.

    Attributes:
        item: what.
        commit: of its repository, 40 hexadecimal digits; empty where it needs nothing from the Hub.
        files: what it needs from there.
        whole: whether an attack finds all of it without the Hub.
        error: why it cannot be had.
    """

    item: Item
    commit: str = ""
    files: tuple[File, ...] = ()
    whole: bool = True
    error: TransferZooError | None = None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def missing(self) -> int:
        """Bytes that are not on this machine."""
        return sum(file.missing for file in self.files)

    @property
    def open(self) -> bool:
        """Whether something is to be downloaded."""
        return self.error is None and not (self.whole and all(file.kept for file in self.files))


class Delivery(NamedTuple):
    """How a download ended.

    Attributes:
        order: what was wanted.
        error: why it did not come; None where it is here.
    """

    order: Order
    error: TransferZooError | None


def survey(
    items: Sequence[Item], jobs: int = AT_ONCE, on_progress: Callable[[int, int], None] = lambda *_: None
) -> list[Order]:
    """Ask the Hub what the items need, one request a repository, and look which files are here.

    Of what is pinned to a commit and here, nothing is asked; what is here while the Hub cannot be asked is
    taken as it is.

    Args:
        items: what is wanted.
        jobs: requests at a time.
        on_progress: called with the answers that have come, and how many there will be.

    Returns:
        An order an item.
    """
    needs = [need for item in items if (need := item.need) and not (need.pinned and need.kept())]
    places = list({(need.repo, need.revision, need.repo_type): None for need in needs})
    answers: Answers = {}
    for answer in run_in_threads(lambda place: hub.listed(*place), places, jobs, Event()):
        if answer:
            answers[answer[0]] = answer[1]
            on_progress(len(answers), len(places))
    return [_order(item, answers) for item in items]


def _order(item: Item, answers: Answers) -> Order:
    need = item.need
    if need is None:
        return Order(item)
    answer, folder = answers.get((need.repo, need.revision, need.repo_type)), need.kept()
    if answer is None or isinstance(answer, TransferZooError):
        return Order(item, folder.name, _here(folder, need)) if folder else Order(item, error=answer)
    try:
        return Order(item, answer.commit, _there(answer, need), folder is not None)
    except TransferZooError as error:
        return Order(item, error=error)


def _here(folder: Path, need: Need) -> tuple[File, ...]:
    """Return the files of a need that the cache has."""
    return tuple(
        File(path.relative_to(folder).as_posix(), path.stat().st_size, hub.kept_digest(path), 0, True)
        for path in need.found(folder)
    )


def _there(listing: Listing, need: Need) -> tuple[File, ...]:
    """Return the files of a need that the Hub has.

    Raises:
        TransferZooError: one is not there, or is too large.
    """
    folder = hub.snapshot(need.repo, listing.commit, need.repo_type)
    found = []
    for path in need.files:
        if path not in listing.files:
            raise hub.missing(hub.Place(need.repo, path, need.revision, need.repo_type))
    for path, entry in listing.files.items():
        if need.takes(path):
            hub.check_size(hub.Place(need.repo, path, need.revision, need.repo_type), entry.size)
            kept = folder is not None and _size(folder / path) == entry.size
            known = kept or _size(hub.held(need.repo, need.repo_type, entry.digest)) == entry.size
            found.append(File(path, entry.size, entry.digest, 0 if known else entry.size, kept))
    return tuple(found)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


def to_come(orders: Iterable[Order]) -> int:
    """Return the bytes that the open orders download; a file that several need comes once."""
    files = {
        (one.item.need.repo, file.path): file.missing
        for one in orders
        if one.open and one.item.need
        for file in one.files
    }
    return sum(files.values())


def room() -> tuple[int, Path]:
    """Return the bytes that are free where the client keeps files, and the folder that was looked at."""
    place = hub.cache_folder().absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free, place


def require_room(size: int) -> None:
    """Check that the disk has room for what comes.

    Args:
        size: bytes that will be written.

    Raises:
        TransferZooError: it has less.
    """
    free, place = room()
    if free < size:
        raise TransferZooError(
            f"there is no room for this on the disk of {place}",
            expected=f"{amount(size)} free",
            got=amount(free),
            hint="free some, or set HF_HOME to a folder on another disk",
        )


def amount(size: float) -> str:
    """Write a number of bytes: "98.3 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:,.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"


def fetch(
    orders: Sequence[Order], jobs: int = AT_ONCE, on_bytes: Callable[[int], None] = lambda count: None
) -> Iterator[Delivery]:
    """Download what is missing; one that fails stops no other.

    Args:
        orders: what is wanted.
        jobs: downloads at a time.
        on_bytes: called a few times a second with the bytes that have come.

    Yields:
        Each open order when it is done. A generator that is closed early breaks the downloads off.
    """
    stopped, came = Event(), [0]

    def add(count: int) -> None:
        if stopped.is_set():
            raise _Stopped
        came[0] += count

    def work(order: Order) -> None:
        with hub.counting(add):
            _deliver(order.item.need)

    try:
        for answer in run_in_threads(work, [order for order in orders if order.open], jobs, stopped):
            on_bytes(came[0])
            if answer:
                yield Delivery(*answer)
    except BaseException:
        hub.drop_partial()
        raise


def _deliver(need: Need | None) -> None:
    if need is None:
        return
    if need.plain:
        pulled(need.repo, need.revision)
        return
    revision = need.revision
    for file, sha256 in need.files.items():
        path = hub.fetch(need.repo, file, revision=revision, repo_type=need.repo_type, sha256=sha256)
        revision = hub.commit_of(path)


class _Stopped(BaseException):
    """A download is broken off."""
