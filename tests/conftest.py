"""Fixtures that several files of tests use."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import torch
from folders import data_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Keep PyTorch to one thread: tiny tensors on a busy machine wait for the others otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Result:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[..., Result]]:
    """Run the real entry point in this process, in `tmp_path`."""
    from transferzoo.cli.app import main

    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGINT)

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["transferzoo", *map(str, arguments)])
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return Result(code if isinstance(code, int) else 0, printed.out, printed.err)

    yield run
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with 60 of the built-in images, for `--data`."""
    return data_folder(tmp_path_factory.mktemp("few"), range(60))
