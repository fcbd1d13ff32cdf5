"""Processes that have PyTorch already: forked from one server, which all tests of a worker share."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import traceback
import warnings
from importlib import import_module
from multiprocessing import forkserver, util
from multiprocessing.context import ForkServerProcess
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch

from helpers.stripes import begin_process, run_command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PRELOADED = [
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
multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)


class Forked(ForkServerProcess):
    """A process of the server, with the environment of the test that starts it."""

    def __init__(self, target: Callable[..., None], args: tuple[object, ...], **keywords: object) -> None:
        super().__init__(target=target, args=args, kwargs=keywords)
        self._environment = dict(os.environ)

    def run(self) -> None:
        """Be the process."""
        os.environ.clear()
        os.environ.update(self._environment)
        super().run()


def start_server() -> None:
    """Fork the server from this process, before it runs a test or has threads: nothing is imported again."""
    for module in PRELOADED:
        import_module(module)
    with patch.object(util, "spawnv_passfds", _forking(util.spawnv_passfds)):
        forkserver.ensure_running()


def start_command(arguments: list[str], folder: Path, said: str = "said", **variables: str) -> Forked:
    """Start a command line in a folder, as a process group of its own.

    What it says goes to files in the folder, or to what is there already, as the link to a terminal is.

    Args:
        arguments: what follows `transferzoo`.
        folder: where it works.
        said: name of the files, but for .out and .err.
        variables: of its environment, beside those of this process.
    """
    process = Forked(target=_be_command, args=(arguments, folder, said, variables))
    process.start()
    return process


def _be_command(arguments: list[str], folder: Path, said: str, variables: dict[str, str]) -> None:
    os.setpgid(0, 0)
    os.environ.pop("OMP_NUM_THREADS", None)  # what this process starts may have all processors
    os.environ |= variables
    os.chdir(folder)
    util.spawnv_passfds = _forking(util.spawnv_passfds)
    run_command(arguments, folder / said, "")


def _forking(start: Callable[..., int]) -> Callable[..., int]:
    """Return what starts a fork server as a fork of its parent, which has PyTorch, and all else as usual.

    Args:
        start: `multiprocessing.util.spawnv_passfds`, which starts an interpreter that inherits some files.
    """

    def fork(path: bytes, arguments: list[Any], files: list[int]) -> int:
        program = arguments[-1]
        if "forkserver" not in program:
            return start(path, arguments, files)
        if child := os.fork():
            return child
        forkserver._forkserver.__init__()  # type: ignore[misc]  # this process has none yet, and its lock is held
        torch.set_num_threads(1)
        gc.enable()
        for usual in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", usual)
        before = 3
        for file in (*sorted(files), os.sysconf("SC_OPEN_MAX")):  # others would keep their pipes open
            os.closerange(before, file)
            before = file + 1
        try:
            exec(program, {})
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(0)

    return fork


def start_launcher(module: str, arguments: list[str], output: Path) -> Forked:
    """Start the `main` of a launcher in the folder of `output`, as `python -m` would.

    What it says goes to `output`.out and `output`.err.
    """
    process = Forked(target=_be_launcher, args=(module, arguments, output))
    process.start()
    return process


def _be_launcher(module: str, arguments: list[str], output: Path) -> None:
    begin_process(output)
    os.chdir(output.parent)
    sys.argv = [module, *arguments]
    sys.exit(import_module(module).main())


def printed(program: str, folder: Path) -> str:
    """Return what a program prints that is run in a folder, as `python -c` would; it must end well."""
    process = Forked(target=_be_program, args=(program, folder))
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
