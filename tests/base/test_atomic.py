"""What is half written is swept away, unless somebody is still writing it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from transferzoo.base.atomic import sweep

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(sys.platform == "win32", reason="a process there cannot be asked whether it lives")
def test_only_what_nobody_writes_any_more_is_swept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as alive:
        names = {
            number: f".0000.safetensors.{number}.tmp" for number in (alive.pid, dead.pid, os.getpid(), 10**30)
        }
        for name in names.values():
            (tmp_path / "images").mkdir(exist_ok=True)
            (tmp_path / "images" / name).write_bytes(b"half")
        (tmp_path / "0000.tmp").write_bytes(b"a file of somebody")
        sweep(tmp_path)
        left = sorted(file.name for file in tmp_path.rglob("*.tmp"))
        assert left == [names[alive.pid], "0000.tmp"]
        alive.communicate(b"\n")
