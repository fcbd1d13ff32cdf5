"""The script for a machine with a GPU runs: in a tiny form, where both of its devices are the CPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="it computes on the GPU")
def test_a_cpu_is_as_itself_and_what_is_killed_goes_on(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TRANSFERZOO_CACHE": str(tmp_path)}
    command = [sys.executable, "-P", str(ROOT / "tests/benchmarks/gpu.py"), "--tiny"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^(mi|bsr)\S* +([\d.]+) +([\d.]+) +([\d.]+)   the same bytes$", done.stdout, re.M)
    assert [name for name, *_ in rows] == ["mi", "bsr"]
    assert all(here == there and float(differ) == 0 for _, here, there, differ in rows)
    shares = re.findall(r"(fp32|bf16): mi [\d.]+ images a second, bare compiled .* take (\d+) %", done.stdout)
    assert [precision for precision, _ in shares] == ["fp32", "bf16"]
    assert all(int(share) > 0 for _, share in shares)
    assert re.findall(r"(sgd|sam|gsam): [\d.]+ images a second", done.stdout) == ["sgd", "sam", "gsam"]
    assert "killed by signal 9 and begun again: the same bytes in 9 files" in done.stdout
