"""Work shared among forked processes: each item once, results back, and the first error ends all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import torch

from transferzoo.base import processes
from transferzoo.base.atomic import replacing
from transferzoo.base.errors import DataError, TransferZooError, UsageError
from transferzoo.base.processes import own_devices, share, shares, usual_jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


@pytest.mark.parametrize("jobs", [1, 2, 3, 9])
def test_every_item_is_done_once_and_in_one_thread(jobs: int) -> None:
    found: list[tuple[int, int, int]] = []

    def work(items: Sequence[int], send: Callable[[tuple[int, int, int]], None]) -> None:
        for item in items:
            send((item, torch.get_num_threads(), os.getpid()))

    share(work, shares(range(7), jobs), found.append)
    assert sorted(item for item, _, _ in found) == list(range(7))
    assert {threads for _, threads, _ in found} == {1}
    assert len({process for _, _, process in found}) == min(jobs, 7)
    assert (os.getpid() in {process for _, _, process in found}) == (jobs == 1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_ends_all(jobs: int) -> None:
    def work(items: Sequence[int], send: Callable[[int], None]) -> None:
        for item in items:
            if item == 1:
                raise DataError("image 1 is broken", hint="mend it")
            time.sleep(0 if jobs == 1 else 60)

    started = time.monotonic()
    with pytest.raises(DataError, match=r"^image 1 is broken; mend it\.$"):
        share(work, shares([0, 1], jobs), lambda _: None)
    assert time.monotonic() - started < 30


class _SlowToTell(DataError):
    """An error that a process is still handing on while it is ended."""

    def __reduce__(self) -> tuple[type[DataError], tuple[str]]:
        time.sleep(2)
        return DataError, ("slow",)


def test_a_process_that_is_ended_while_it_tells_an_error_prints_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def work(items: Sequence[int], send: Callable[[int], None]) -> None:
        if items[0]:
            raise _SlowToTell("slow")
        time.sleep(0.5)
        raise DataError("quick")

    with pytest.raises(DataError, match="quick"):
        share(work, [[0], [1]], lambda _: None)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("delay", range(0, 4000, 100))
def test_processes_that_are_ended_sweep_up_what_they_were_writing(
    delay: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The second process is ended at some microsecond of its start or its writing, as the first one sends."""

    def work(items: Sequence[int], send: Callable[[int], None]) -> None:
        time.sleep(items[0] * delay / 1e6)
        with replacing(tmp_path / "images.bin") as stream:
            stream.write(b"half")
            send(items[0])
            time.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        share(work, [[0], [1]], _interrupt)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_a_process_that_misses_the_first_signal_sweeps_up_too(tmp_path: Path) -> None:
    """As one does that is about to wait in the operating system: Python hears it after the wait."""

    def work(items: Sequence[int], send: Callable[[int], None]) -> None:
        usual = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, usual))
        with replacing(tmp_path / "images.bin"):
            send(items[0])
            while True:
                time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        share(work, [[0], [1]], _interrupt)
    assert not list(tmp_path.iterdir())


def test_a_process_that_sweeps_up_slowly_is_not_interrupted(tmp_path: Path) -> None:
    def work(items: Sequence[int], send: Callable[[int], None]) -> None:
        left = tmp_path / str(items[0])
        try:
            left.touch()
            send(items[0])
            time.sleep(60)
        finally:
            time.sleep(0.3 * items[0])
            left.unlink(missing_ok=True)

    with pytest.raises(KeyboardInterrupt):
        share(work, [[0], [1], [2], [3], [4], [5], [6]], _interrupt)
    assert not list(tmp_path.iterdir())


def _interrupt(_: int) -> None:
    raise KeyboardInterrupt


def test_an_error_of_ours_is_no_sentence() -> None:
    def work(items: Sequence[int], send: Callable[[int], None]) -> None:
        raise KeyError("key")

    with pytest.raises(RuntimeError, match="in a process of this command: KeyError"):
        share(work, [[0], [1]], lambda _: None)


def test_a_killed_process_is_a_sentence() -> None:
    def work(items: Sequence[int], send: Callable[[int], None]) -> None:
        if items[0] == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(
        TransferZooError, match=r"a process of this command was killed: got exit code -9; .*--jobs 1"
    ):
        share(work, [[0], [1]], lambda _: None)


PARENT = """
import os, sys, time
from transferzoo.base.processes import share
def work(items, send):
    with open(f"{sys.argv[1]}/{os.getpid()}", "w"):
        time.sleep(100)
share(work, [[0], [1]], print)
"""


def test_children_end_with_their_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)])
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    children = [int(path.name) for path in tmp_path.iterdir()]
    while any(_lives(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _lives(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_forked_processes_are_refused_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA cannot be used in what is forked from a process that has asked for a GPU."""
    monkeypatch.setattr(processes, "this_device", lambda: torch.device("cuda"))
    done: list[int] = []
    with pytest.raises(UsageError, match=r"expected --jobs 1, got 2; .* torchrun --nproc-per-node"):
        share(lambda part, send: send(part), [1, 2], done.append)
    share(lambda part, send: send(part), [3], done.append)
    assert done == [3]


@pytest.mark.parametrize(
    "device, named, found",
    [
        ("cuda", None, ["0", "1"]),
        ("cuda", "2,GPU-8932f937", ["2", "GPU-8932f937"]),
        ("cpu", "0,1", []),
    ],
)
def test_devices_are_those_that_this_process_may_use(
    device: str, named: str | None, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "this_device", lambda: torch.device(device))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv(processes.VISIBLE, raising=False)
    if named is not None:
        monkeypatch.setenv(processes.VISIBLE, named)
    assert own_devices() == found


def test_as_many_as_processors() -> None:
    assert usual_jobs() == (1 if torch.cuda.is_available() else len(os.sched_getaffinity(0)))
