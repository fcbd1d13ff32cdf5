"""What cells do: train, attack, measure sharpness, derive a data set. One thread each, wherever they run."""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from transferzoo.base.atomic import write_json
from transferzoo.base.config import AttackConfig, AttackSpec, TrainConfig, fingerprint
from transferzoo.base.distributed import Team
from transferzoo.base.errors import DataError, TransferZooError
from transferzoo.base.registry import Registry
from transferzoo.datasets.sources import load_split
from transferzoo.evaluation.job import Job, versions
from transferzoo.evaluation.run import run as run_job
from transferzoo.evaluation.run_folder import RunFolder
from transferzoo.models.build import create
from transferzoo.models.classifier import load
from transferzoo.studies.grid import lay_out, named
from transferzoo.studies.origins import model_digest, root_of
from transferzoo.studies.schema import Study
from transferzoo.studies.store import Store
from transferzoo.training.loop import seed_of
from transferzoo.training.trainer import train as train_model
from transferzoo.zoo.reader import read_zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from transferzoo.datasets import Batch
    from transferzoo.studies.cells import Cell, Grid
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


def check_architectures(grid: Grid, dataset: DatasetSpec) -> None:
    """Build every architecture of a grid once, so that what is wrong with one is told before anything runs.

    Raises:
        UsageError: one cannot be built.
    """
    trained = (cell.what["config"] for cell in grid.cells.values() if cell.kind == "train")
    for architecture in dict.fromkeys(config["architecture"] for config in trained):
        create(architecture, dataset)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread: how many there are changes the last bits of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@WORK.register("train")
def train(what: Mapping[str, Any], folder: Path, bench: Bench) -> dict[str, Any]:
    """Train a model into `model`; the result is its curve and what was measured."""
    config = TrainConfig(**what["config"])
    data = training_images(what["images"], bench)
    recipe = train_model(
        config, bench.dataset, data, _test_images(bench), folder / "model",
        start=what["start"] and bench.grid.places[what["start"]],
        validators={name: bench.grid.places[digest] for name, digest in what["validators"].items()},
    )  # fmt: skip
    kept = ("curve", "accuracy", "validation", "weights_sha256", "selected_epoch")
    return {key: recipe[key] for key in kept if recipe.get(key) is not None}


def training_images(where: Mapping[str, Any], bench: Bench) -> Batch:
    """Return the images that a cell trains on, or looks at as such."""
    if "cell" in where:
        from transferzoo.studies.features import read

        return read(bench.store.folder("derive", where["cell"]))
    images = bench.images("train")
    if "drawn" not in where:
        return images
    draw = torch.Generator().manual_seed(seed_of(0, "training images of a study"))
    return images.select(torch.randperm(len(images), generator=draw)[: where["drawn"]].sort().values)


def check_images(cells: Iterable[Cell], dataset: DatasetSpec, root: Path | None) -> None:
    """Load the images that cells read once, so that what is not there is told once, before anything runs.

    Raises:
        DataError: they are not there, or damaged.
    """
    read = [cell.what["split"] if cell.kind == "attack" else "train" for cell in cells]
    for split in dict.fromkeys(read):
        load_split(dataset, split, root=root_of(dataset, split, root))


def count_images(dataset: DatasetSpec, root: Path | None) -> int:
    """Return how many training images there are."""
    return len(load_split(dataset, "train", root=root_of(dataset, "train", root)))


def _test_images(bench: Bench) -> Batch | None:
    """Return the images that the accuracy is measured on, None where there are none."""
    try:
        return bench.images("test") if "test" in bench.dataset.splits else None
    except DataError:
        return None


@WORK.register("attack")
def attack(what: Mapping[str, Any], folder: Path, bench: Bench) -> dict[str, Any]:
    """Craft on a model and try the images on targets; the result is the records."""
    dataset = bench.dataset
    surrogate = named(what["surrogate"], bench.folder(what["surrogate"]), dataset.name)
    targets = tuple(named(one, bench.folder(one), dataset.name) for one in what["targets"])
    config = AttackConfig.of(
        dataset=dataset.name, split=what["split"], surrogates=(surrogate.full_name,),
        targets=tuple(target.full_name for target in targets), attacks=(AttackSpec(**what["attack"]),),
        images=what["count"], images_correct_for=what["images_correct_for"], batch_size=what["batch_size"],
    )  # fmt: skip
    made = frozenset(
        model.full_name
        for model, one in zip((surrogate, *targets), (what["surrogate"], *what["targets"]), strict=True)
        if "cell" in one
    )
    job = Job(config, dataset, (surrogate,), targets, bench.images(what["split"]), trusted=made)
    run = RunFolder(folder / "run")
    shared = [
        (target.full_name, _said(bench, model_digest(target.folder), what["images"])) for target in targets
    ]
    run.begin(job.content)
    for name, path in shared:
        if path.is_file() and run.clean(name) is None:
            run.save_clean(name, _read_said(path))
    records, _ = run_job(job, run, team=Team())
    for name, path in shared:
        if not path.is_file():
            write_json(path, run.clean(name))
    dropped = ("versions", "split", "dataset", "targeted", "seed")
    return {"records": [{k: v for k, v in asdict(r).items() if k not in dropped} for r in records]}


def _said(bench: Bench, model: str, images: Mapping[str, Any]) -> Path:
    """Return where it is kept what a model says of a split's clean images, for all cells that ask."""
    return bench.store.root / "clean" / f"{fingerprint([model, images])[:16]}.json"


def _read_said(path: Path) -> list[int]:
    try:
        return [int(label) for label in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"cannot read {path}: {error}", hint="delete it and run the same command again"
        ) from None


@WORK.register("sharpness")
def sharpness(what: Mapping[str, Any], folder: Path, bench: Bench) -> dict[str, Any]:
    """Measure the sharpness of a model on training images; the result is `Sharpness.numbers`."""
    from threadpoolctl import threadpool_limits

    from transferzoo.sharpness import measure

    images = training_images(what["images"], bench)
    draw = torch.Generator().manual_seed(seed_of(0, "sharpness of a study"))
    images = images.select(torch.randperm(len(images), generator=draw)[: what["count"]].sort().values)
    model = load(bench.folder(what["model"]), bench.dataset)
    with threadpool_limits(1, user_api="blas"):  # of SciPy, which `measure` has loaded; only then it counts
        found = measure(
            model, images.images, images.labels, rho=what["rho"], probes=what["probes"], draws=what["draws"],
        )  # fmt: skip
    return found.numbers()
