"""How long the README's first attack takes in an empty home: `python tests/benchmarks/first_attack.py`.

By the Python that runs this, whose environment has the package installed: once as the machine is, once with a
busy loop on each processor. Nothing is in the cache. The table must be the README's; on another processor,
whose last bits differ, its rates are within half a point.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

README = Path(__file__).parent.parent.parent / "README.md"
IDLE, BUSY = 40, 120
"""Seconds."""
POINTS = 0.5
LOOP = [sys.executable, "-c", "while True: pass"]


def first_attack() -> tuple[list[str], str]:
    """Return the first attack of the README, and what it prints."""
    found = re.search(
        r"<!-- output of: transferzoo (attack .*?) -->\n```text\n(.*?)```", README.read_text(), re.S
    )
    assert found
    return found[1].split(), found[2]


def run(words: list[str], home: str) -> tuple[str, float, float]:
    """Return what a command prints, and its seconds on the clock and of the processors."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("TRANSFERZOO", "XDG"))}
    environment = {**kept, "HOME": home}
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "transferzoo", *words],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the command ended with {process.returncode}")
    return printed, time.monotonic() - started, usage.ru_utime + usage.ru_stime


def rates(table: str) -> dict[str, float]:
    """Return the success rate of each row: what stands before the interval."""
    return {name: float(rate) for name, rate in re.findall(r"^ (\S+) .*? ([\d.]+) +[\d.]+–", table, re.M)}


def main() -> None:
    words, wanted = first_attack()
    processors = len(os.sched_getaffinity(0))
    print(
        f"transferzoo {' '.join(words)}; {processors} processors, load {os.getloadavg()[0]:.1f}", flush=True
    )
    for title, loops, goal in (("as the machine is", 0, IDLE), ("busy loops on all", processors, BUSY)):
        others = [subprocess.Popen(LOOP) for _ in range(loops)]
        try:
            with tempfile.TemporaryDirectory() as home:
                printed, seconds, cpu = run(words, home)
        finally:
            for other in others:
                other.kill()
                other.wait()
        found, known = rates(printed), rates(wanted)
        assert found.keys() == known.keys() and len(known) > 1
        apart = max(abs(found[name] - known[name]) for name in known)
        taken = f"{seconds:.1f} s (≤ {goal}){'' if seconds <= goal else ' ✗'}, {cpu:.1f} s of processors"
        off = f"rates at most {apart:.1f} points from the README's{'' if apart <= POINTS else ' ✗'}"
        print(f"{title}: {taken}; {off}", flush=True)


if __name__ == "__main__":
    main()
