"""An audit that is killed again and again finds the same: `python tests/benchmarks/killed_audits.py [KILLS]`.

One audit is left alone; others are ended by `kill -9`, ten times in all, at random moments within the time
that the first took. One that is killed is begun again, until it comes to its end; the next kills are of a new
one, in a folder of its own. Every `audit.json` has to be that of the first but for `times`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WORDS = ["audit", "vgg", "-s", "resnet50-sam", "-s", "densenet", "--images", "60", "--max-gradients", "10"]
COMMAND = [sys.executable, "-P", "-m", "transferzoo", *WORDS]


def audit(folder: Path, seconds: float | None = None) -> int:
    """Run the audit in a folder, killed with all its processes after some seconds; return how it ended."""
    folder.mkdir(exist_ok=True)
    cache = {**os.environ, "TRANSFERZOO_CACHE": str(folder / "cache")}
    process = subprocess.Popen(
        COMMAND,
        cwd=folder,
        env=cache,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def found(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "audits" / "vgg" / "audit.json").read_text())
    return {key: value for key, value in content.items() if key != "times"}


def main() -> int:
    kills, moments = int(sys.argv[1]) if sys.argv[1:] else 10, random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        alone = Path(place) / "alone"
        started = time.monotonic()
        code = audit(alone)
        took = time.monotonic() - started
        print(f"alone: exit code {code} after {took:.0f} s", flush=True)
        killed = audits = wrong = 0
        while killed < kills:
            audits += 1
            folder, ended = Path(place) / str(audits), -1
            while ended < 0:
                seconds = moments.uniform(0, took) if killed < kills else None
                ended = audit(folder, seconds)
                killed += ended < 0
                if ended < 0:
                    print(f"audit {audits}: killed after {seconds:.1f} s", flush=True)
            same = (ended, found(folder)) == (code, found(alone))
            wrong += not same
            what = "the same" if same else "ANOTHER"
            print(f"audit {audits}: exit code {ended}, {what} audit.json", flush=True)
        print(f"{killed} kills, {audits} audits, {wrong} of them with another audit.json", flush=True)
        return wrong


if __name__ == "__main__":
    sys.exit(main())
