"""Cells whose processes die: which are begun again, with whom beside them, and which fail."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
import scipy.linalg  # noqa: F401  whose BLAS is looked at
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from helpers.stripes import draw
from transferzoo.base.environment import environment
from transferzoo.base.errors import DataError, TransferZooError
from transferzoo.cli.grids import run_cells
from transferzoo.studies import cell_functions, executors, running, worker
from transferzoo.studies.cells import Cell, Grid
from transferzoo.studies.running import run_grid
from transferzoo.studies.schema import find_study
from transferzoo.studies.store import Store
from transferzoo.studies.worker import Task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEADLY = "kills its process"


def pretend(task: Task, key: str) -> bool:
    """Do a cell of `grid` instead of `run_cell`, in a worker."""
    (cell,) = (cell for cell in grid().cells.values() if cell.key == key)
    if cell.label == DEADLY:
        time.sleep(0.3)
        os._exit(9)
    time.sleep(1)
    store = Store(task.store)
    store.folder(cell.kind, key).mkdir(parents=True)
    store.save(cell, {}, 0.0, {})
    return True


def device_of_worker(seconds: float) -> str | None:
    time.sleep(seconds)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def grid() -> Grid:
    cells = [
        Cell("train", {"label": label}, environment(), (), label) for label in (DEADLY, "one", "two", "three")
    ]
    return Grid(find_study("minimizers"), {cell.key: cell for cell in cells}, (), {})


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[executors.ProcessExecutor]:
    monkeypatch.setattr("transferzoo.studies.worker.run_cell", pretend)
    started = executors.ProcessExecutor(2)
    yield started
    started.close()


def test_a_deadly_cell_fails_alone(
    processes: executors.ProcessExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "TRIES", 2)
    finished: list[tuple[str, TransferZooError | None]] = []
    failed = run_grid(
        Task("", tmp_path), grid().cells, processes, lambda cell, error: finished.append((cell.label, error))
    )
    assert [cell.label for cell, _ in failed] == [DEADLY]
    assert sorted(label for label, error in finished if error is None) == ["one", "three", "two"]
    assert "has died: got BrokenProcessPool" in str(failed[0][1])


@pytest.mark.parametrize("devices", [[], ["4", "7"]])
def test_each_process_has_a_gpu_of_its_own_in_turn(
    devices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(executors, "own_devices", lambda: devices)
    started = executors.ProcessExecutor(4)
    try:
        found = [started._pool.submit(device_of_worker, 2) for _ in range(4)]
        seen = [one.result(100) for one in found]
    finally:
        started.close()
    assert sorted(map(str, seen)) == sorted(2 * devices or 4 * ["None"])


@pytest.mark.parametrize("device, gpus, capacity", [("cpu", 0, 8), ("cuda", 1, 2)])
def test_a_task_of_a_cluster_states_its_gpu(
    device: str, gpus: int, capacity: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray hides the GPUs from a task that states none."""
    heard = signal.getsignal(signal.SIGTERM)
    ray = Mock(cluster_resources=lambda: {"CPU": 8.0, "GPU": 2.0})
    ray.init.side_effect = lambda **_: signal.signal(signal.SIGTERM, signal.SIG_IGN)
    monkeypatch.setattr(executors, "import_optional", lambda *_: ray)
    monkeypatch.setattr(executors, "this_device", lambda: torch.device(device))
    assert executors.RayExecutor("here").capacity == capacity
    assert ray.remote.call_args.kwargs == {"num_cpus": 1, "num_gpus": gpus, "max_retries": 0}
    assert signal.getsignal(signal.SIGTERM) == heard


@pytest.mark.parametrize("near", [True, False])
def test_digests_of_images_are_handed_on_where_the_files_are_the_same(near: bool, tmp_path: Path) -> None:
    tasks: list[Task] = []

    class Seen(executors.InProcessExecutor):
        same_machine = near

        def submit(self, task: Task, key: str) -> Future[bool]:
            tasks.append(task)
            future: Future[bool] = Future()
            future.set_result(True)
            return future

    known = replace(grid(), digests={tmp_path: "1234"})
    run_cells(Task("", tmp_path), Mock(grid=known), known.cells, Seen())
    assert {task.digests for task in tasks} == {((tmp_path, "1234"),) if near else ()}


@pytest.mark.parametrize("before", [{}, {"PYTHONSAFEPATH": "0"}])
def test_programs_started_afterwards_keep_their_environment(
    before: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "0")
    if not before:
        monkeypatch.delenv("PYTHONSAFEPATH")
    executors.ProcessExecutor(1).close()
    assert {name: value for name, value in os.environ.items() if name == "PYTHONSAFEPATH"} == before


