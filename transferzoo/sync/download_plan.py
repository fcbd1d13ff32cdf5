"""The download plan: which files are downloaded from the Hub. And the download, several items at a time."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

from huggingface_hub import constants

from transferzoo import hub
from transferzoo.base.errors import TransferZooError
from transferzoo.base.threads import run_in_threads
from transferzoo.models import checkpoint, open_clip_files
from transferzoo.models.download import download_checkpoint
from transferzoo.models.transformers_folder import PROCESSOR
from transferzoo.models.web_file import fetched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from huggingface_hub import DryRunFileInfo

    from transferzoo.sync.items import Item

DEFAULT_JOBS = 4
"""Downloads at a time unless a user says otherwise."""
OPTIONAL = (checkpoint.RECIPE, f"{checkpoint.SAMPLES}/[0-9][0-9][0-9][0-9].safetensors", PROCESSOR)
"""Patterns of the files that not every checkpoint has: recipe, collected weights, an image processor."""


class PlannedFile(NamedTuple):
    """A file that an item needs from the Hub.

    Attributes:
        path: within its repository.
        size: bytes.
        missing: bytes of it that are not on this machine.
        kept: whether it is cached for the commit; a file of the same content in another commit is not enough.
    """

    path: str
    size: int
    missing: int
    kept: bool

    @classmethod
    def of(cls, info: DryRunFileInfo) -> PlannedFile:
        """Return a file as the client's dry run describes it."""
        size = info.file_size or 0
        missing = size if info.will_download else 0
        return cls(info.filename, size, missing, Path(info.local_path).exists())


@dataclass(frozen=True)
class PlannedDownload:
    """An item, and what the Hub answers for it; of a file on the web, its address stands for the path.

    Attributes:
        item: a model, or the images of a split.
        commit: of its repository, 40 hexadecimal digits; empty where it needs nothing from the Hub.
        files: what it needs from there.
        complete: whether an attack finds all that it needs without the Hub.
        error: why it is unavailable.
    """

    item: Item
    commit: str = ""
    files: tuple[PlannedFile, ...] = ()
    complete: bool = True
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
    def pending(self) -> bool:
        """Whether something is to be downloaded."""
        return self.error is None and not (self.complete and all(file.kept for file in self.files))


class DownloadResult(NamedTuple):
    """How a download ended.

    Attributes:
        plan: what was to be downloaded.
        error: why it failed; None where it did not.
    """

    plan: PlannedDownload
    error: TransferZooError | None


def plan_downloads(
    items: Sequence[Item], jobs: int = DEFAULT_JOBS, on_progress: Callable[[int, int], None] = lambda *_: None
) -> list[PlannedDownload]:
    """Ask the Hub for the files that the items need, and look which of them are cached.

    Nothing is asked for files that are pinned to a commit and cached. Where the Hub does not answer, cached
    files are used as they are.

    Args:
        items: models and images, of different names.
        jobs: items that are asked for at a time.
        on_progress: called with the number of items that are planned, and of all.

    Returns:
        A plan for each item.
    """
    plans: dict[str, PlannedDownload] = {}
    for done in run_in_threads(_plan, items, jobs, Event()):
        if done:
            item, plan = done
            plans[item.name] = (
                plan if isinstance(plan, PlannedDownload) else PlannedDownload(item, error=plan)
            )
            on_progress(len(plans), len(items))
    return [plans[item.name] for item in items]


def _plan(item: Item) -> PlannedDownload:
    """Return the plan for an item.

    Raises:
        TransferZooError: it is unavailable.
    """
    if item.web:
        kept = item.web.path.exists()
        size = item.web.path.stat().st_size if kept else item.web.size
        return PlannedDownload(item, "", (PlannedFile(item.web.url, size, 0 if kept else size, kept),), kept)
    required = item.files
    if required is None:
        return PlannedDownload(item)
    folder = required.cached_folder()
    if folder is None or not required.pinned:
        try:
            optional = OPTIONAL if required.is_checkpoint else ()
            found = hub.plan_files(
                required.repo,
                required.files,
                optional=optional,
                instead=open_clip_files.FILES if required.is_checkpoint else (),
                revision=required.revision,
                repo_type=required.repo_type,
            )
        except TransferZooError as error:
            if folder is None or isinstance(error, hub.MissingFileError):
                raise
        else:
            files = tuple(map(PlannedFile.of, found))
            return PlannedDownload(item, found[0].commit_hash, files, folder is not None)
    cached = required.cached_files(folder)
    files = tuple(
        PlannedFile(path.relative_to(folder).as_posix(), path.stat().st_size, 0, True) for path in cached
    )
    return PlannedDownload(item, folder.name, files)


def bytes_to_download(plans: Iterable[PlannedDownload]) -> int:
    """Return the bytes that the pending plans download; a file that several need is counted once."""
    files = {
        (plan.item.files and plan.item.files.repo, file.path): file.missing
        for plan in plans
        if plan.pending
        for file in plan.files
    }
    return sum(files.values())


def free_space() -> tuple[int, Path]:
    """Return the free bytes on the disk of the client's cache, and the folder that tells the disk."""
    folder = Path(constants.HF_HUB_CACHE).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free, folder


def require_space(size: int) -> None:
    """Check that the disk has room for a download.

    Args:
        size: bytes that will be written.

    Raises:
        TransferZooError: fewer are free.
    """
    free, folder = free_space()
    if free < size:
        raise TransferZooError(
            f"there is no room for this on the disk of {folder}",
            expected=f"{format_bytes(size)} free",
            got=format_bytes(free),
            hint="free some, or set HF_HOME to a folder on another disk",
        )


def format_bytes(size: float) -> str:
    """Format a number of bytes: "98.3 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:,.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"


def download(
    plans: Sequence[PlannedDownload],
    jobs: int = DEFAULT_JOBS,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> Iterator[DownloadResult]:
    """Carry out the pending plans; one that fails does not stop the others.

    Args:
        plans: of any items.
        jobs: downloads at a time.
        on_bytes: called a few times a second with the bytes downloaded so far.

    Yields:
        The result of each pending plan when it is done. A generator that is closed early stops the downloads.
    """
    stopped, received = Event(), [0]

    def count(size: int) -> None:
        if stopped.is_set():
            raise _Stopped
        received[0] += size

    def work(plan: PlannedDownload) -> None:
        with hub.report_progress(count):
            _download_files(plan.item)

    try:
        for done in run_in_threads(work, [plan for plan in plans if plan.pending], jobs, stopped):
            on_bytes(received[0])
            if done:
                yield DownloadResult(*done)
    except BaseException:
        hub.delete_partial_downloads()
        raise


def _download_files(item: Item) -> None:
    if item.web:
        fetched(item.web)
    required = item.files
    if required is None:
        return
    repo, revision = required.repo, required.revision
    if required.is_checkpoint:
        download_checkpoint(repo, revision)
        return
    for file, sha256 in required.files.items():
        path = hub.download_file(repo, file, revision=revision, repo_type=required.repo_type, sha256=sha256)
        revision = hub.commit_of(path)  # all files come from one commit
        if required.is_pack:
            from transferzoo.evaluation.packs import read_pack

            read_pack(path)


class _Stopped(BaseException):
    """The downloads are stopped."""
