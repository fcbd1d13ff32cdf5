"""A worker process: its context (grid, data, store), and how it computes a cell, in one thread, anywhere."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from transferzoo.base.environment import Environment, environment, versions
from transferzoo.base.errors import TransferZooError, refusal
from transferzoo.base.plugins import load_file
from transferzoo.base.processes import one_thread
from transferzoo.base.registry import Registry
from transferzoo.datasets.sources import load_split, measured
from transferzoo.models.sources.checkpoint_folder import LocalFolder
from transferzoo.studies.derived import read_derived
from transferzoo.studies.digests import split_root
from transferzoo.studies.grid import build_grid
from transferzoo.studies.schema import Study
from transferzoo.studies.store import Store
from transferzoo.training.loop import seed_of
from transferzoo.zoo.reader import read_zoo
from transferzoo.zoo.schema import ROLES, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from transferzoo.datasets import Batch
    from transferzoo.studies.cells import Grid
    from transferzoo.zoo.schema import DatasetSpec


@dataclass(frozen=True)
class Task:
    """A study with the paths that its workers need; small enough to be sent to another process.

    Attributes:
        study: the study, as JSON.
        store: folder of the cells; the same for all processes.
        root: the user's own images, as of `--data`.
        zoo: the user's own zoo file.
        plugins: files that the user named as plug-ins.
        base: working directory that relative paths of models start from, by default this process's.
        environment: how its cells are computed, by default as this process computes; other workers refuse.
        allow_code: whether models that are code may be run.
        digests: of the user's own images, where nobody needs to read them again: of images elsewhere than on
            this machine none, so that each worker looks at what it has.
    """

    study: str
    store: Path
    root: Path | None = None
    zoo: Path | None = None
    plugins: tuple[Path, ...] = ()
    base: Path = field(default_factory=Path.cwd)
    environment: Environment = field(default_factory=environment)
    allow_code: bool = False
    digests: tuple[tuple[Path, str], ...] = ()


@dataclass(frozen=True, eq=False)
class WorkerContext:
    """Grid, data and store of a task; a worker process keeps those of its last one."""

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
            root = split_root(self.dataset, split, self.root)
            self._splits[split] = load_split(self.dataset, split, root=root)
        return self._splits[split]

    def model(self, reference: Mapping[str, Any]) -> ModelSpec:
        """Return the model that a cell refers to, by the name that records have."""
        if "digest" in reference:
            return self.grid.models[reference["digest"]].model_copy(update={"name": reference["name"]})
        cell, part = reference["cell"], reference["part"]
        name = reference.get("name") or f"{cell}-{part.rpartition('/')[2] or 'kept'}"
        source = LocalFolder(self.store.folder("train", cell) / "model" / part)
        return ModelSpec(name=name, dataset=self.dataset.name, roles=ROLES, source=source)


CELL_FUNCTIONS: Registry[Callable[[Mapping[str, Any], Path, WorkerContext], dict[str, Any]]] = Registry(
    "kind of cell", "transferzoo.studies"
)
"""Kind of cell → function of its inputs, its folder and the context; returns its result."""


def run_cell(task: Task, key: str) -> bool:
    """Compute a cell unless it is done.

    Args:
        task: of the cell.
        key: of the cell.

    Returns:
        Whether it is done now; it is not if another process computes it.

    Raises:
        TransferZooError: it cannot be computed.
    """
    _change_directory(task.base)
    if (here := environment()) != task.environment:
        raise TransferZooError(
            "this worker does not compute as the study began",
            expected=str(task.environment._asdict()),
            got=str(here._asdict()),
            hint="run the study on machines of one kind",
        )
    for path in task.plugins:
        load_file(path)
    context = _worker_context(task)
    cell = context.grid.cells.get(key)
    if cell is None:
        raise TransferZooError(
            "this worker finds other images, models or plug-ins than the study began with",
            hint="leave them as they are while it runs, the same on all machines; then run it again",
        )
    if context.store.is_done(cell):
        return True
    with context.store.claimed(cell) as ours, one_thread():
        if not ours or context.store.is_done(cell):
            return context.store.is_done(cell)
        started = time.monotonic()
        result = CELL_FUNCTIONS[cell.kind](cell.inputs, context.store.folder(cell.kind, key), context)
        context.store.save(cell, result, time.monotonic() - started, versions())
        return True


def _change_directory(base: Path) -> None:
    """Change the working directory, which relative paths start from, for good.

    Raises:
        TransferZooError: this machine does not have it.
    """
    try:
        os.chdir(base)
    except OSError as error:
        raise TransferZooError(
            f"cannot enter {base}: {refusal(error)}",
            hint="run the study in a folder that all machines have",
        ) from None


@lru_cache(maxsize=1)  # each has the images, and a search has a task a round
def _worker_context(task: Task) -> WorkerContext:
    study = Study.model_validate_json(task.study)
    zoo = measured(read_zoo(task.zoo), study.dataset, study.split, task.root)
    return WorkerContext(
        build_grid(
            study, zoo, task.root, task.environment, allow_code=task.allow_code, digests=dict(task.digests)
        ),
        zoo.dataset(study.dataset),
        Store(task.store),
        task.root,
    )


def training_images(reference: Mapping[str, Any], context: WorkerContext) -> Batch:
    """Return the training images of a cell, derived ones too."""
    if "cell" in reference:
        return read_derived(context.store.folder("derive", reference["cell"]))
    images = context.images("train")
    if "drawn" not in reference:
        return images
    generator = torch.Generator().manual_seed(seed_of(0, "training images of a study"))
    return images.select(torch.randperm(len(images), generator=generator)[: reference["drawn"]].sort().values)
