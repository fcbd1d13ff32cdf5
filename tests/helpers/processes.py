"""Processes that have PyTorch already: forked from one server, which all tests of a worker share."""

from __future__ import annotations

import multiprocessing
import os
from typing import TYPE_CHECKING

from helpers.stripes import run_command

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "timm",
        "accelerate",
        "transferzoo.training.rho_search",
        "transferzoo.studies.worker",
        "transferzoo.cli.app",
    ]
)


def start_command(arguments: list[str], folder: Path) -> ForkServerProcess:
    """Start a command line in a folder, as a process group of its own.

    What it says goes to `said.out` and `said.err` there.
    """
    process = CONTEXT.Process(target=_be_command, args=(arguments, folder))
    process.start()
    return process


def _be_command(arguments: list[str], folder: Path) -> None:
    os.setpgid(0, 0)
    os.environ.pop("OMP_NUM_THREADS", None)  # what this process starts may have all processors
    os.chdir(folder)
    run_command(arguments, folder / "said", "")
