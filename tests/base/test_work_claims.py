"""Items that processes share through claims: each is done once, also where one of them is killed."""

from __future__ import annotations

import errno
import os
import signal
import sys
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pytest

from transferzoo.base.atomic import write_text
from transferzoo.base.claims import claimed, unfinished

if TYPE_CHECKING:
    from multiprocessing.context import ForkProcess
    from multiprocessing.synchronize import Barrier
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]
ITEMS = range(12)


def work(folder: Path, barrier: Barrier, start: float, dies: bool = False) -> None:
    """Write a file an item, and a line for each that was begun; at the first wait until all have one."""
    mine = unfinished(
        ITEMS, lambda item: folder / "claims" / str(item), lambda item: (folder / str(item)).exists(), start
    )
    for begun, item in enumerate(mine):
        with (folder / "log").open("a") as stream:
            stream.write(f"{item} {os.getpid()}\n")
        if begun == 0:
            barrier.wait(60)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        write_text(folder / str(item), f"made {item}")


def begin(*members: tuple[Path, float] | tuple[Path, float, bool]) -> list[ForkProcess]:
    context = get_context("fork")
    barrier = context.Barrier(len(members))
    running = [context.Process(target=work, args=(folder, barrier, *others)) for folder, *others in members]
    for process in running:
        process.start()
    return running


def log(folder: Path) -> list[tuple[int, int]]:
    lines = (line.split() for line in (folder / "log").read_text().splitlines())
    return [(int(item), int(process)) for item, process in lines]


@pytest.mark.parametrize("starts", [(0.0, 0.0, 0.0), (0.0, 1 / 3, 2 / 3)])
def test_each_item_is_done_once_and_nobody_ends_before_all_are(
    starts: tuple[float, ...], tmp_path: Path
) -> None:
    for process in begin(*[(tmp_path, start) for start in starts]):
        process.join(60)
        assert process.exitcode == 0
        assert all((tmp_path / str(item)).exists() for item in ITEMS)
    assert sorted(item for item, _ in log(tmp_path)) == [*ITEMS]
    assert len({process for _, process in log(tmp_path)}) == len(starts)


def test_what_a_killed_process_leaves_the_others_do(tmp_path: Path) -> None:
    team = begin((tmp_path, 0.5, True), (tmp_path, 0.0), (tmp_path, 0.6))
    for process in team:
        process.join(60)
    assert [process.exitcode for process in team] == [-signal.SIGKILL, 0, 0]
    assert {(tmp_path / str(item)).read_text() for item in ITEMS} == {f"made {item}" for item in ITEMS}
    begun = [item for item, _ in log(tmp_path)]
    assert begun.count(6) == 2
    assert len(begun) == len(ITEMS) + 1


def test_what_others_hold_is_left_to_them_and_told_of(tmp_path: Path) -> None:
    done: set[int] = set()
    told: list[int] = []
    with claimed(tmp_path / "1") as first, claimed(tmp_path / "1", wait=False) as second:
        assert (first, second) == (True, False)
        mine = unfinished(range(3), lambda item: tmp_path / str(item), done.__contains__, 0.4, told.append)
        assert next(mine) == 2
        done.add(2)
        assert next(mine) == 0, "1 is left to the one that has it"
        done |= {0, 1}
    assert [*mine] == []
    assert told == [1]


def test_where_no_claim_can_be_written_everything_is_done(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert [*unfinished(range(3), lambda item: tmp_path / "file" / str(item), lambda item: item == 1)] == [
        0,
        2,
    ]


def test_where_a_file_system_has_no_locks_markers_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def flock(file: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    def hold(path: Path) -> None:
        with claimed(path):
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(fcntl, "flock", flock)
    with claimed(tmp_path / "1") as first, claimed(tmp_path / "1", wait=False) as second:
        assert (first, second) == (True, False)
    killed = get_context("fork").Process(target=hold, args=[tmp_path / "2"])
    killed.start()
    killed.join(60)
    assert (tmp_path / "2").exists(), "the marker of the killed process"
    with claimed(tmp_path / "2", wait=False) as third:
        assert third
