"""Attacks killed by `kill -9` or Ctrl-C end, when started again, with the bytes of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.process_teams import Team, command
from helpers.processes import Forked, start_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("one_thread")
UNITS, SOURCES = 3, 2


def _command(few: Path) -> list[str]:
    return [
        "attack",
        "--surrogate",
        "resnet50-sgd",
        "--targets",
        "vgg,resnet18",
        "--attack",
        "mi+di",
        "--attack",
        "ti",
        "--data",
        str(few),
        "--images",
        str(2 * UNITS),
        "--batch-size",
        "2",
        "--steps",
        "10",
    ]


def _end(process: Forked, folder: Path) -> tuple[int | None, str, str]:
    """Wait for a command to end; return its exit code and what it said."""
    process.join(120)
    out, error = ((folder / f"said.{stream}").read_text() for stream in ("out", "err"))
    return process.exitcode, out, error


def _wait_for(is_alive: Callable[[], bool], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def _units(folder: Path) -> dict[str, int]:
    """Return when each finished unit was written."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.glob("runs/*/images/*/*/[0-9]*.safetensors")
    }


def _bytes(folder: Path) -> dict[str, bytes]:
    changing = ("timings.jsonl", "started.json")
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in changing)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def undisturbed(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, bytes]]:
    """The files that an undisturbed run leaves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.delenv("TRANSFERZOO_ZOO", raising=False)
        folder = tmp_path_factory.mktemp("whole")
        code, _, error = _end(start_command(_command(few), folder), folder)
        assert code == 0, error
        yield _bytes(folder / "runs")


def test_kill_9(undisturbed: dict[str, bytes], few: Path, tmp_path: Path) -> None:
    moments = random.Random(0)
    seen: dict[str, int] = {}
    for awaited in (0, 1, 3):
        process = start_command(_command(few), tmp_path)
        _wait_for(process.is_alive, lambda awaited=awaited: _reached(tmp_path, awaited))  # type: ignore[misc]
        time.sleep(moments.uniform(0, 0.15))
        process.kill()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        now = _units(tmp_path)
        assert now.items() >= seen.items(), "a finished unit was done again"
        seen = now
    assert 3 <= len(seen) <= UNITS * SOURCES
    (run,) = (tmp_path / "runs").iterdir()
    (run / "images" / ".0004.safetensors.00ff.tmp").write_bytes(
        b"what a kill in the middle of a write leaves"
    )
    code, out, error = _end(start_command(_command(few), tmp_path), tmp_path)
    assert code == 0, error
    assert "vgg" in out
    assert _units(tmp_path).items() >= seen.items()
    assert len(set(_log(run))) == len(_log(run)) >= UNITS * SOURCES - 3, "a unit was done twice"
    assert _bytes(tmp_path / "runs") == undisturbed


def _log(run: Path) -> list[tuple[str, int]]:
    """Return attack and number of every unit that was made, in order; a kill may have cost a line."""
    lines = (run / "timings.jsonl").read_text().splitlines()
    return [(entry["attack"], entry["unit"]) for entry in map(json.loads, lines)]


def _reached(folder: Path, units: int) -> bool:
    return len(_units(folder)) >= units if units else any(folder.glob("runs/*/selection.json"))


def test_the_same_attack_twice_at_once(undisturbed: dict[str, bytes], few: Path, tmp_path: Path) -> None:
    asked = [*_command(few), "--runs", str(tmp_path / "runs")]
    places = [tmp_path / "first", tmp_path / "second"]
    for place in places:
        place.mkdir()
    started = [start_command(asked, place) for place in places]
    for process, place in zip(started, places, strict=True):
        code, out, error = _end(process, place)
        assert code == 0, error
        assert "vgg" in out
    assert _bytes(tmp_path / "runs") == undisturbed
    (run,) = (tmp_path / "runs").iterdir()
    assert len(set(_log(run))) == len(_log(run)) == UNITS * SOURCES, "each unit was made once"


def test_ctrl_c(undisturbed: dict[str, bytes], few: Path, tmp_path: Path) -> None:
    process = start_command(_command(few), tmp_path)
    _wait_for(process.is_alive, lambda: _reached(tmp_path, 1))
    os.kill(process.pid or 0, signal.SIGINT)
    code, out, error = _end(process, tmp_path)
    assert (code, out) == (130, "")
    assert error.endswith("Interrupted; the same command goes on from here.\n")
    assert not list(tmp_path.rglob("*.tmp"))
    seen = _units(tmp_path)
    assert _end(start_command(_command(few), tmp_path), tmp_path)[0] == 0
    assert _units(tmp_path).items() >= seen.items()
    assert _bytes(tmp_path / "runs") == undisturbed


def test_ctrl_c_while_starting(few: Path, tmp_path: Path) -> None:
    """In an interpreter of its own, which imports PyTorch first."""
    process = subprocess.Popen(
        [sys.executable, "-m", "transferzoo", *_command(few)],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    maps = Path(f"/proc/{process.pid}/maps")
    _wait_for(lambda: process.poll() is None, lambda: "/libtorch" in maps.read_text())
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in error
    assert not list(tmp_path.glob("runs/*/records.jsonl"))


# ---------------------------------------------------------------- several processes


def test_two_processes_leave_the_same_bytes(undisturbed: dict[str, bytes], few: Path, tmp_path: Path) -> None:
    """In the environment of torchrun, which tests/training/test_distributed.py starts itself."""
    asked = [*_command(few), "--runs", str(tmp_path / "runs")]
    done = Team(tmp_path, 2, command, asked).outcome()
    assert done.codes == [0, 0], done.err
    printed, silence = done.out
    assert (printed.count("Success rates on"), silence) == (1, "")
    assert "".join(done.err).count("Run folder:") == 1
    assert _bytes(tmp_path / "runs") == undisturbed
    (run,) = (tmp_path / "runs").iterdir()
    assert len(set(_log(run))) == len(_log(run)) == UNITS * SOURCES, "each unit was made once"
    code, out, error = _end(start_command(asked, tmp_path), tmp_path)
    assert code == 0, error
    assert out == printed


def test_what_a_killed_process_leaves_the_others_do(
    undisturbed: dict[str, bytes], few: Path, tmp_path: Path
) -> None:
    asked = [*_command(few), "--runs", str(tmp_path / "runs")]
    team = Team(tmp_path, 2, command, asked)
    first, second = team.processes
    _wait_for(lambda: first.is_alive() and second.is_alive(), lambda: _reached(tmp_path, 1))
    second.kill()
    (run,) = (tmp_path / "runs").iterdir()
    (run / "images" / ".0004.safetensors.00ff.tmp").write_bytes(b"half of a unit")
    done = team.outcome()
    assert done.codes == [0, -signal.SIGKILL], done.err
    assert "vgg" in done.out[0]
    assert _bytes(tmp_path / "runs") == undisturbed
