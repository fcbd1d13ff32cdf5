"""How long the command line takes to answer, over starting Python: `python tests/benchmarks/startup.py`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 7
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "transferzoo --help": [sys.executable, "-m", "transferzoo", "--help"],
    "transferzoo list": [sys.executable, "-m", "transferzoo", "list"],
    "transferzoo list attacks": [sys.executable, "-m", "transferzoo", "list", "attacks"],
}


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            taken[name].append(seconds(command))
    bare = statistics.median(taken["python -c pass"])
    for name, values in taken.items():
        middle = statistics.median(values)
        spread = f"median of {ROUNDS}, {min(values):.3f} to {max(values):.3f}"
        print(f"{name:28} {middle:.3f} s ({spread}), ×{middle / bare:.1f}")


if __name__ == "__main__":
    main()
