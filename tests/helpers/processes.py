"""Processes that have PyTorch already: forked from one server, which all tests of a worker share."""

from __future__ import annotations

import multiprocessing
import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from helpers.stripes import begin_process, run_command

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "timm",
        "accelerate",
        "scipy.stats",
        "transferzoo.training.rho_search",
        "transferzoo.evaluation.run",
        "transferzoo.sharpness.measurement",
        "transferzoo.studies.worker",
        "transferzoo.studies.claims",
        "transferzoo.cli.app",
        "transferzoo.cli.train_job",
        "transferzoo.cli.attack_job",
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


def start_module(module: str, arguments: list[str], output: Path) -> ForkServerProcess:
    """Start the `main` of a module in the folder of `output`, as `python -m` would.

    What it says goes to `output`.out and `output`.err.
    """
    process = CONTEXT.Process(target=_be_module, args=(module, arguments, output))
    process.start()
    return process


def _be_module(module: str, arguments: list[str], output: Path) -> None:
    begin_process(output)
    os.chdir(output.parent)
    sys.argv = [module, *arguments]
    sys.exit(import_module(module).main())


def printed(program: str, folder: Path) -> str:
    """Return what a program prints that is run in a folder, as `python -c` would; it must end well."""
    process = CONTEXT.Process(target=_be_program, args=(program, folder))
    process.start()
    process.join(120)
    out, error = ((folder / f"said.{stream}").read_text() for stream in ("out", "err"))
    assert process.exitcode == 0, error
    return out


def _be_program(program: str, folder: Path) -> None:
    begin_process(folder / "said")
    os.chdir(folder)
    sys.modules["__main__"] = main = ModuleType("__main__")
    exec(program, main.__dict__)