@pytest.mark.parametrize("error", [ConnectionRefusedError, EOFError])
def test_a_fork_server_that_is_gone_is_started_again(
    error: type[Exception],
    processes: executors.ProcessExecutor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(processes._pool, "submit", refuse)
    key = next(key for key, cell in grid().cells.items() if cell.label != DEADLY)
    processes.submit(Task("", tmp_path), key).result(100)
    assert list(tmp_path.rglob("cell.json"))


class Lost(executors.RayExecutor):
    """A cluster of which every worker dies; it is not started."""

    def __init__(self, error: Exception) -> None:
        self._ray = pytest.importorskip("ray")
        self.capacity, self.error, self.begun = 8, error, 0

    def submit(self, task: Task, key: str) -> Future[bool]:
        self.begun += 1
        future: Future[bool] = Future()
        future.set_exception(self.error)
        return future

    def close(self) -> None:
        pass


@pytest.mark.parametrize("name", ["WorkerCrashedError", "OutOfMemoryError", "NodeDiedError"])
def test_a_worker_of_a_cluster_that_always_dies_fails_its_cell(name: str, tmp_path: Path) -> None:
    exceptions = pytest.importorskip("ray").exceptions
    kind = getattr(exceptions, name)
    cluster = Lost(kind() if name == "WorkerCrashedError" else kind("killed"))
    failed = run_grid(Task("", tmp_path), grid().cells, cluster, lambda *_: None)
    assert len(failed) == len(grid().cells)
    assert cluster.begun == running.TRIES * len(failed)
    assert all(f"has died: got {name}" in str(error) for _, error in failed)


def test_errors_of_a_cell_itself_come_back_from_a_cluster(tmp_path: Path) -> None:
    task_error: Any = pytest.importorskip("ray").exceptions.RayTaskError
    error_of_cell = task_error("run_cell", "", DataError("no images")).as_instanceof_cause()
    failed = run_grid(Task("", tmp_path), grid().cells, Lost(error_of_cell), lambda *_: None)
    assert [error for _, error in failed] == [error_of_cell] * len(grid().cells)
    defect = task_error("run_cell", "", ZeroDivisionError("zero")).as_instanceof_cause()
    with pytest.raises(ZeroDivisionError):
        run_grid(Task("", tmp_path), grid().cells, Lost(defect), lambda *_: None)


def test_a_cell_that_two_studies_need_at_once_is_done_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever comes second is told that another has it, and later that it is done."""
    cell = next(cell for cell in grid().cells.values() if cell.label == "one")
    context = SimpleNamespace(grid=grid(), store=Store(tmp_path))
    told: list[bool] = []

    def train(*_: object) -> dict[str, Any]:
        told.append(worker.run_cell(Task("another", tmp_path), cell.key))
        return {}

    monkeypatch.setattr(worker, "_worker_context", lambda _: context)
    monkeypatch.setattr(worker, "CELL_FUNCTIONS", {"train": train})
    assert worker.run_cell(Task("one", tmp_path), cell.key)
    assert told == [False]
    assert worker.run_cell(Task("another", tmp_path), cell.key)
    assert told == [False]
    assert context.store.is_done(cell)


class Beside(executors.InProcessExecutor):
    """Another command computes a cell, which is done when this one has asked for it three times."""

    def __init__(self, label: str) -> None:
        self.label, self.asked = label, list[str]()

    def submit(self, task: Task, key: str) -> Future[bool]:
        self.asked.append(grid().cells[key].label)
        future: Future[bool] = Future()
        future.set_result(self.asked[-1] != self.label or self.asked.count(self.label) == 3)
        return future


def test_a_cell_that_another_command_computes_is_left_to_it_and_what_needs_it_waits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(running, "PAUSE", 0.01)
    cells = grid().cells
    first = next(key for key, cell in cells.items() if cell.label == "one")
    beside, done = Beside("one"), list[str]()
    needing = Cell("attack", {}, environment(), (first,), "two")
    wanted = {key: cell for key, cell in cells.items() if cell.label in ("one", "three")}
    monkeypatch.setattr(f"{__name__}.grid", lambda: SimpleNamespace(cells={**wanted, needing.key: needing}))
    failed = run_grid(Task("", tmp_path), grid().cells, beside, lambda cell, _: done.append(cell.label))
    assert failed == []
    assert beside.asked == ["one", "three", "one", "one", "two"]
    assert done == ["three", "one", "two"]


def test_sharpness_is_measured_in_one_thread_by_scipy_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    threads: list[int] = []

    def look(*_: object, **__: object) -> SimpleNamespace:
        threads.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return SimpleNamespace(numbers=dict)

    monkeypatch.setattr("transferzoo.sharpness.measure", look)
    monkeypatch.setattr(cell_functions, "training_images", lambda *_: draw(8, 0))
    monkeypatch.setattr(cell_functions, "load_classifier", lambda *_: None)
    inputs = {"images": {}, "count": 4, "model": {}, "rho": 0.05, "probes": 2, "draws": 2}
    with threadpool_limits(2, user_api="blas"):
        assert worker.CELL_FUNCTIONS["sharpness"](inputs, tmp_path, Mock()) == {}
    assert threads
    assert set(threads) == {1}


@pytest.mark.parametrize("error", [Exception("a node timed out\nand more"), ConnectionError("nobody there")])
def test_a_cluster_that_cannot_be_reached_is_reported(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise error

    monkeypatch.setattr(pytest.importorskip("ray"), "init", refuse)
    first_line = str(error).splitlines()[0]
    with pytest.raises(TransferZooError, match=rf"Ray cluster here cannot be reached: {first_line}; check"):
        executors.RayExecutor("here")
