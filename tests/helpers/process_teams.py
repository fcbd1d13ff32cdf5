"""Teams of processes that train together, from a server that has PyTorch already, and the fates they meet."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from helpers.processes import Forked
from helpers.stripes import ZOO, begin_process, config, draw, save_every_step, write_idx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

OPTIONS = ["--minimizer", "sam:rho=0.1", "--epochs", "3", "--batch-size", "64", "--seed", "3"]


@dataclass(frozen=True)
class Outcome:
    """What the processes of a team left: exit codes, stdout and stderr, one a process."""

    codes: list[int | None]
    out: list[str]
    err: list[str]


class Team:
    """Processes as a launcher would start them; what they say goes to files in a folder."""

    def __init__(self, folder: Path, size: int, job: Callable[..., None], *arguments: object) -> None:
        self._files = [folder / f"process{rank}" for rank in range(size)]
        self._store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)  # as torchrun has one
        port = self._store.port
        self.processes = [
            Forked(target=member, args=(rank, size, port, self._files[rank], job, *arguments))
            for rank in range(size)
        ]
        for process in self.processes:
            process.start()

    def outcome(self) -> Outcome:
        """Wait until all have ended."""
        for process in self.processes:
            process.join(100)
            process.kill()  # no effect on what has ended
        codes = [process.exitcode for process in self.processes]
        said = [[f.with_suffix(suffix).read_text() for f in self._files] for suffix in (".out", ".err")]
        return Outcome(codes, *said)


class Bench:
    """A folder with data and a zoo file, and teams at work in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_idx(folder / "data", "train", draw(192, 0))
        write_idx(folder / "data", "t10k", draw(64, 1))
        (folder / "zoo.yaml").write_text(ZOO)

    def arguments(self, output: str, *options: str) -> list[str]:
        """Return a command line that trains into a folder."""
        model = ["--dataset", "stripes", "--architecture", "small_vgg:width=4"]
        places = ["--zoo", self.folder / "zoo.yaml", "--data", self.folder / "data"]
        target = ["--output", str(self.folder / output)]
        return ["train", *model, *OPTIONS, *map(str, places), *target, *options]

    def command(
        self, output: str, *options: str, size: int = 2, fate: str = "", every_step: bool = False
    ) -> Outcome:
        """Run the command line in the processes of a team; they may keep the state after every step."""
        return self._run(size, command, self.arguments(output, *options), fate, every_step)

    def cases(self, cases: Mapping[str, Mapping[str, Any]], size: int) -> Path:
        """Train every case, keep the state its last epoch left, and return the folder of the cases."""
        folder = self.folder / f"by {size}"
        done = self._run(size, train_cases, folder, cases)
        assert done.codes == [0] * size, done.err
        return folder

    def _run(self, size: int, job: Callable[..., None], *arguments: object) -> Outcome:
        return Team(self.folder, size, job, *arguments).outcome()

    def weights(self, output: str) -> bytes:
        """Return the bytes of a checkpoint's weights."""
        return (self.folder / output / "model.safetensors").read_bytes()


def member(rank: int, size: int, port: int, output: Path, job: Callable[..., None], *arguments: Any) -> None:
    """Be a process of a team, in the environment a launcher would give it."""
    begin_process(output)
    if size > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
        os.environ |= {
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
    job(*arguments)


def command(arguments: list[str], fate: str = "", every_step: bool = False) -> None:
    """Be the process of a command line.

    Args:
        arguments: what follows `transferzoo`.
        fate: "KIND RANK" lets that process meet a NaN, an error, a bug or a SIGKILL in the second step of the
            second epoch, or have a folder of its own.
        every_step: whether the state is kept after every step.
    """
    if every_step:
        save_every_step(pytest.MonkeyPatch())
    kind, _, rank = fate.partition(" ")
    if kind and rank == os.environ.get("RANK"):
        if kind == "elsewhere":
            arguments[arguments.index("--output") + 1] += " elsewhere"
        _doom(kind)
    sys.argv = ["transferzoo", *arguments]
    from transferzoo.cli.app import main

    main()


def _doom(kind: str) -> None:
    from transferzoo.base.errors import DataError
    from transferzoo.training.feeds import Memory

    undisturbed, epochs = Memory.epoch, []

    def epoch(self: Memory, seed: int, *shares: Any) -> Iterator[tuple[Tensor, Tensor]]:
        epochs.append(seed)
        for step, (images, labels) in enumerate(undisturbed(self, seed, *shares), 1):
            doomed = (len(epochs), step) == (2, 2)
            if doomed and kind == "error":
                raise DataError("the disk is gone")
            if doomed and kind == "bug":
                raise LookupError("a bug")
            if doomed and kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            yield images * float("nan") if doomed and kind == "nan" else images, labels

    Memory.epoch = epoch  # type: ignore[method-assign, assignment]


def train_cases(folder: Path, cases: Mapping[str, Mapping[str, Any]]) -> None:
    """Train in double precision, unless a case says otherwise, through the trainer itself."""
    from transferzoo.base.distributed import join_team
    from transferzoo.training import trainer
    from transferzoo.zoo.reader import load_zoo

    data = draw(192, 0)
    with patch("transferzoo.training.trainer.tidy"), join_team(None, folder) as team:
        if team.leads:
            folder.mkdir()
        team.wait()
        dataset = load_zoo(folder.parent / "zoo.yaml").dataset("stripes")
        for name, changes in cases.items():
            values = {"epochs": 2, "batch_size": 64, "precision": "fp64", **changes}
            trainer.train(config(**values), dataset, data, None, folder / name, team=team)
