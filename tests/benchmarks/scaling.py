"""How much faster two processes are than one: `python tests/benchmarks/scaling.py`, half an hour.

On two processors. The grid of four built-in surrogates, three attacks and nine targets, as one command and
as two in the same folder, and a study of seventeen trainings, as one command and as two on the same store.
Each command computes in one process and one thread, from an empty cache, start-up included. Rounds are
interleaved, ratios are of medians; goals are marked. What two leave is held against what one leaves, byte by
byte.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.studies import STUDY, write_study

SURROGATES = ("resnet50-sgd", "resnet50-sam", "resnet50-lsam", "resnet50-early")
ATTACKS = ("bim", "mi", "mi+di")
TARGETS = 9
GRID, STUDIES = 1.7, 1.6
"""Goals: one over two, of the grid and of the study."""
Run = Callable[[Path, int], bytes]


def start(arguments: list[str], folder: Path) -> subprocess.Popen[str]:
    """Start a command in one thread, with a cache of the folder's own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TRANSFERZOO_CACHE": str(folder / "cache")}
    command = [sys.executable, "-P", "-m", "transferzoo", *arguments]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **quiet)  # type: ignore[call-overload,no-any-return]


def finish(commands: list[subprocess.Popen[str]]) -> None:
    for command in commands:
        _, error = command.communicate()
        if command.returncode:
            sys.exit(error)


def grid(images: int) -> Run:
    """Return what runs the grid by some commands and gives its records."""
    named = [part for name in SURROGATES for part in ("-s", name)]
    named += [part for spec in ATTACKS for part in ("-a", spec)]
    arguments = ["attack", *named, "--images", str(images), "--batch-size", "25", "--jobs", "1"]

    def run(folder: Path, count: int) -> bytes:
        finish([start(arguments, folder) for _ in range(count)])
        (records,) = folder.glob("runs/*/records.jsonl")
        return records.read_bytes()

    return run


def study(epochs: int) -> Run:
    """Return what runs the study by some commands and gives its results."""
    text = STUDY.replace("epochs: 2", f"epochs: {epochs}").replace("{epoch: all}", "{}")
    text = text.replace("seeds: [0, 1]", f"seeds: {[*range(8)]}")

    def run(folder: Path, count: int) -> bytes:
        arguments = write_study(folder, text)[:-1]
        files = [folder / f"found{number}.jsonl.gz" for number in range(count)]
        finish([start([*arguments, str(file)], folder) for file in files])
        (found,) = {file.read_bytes() for file in files}
        return found

    return run


def compare(title: str, run: Run, rounds: int, goal: float) -> None:
    """Print the median seconds of one and of two commands, and their ratio."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    found: set[bytes] = set()
    for number in range(rounds):
        for count in (1, 2) if number % 2 == 0 else (2, 1):
            with tempfile.TemporaryDirectory() as place:
                started = time.monotonic()
                found.add(run(Path(place), count))
                seconds[count].append(time.monotonic() - started)
    one, two = (statistics.median(seconds[count]) for count in (1, 2))
    same = "the same bytes" if len(found) == 1 else "OTHER BYTES"
    missed = "" if one / two >= goal else ", MISSED"
    print(
        f"{title}: one {one:.1f} s, two {two:.1f} s, {one / two:.2f} x (goal {goal}{missed}), {same}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=500, help="of the grid")
    parser.add_argument("--epochs", type=int, default=200, help="of the study's trainings")
    options = parser.parse_args()
    print(
        f"{len(os.sched_getaffinity(0))} processors, load {os.getloadavg()[0]:.1f}, {options.rounds} rounds"
    )
    compare(
        f"{len(SURROGATES)} x {len(ATTACKS)} x {TARGETS}, {options.images} images",
        grid(options.images),
        options.rounds,
        GRID,
    )
    compare(f"a study, {options.epochs} epochs", study(options.epochs), options.rounds, STUDIES)


if __name__ == "__main__":
    main()
