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

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Result

pytestmark = pytest.mark.usefixtures("one_thread")
UNITS, SOURCES = 3, 2


def _command(few: Path) -> list[str]:
    return [
        "attack", "--surrogate", "resnet50-sgd", "--targets", "vgg,resnet18", "--attack", "mi+di",
        "--attack", "ti", "--data", str(few), "--images", str(2 * UNITS), "--batch-size", "2",
        "--steps", "20",
    ]  # fmt: skip


def _start(command: list[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "transferzoo", *command], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def _wait_for(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def _units(folder: Path) -> dict[str, int]:
    """Return when each finished unit was written."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.glob("runs/*/images/*/*/[0-9]*.safetensors")
    }


def _bytes(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "timings.jsonl")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def undisturbed(cli: Callable[..., Result], few: Path, tmp_path: Path) -> dict[str, bytes]:
    result = cli(*_command(few), "--runs", "whole")
    assert result.code == 0, result.err
    return _bytes(tmp_path / "whole")


def test_kill_9(undisturbed: dict[str, bytes], few: Path, tmp_path: Path) -> None:
    moments = random.Random(0)
    seen: dict[str, int] = {}
    for awaited in (0, 1, 3):
        process = _start(_command(few), tmp_path)
        _wait_for(process, lambda awaited=awaited: _reached(tmp_path, awaited))  # type: ignore[misc]
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        now = _units(tmp_path)
        assert now.items() >= seen.items(), "a finished unit was done again"
        seen = now
    assert 3 <= len(seen) <= UNITS * SOURCES
    (run,) = (tmp_path / "runs").iterdir()
    (run / "images" / ".0004.safetensors.1.tmp").write_bytes(b"what a kill in the middle of a write leaves")
    out, error = _start(_command(few), tmp_path).communicate()
    assert "vgg" in out, error
    assert _units(tmp_path).items() >= seen.items()
    assert len(set(_log(run))) == len(_log(run)) >= UNITS * SOURCES - 3, "a unit was done twice"
    assert _bytes(tmp_path / "runs") == undisturbed


def _log(run: Path) -> list[tuple[str, int]]:
    """Return attack and number of every unit that was made, in order; a kill may have cost a line."""
    lines = (run / "timings.jsonl").read_text().splitlines()
    return [(entry["attack"], entry["unit"]) for entry in map(json.loads, lines)]


def _reached(folder: Path, units: int) -> bool:
    return len(_units(folder)) >= units if units else any(folder.glob("runs/*/clean/*.json"))


def test_ctrl_c(cli: Callable[..., Result], undisturbed: dict[str, bytes], few: Path, tmp_path: Path) -> None:
    process = _start(_command(few), tmp_path)
    _wait_for(process, lambda: _reached(tmp_path, 1))
    process.send_signal(signal.SIGINT)
    out, error = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert error == "Interrupted; the same command goes on from here.\n"
    assert not list(tmp_path.rglob("*.tmp"))
    seen = _units(tmp_path)
    assert cli(*_command(few)).code == 0
    assert _units(tmp_path).items() >= seen.items()
    assert _bytes(tmp_path / "runs") == undisturbed


def test_ctrl_c_while_starting(few: Path, tmp_path: Path) -> None:
    process = _start(_command(few), tmp_path)
    time.sleep(random.Random(1).uniform(0.8, 1.2))
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in error
    assert not list(tmp_path.glob("runs/*/records.jsonl"))


# ---------------------------------------------------------------- several processes

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "transferzoo"]


def _together(command: list[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *TORCHRUN, *command], cwd=folder, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}, start_new_session=True,
    )  # fmt: skip


def test_two_processes_leave_the_same_bytes(
    cli: Callable[..., Result], undisturbed: dict[str, bytes], few: Path, tmp_path: Path
) -> None:
    out, error = _together(_command(few), tmp_path).communicate()
    assert out.count("Success rates on") == 1, error
    assert error.count("Run folder:") == 1
    assert _bytes(tmp_path / "runs") == undisturbed
    (run,) = (tmp_path / "runs").iterdir()
    assert len(set(_log(run))) == len(_log(run)) == UNITS * SOURCES, "each unit was made once"
    assert cli(*_command(few)).out == out


def test_units_of_a_dead_process_are_done_by_a_rerun(
    undisturbed: dict[str, bytes], few: Path, tmp_path: Path
) -> None:
    process = _together(_command(few), tmp_path)
    _wait_for(process, lambda: _reached(tmp_path, 1))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    process.communicate()
    assert process.returncode != 0
    seen = _units(tmp_path)
    out, error = _together(_command(few), tmp_path).communicate()
    assert "vgg" in out, error
    assert _units(tmp_path).items() >= seen.items(), "a finished unit was done again"
    assert _bytes(tmp_path / "runs") == undisturbed
