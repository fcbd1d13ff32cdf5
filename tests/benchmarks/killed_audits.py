"""An audit that is killed again and again finds the same: `python tests/benchmarks/killed_audits.py [KILLS]`.

One audit is left alone; the other is ended by `kill -9` at ten random moments within the time that the first
took, and then left to end. Both `audit.json` have to be the same but for `times`.
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
        alone, killed = Path(place) / "alone", Path(place) / "killed"
        started = time.monotonic()
        code = audit(alone)
        took = time.monotonic() - started
        print(f"alone: exit code {code} after {took:.0f} s", flush=True)
        for _ in range(kills):
            seconds = moments.uniform(0, took)
            ended = audit(killed, seconds)
            print(f"{'killed' if ended < 0 else 'had ended'} after {seconds:.1f} s", flush=True)
        last = audit(killed)
        same = (last, found(killed)) == (code, found(alone))
        print(
            f"left alone at last: exit code {last}, {'the same' if same else 'ANOTHER'} audit.json",
            flush=True,
        )
        return int(not same)


if __name__ == "__main__":
    sys.exit(main())
