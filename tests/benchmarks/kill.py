"""Commands killed by `kill -9` at random: `python tests/benchmarks/kill.py [SHARE [SEED [COMMAND…]]]`.

An attack is killed at 30 moments, a training at 20, a study at 10, or at SHARE of them; of the commands
`attack`, `train` and `study` only those that are named. A command is killed again and again, and then runs to
its end; what it leaves and prints is compared with what a run leaves that nothing disturbed, all but the
times. A moment counts only if the command was still running.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.processes import start_command
from helpers.stripes import ZOO, draw, write_idx
from helpers.studies import write_study

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMES = {"seconds", "images_per_second"}
"""Fields of JSON files that tell how long something took."""
CHANGING = {"timings.jsonl", "started.json", "said.err"}
KILLS = 5
"""How often a run is killed before it may end."""


class Command(NamedTuple):
    """A command that is killed.

    Attributes:
        moments: how often.
        arguments: what it is, run in a folder of its own.
    """

    moments: int
    arguments: list[str]


def commands(data: Path) -> dict[str, Command]:
    """Write data into a folder; return the commands that use it."""
    study = write_study(data)
    write_idx(data / "data", "train", draw(256, 0))
    (data / "zoo.yaml").write_text(ZOO)
    own = ["--dataset", "stripes", "--data", str(data / "data"), "--zoo", str(data / "zoo.yaml")]
    at = study.index("--store")
    attack = ["attack", "-s", "resnet50-sgd", "-t", "vgg", "-a", "mi+di", "-a", "ti", "--images", "6"]
    attack += ["--batch-size", "2", "--steps", "6", "--curve", "3"]
    train = ["train", *own, "--architecture", "small_vgg:width=4", "--minimizer", "sam", "--epochs", "5"]
    train += ["--batch-size", "16", "--save-every", "epoch", "--output", "model"]
    study = [*study[:at], "--store", "store", "--results", "found.jsonl.gz"]
    moments = {"attack": 30, "train": 20, "study": 10}
    return {
        name: Command(moments[name], [*arguments, "--json"])
        for name, arguments in (("attack", attack), ("train", train), ("study", study))
    }


def untimed(content: Any) -> Any:
    """Return JSON content without times."""
    if isinstance(content, list):
        return [untimed(item) for item in content]
    if isinstance(content, dict):
        return {key: untimed(item) for key, item in content.items() if key not in TIMES}
    return content


def end(command: Command, folder: Path) -> dict[str, object]:
    """Run a command to its end; return what lies in its folder, by paths; of JSON what it says, untimed."""
    process = start_command(command.arguments, folder)
    process.join()
    assert process.exitcode == 0, (folder / "said.err").read_text()
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.name in CHANGING:
            continue
        content = path.read_bytes()
        timed = path.suffix == ".json" or path.name == "said.out"
        found[path.relative_to(folder).as_posix()] = untimed(json.loads(content)) if timed else content
    return found


def kill(command: Command, folder: Path, seconds: float, draws: random.Random, most: int) -> int:
    """Kill a command, at most a number of times or until it was faster; return how often it was killed."""
    for killed in range(most):
        process = start_command(command.arguments, folder)
        process.join(draws.uniform(0, seconds))
        process.kill()
        process.join()
        if process.exitcode == 0:
            return killed
    return most


def main(share: float, seed: int, names: Sequence[str]) -> int:
    """Kill every command; print how often, and what differs; return how many runs ended with other bytes."""
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    os.environ.pop("TRANSFERZOO_ZOO", None)
    home, wrong = Path(tempfile.mkdtemp(prefix="kill")), 0
    (home / "data").mkdir()
    start_command(["--version"], home).join()  # what processes are forked from imports PyTorch, once
    every = commands(home / "data")
    for name, command in ((name, every[name]) for name in names or every):
        whole = home / name
        whole.mkdir()
        begun = time.monotonic()
        expected = end(command, whole)
        seconds = time.monotonic() - begun
        draws, killed, runs, moments = random.Random(f"{seed} {name}"), 0, 0, round(share * command.moments)
        while killed < moments:
            folder = home / f"{name}-{runs}"
            folder.mkdir()
            runs += 1
            killed += kill(command, folder, seconds, draws, min(KILLS, moments - killed))
            found = end(command, folder)
            if differing := sorted(p for p in found | expected if found.get(p) != expected.get(p)):
                wrong += 1
                print(f"{name} in {folder}: {', '.join(differing)}", flush=True)
        print(f"{name}: {killed} kills in {runs} runs of {seconds:.0f} s, compared: {len(expected)} files")
        sys.stdout.flush()
    print(f"{wrong} runs differ" if wrong else "every run: the same bytes")
    return wrong


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(bool(main(float(given[0]) if given else 1.0, int(given[1]) if given[1:] else 0, given[2:])))
