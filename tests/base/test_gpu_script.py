"""The script for a machine with a GPU runs: in a tiny form, where both of its devices are the CPU."""

from __future__ import annotations

import re
import sys

import pytest
import torch

from benchmarks import gpu


@pytest.mark.skipif(torch.cuda.is_available(), reason="it computes on the GPU")
@pytest.mark.usefixtures("one_thread", "cache")
def test_a_cpu_is_as_itself_and_what_is_killed_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--tiny"])
    gpu.main()
    said = capsys.readouterr().out
    rows = re.findall(r"^(mi|bsr)\S* +([\d.]+) +([\d.]+) +([\d.]+)   the same bytes$", said, re.M)
    assert [name for name, *_ in rows] == ["mi", "bsr"]
    assert all(here == there and float(differ) == 0 for _, here, there, differ in rows)
    shares = re.findall(r"(fp32|bf16): mi [\d.]+ images a second, bare compiled .* take (\d+) %", said)
    assert [precision for precision, _ in shares] == ["fp32", "bf16"]
    assert all(int(share) > 0 for _, share in shares)
    assert re.findall(r"(sgd|sam|gsam): [\d.]+ images a second", said) == ["sgd", "sam", "gsam"]
    assert "killed by signal 9 and begun again: the same bytes in 9 files" in said
