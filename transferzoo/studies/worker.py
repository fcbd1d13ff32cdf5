"""Work on cells: what a process has at hand, and how it does one, in one thread, wherever it runs."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from transferzoo.base.errors import TransferZooError
from transferzoo.base.registry import Registry
from transferzoo.datasets.sources import load_split
from transferzoo.evaluation.job import versions
from transferzoo.studies.derived import read_derived
from transferzoo.studies.grid import lay_out
from transferzoo.studies.origins import root_of
from transferzoo.studies.schema import Study
from transferzoo.studies.store import Store
from transferzoo.training.loop import seed_of
from transferzoo.zoo.reader import read_zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from transferzoo.datasets import Batch
    from transferzoo.studies.cells import Grid
    from transferzoo.zoo.schema import DatasetSpec


@dataclass(frozen=True)
class Task:
    """A study where it is worked on; small enough to be sent to another process.

    Attributes:
        study: the study, as JSON has it.
        store: folder of the cells; the same for all processes.
        root: the user's own images, as `--data` takes them.
        zoo: the user's own zoo file.
        base: folder that relative paths of models are told from, by default this process's.
    """

    study: str
    store: Path
    root: Path | None = None
    zoo: Path | None = None
    base: Path = field(default_factory=Path.cwd)


@dataclass(frozen=True, eq=False)
class Bench:
    """What a process has at hand while it works on the cells of a task."""

    grid: Grid
    dataset: DatasetSpec
    store: Store
    root: Path | None

    @cached_property
    def _splits(self) -> dict[str, Batch]:
        return {}

    def images(self, split: str) -> Batch:
        """Return a split of the data set; it stays in memory."""
        if split not in self._splits:
            root = root_of(self.dataset, split, self.root)
            self._splits[split] = load_split(self.dataset, split, root=root)
        return self._splits[split]

    def folder(self, reference: Mapping[str, Any]) -> Path:
        """Return the checkpoint folder of a model that a cell names."""
        if "cell" in reference:
            made: Path = self.store.folder("train", reference["cell"]) / "model" / str(reference["part"])
            return made
        return self.grid.places[reference["digest"]]


WORK: Registry[Callable[[Mapping[str, Any], Path, Bench], dict[str, Any]]] = Registry(
    "kind of cell", "transferzoo.studies"
)
"""Kind of cell → function of what it depends on and its folder, with the bench; returns its result."""


def perform(task: Task, key: str) -> None:
    """Do a cell, unless it is done; what another process has begun is waited for.

    Args:
        task: where it belongs.
        key: which.

    Raises:
        TransferZooError: it cannot be done.
    """
    _enter(task.base)
    bench = _bench(task)
    cell = bench.grid.cells[key]
    with bench.store.locked(cell), one_thread():
        if bench.store.has(cell):
            return
        started = time.monotonic()
        result = WORK[cell.kind](cell.what, bench.store.folder(cell.kind, key), bench)
        bench.store.keep(cell, result, time.monotonic() - started, versions())


def _enter(base: Path) -> None:
    """Make a folder the one that relative paths are told from, for good.

    Raises:
        TransferZooError: this machine does not have it.
    """
    try:
        os.chdir(base)
    except OSError as error:
        raise TransferZooError(
            f"cannot enter {base}: {(error.strerror or str(error)).lower()}",
            hint="run the study in a folder that all machines have",
        ) from None


@cache
def _bench(task: Task) -> Bench:
    study, zoo = Study.model_validate_json(task.study), read_zoo(task.zoo)
    return Bench(lay_out(study, zoo, task.root), zoo.dataset(study.dataset), Store(task.store), task.root)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread: how many there are changes the last bits of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def training_images(where: Mapping[str, Any], bench: Bench) -> Batch:
    """Return the images that a cell trains on, or looks at as such."""
    if "cell" in where:
        return read_derived(bench.store.folder("derive", where["cell"]))
    images = bench.images("train")
    if "drawn" not in where:
        return images
    draw = torch.Generator().manual_seed(seed_of(0, "training images of a study"))
    return images.select(torch.randperm(len(images), generator=draw)[: where["drawn"]].sort().values)
