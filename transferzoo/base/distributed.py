"""The processes that train or attack together.

One process is a team of its own; several are started by `torchrun` or `accelerate launch`. Every process sees
its share of each batch, and only what the base optimizer uses is averaged between them. Nothing here imports
torch before a team is made.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import TransferZooError, UsageError
from transferzoo.base.trackers import end_tracking, require_tracker, tracking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import torch
    from accelerate import Accelerator
    from torch import Tensor

PATIENCE = timedelta(days=1)
"""How long a process waits for the others: the first one fine-tunes while they wait."""


def this_device() -> torch.device:
    """Return where this process computes."""
    import torch

    forced = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")  # launch --cpu
    return torch.device("cuda" if torch.cuda.is_available() and not forced else "cpu")


def _no_log(line: Mapping[str, Any], epoch: int, folder: Path) -> None:
    pass


def _alone(value: Any) -> list[Any]:
    return [value]


def _first() -> bool:
    return True


@dataclass(frozen=True)
class Team:
    """What the trainer knows of the other processes; by default there are none.

    Attributes:
        rank: of this process, from 0; 0 writes the files and talks.
        size: number of processes.
        device: where this process computes.
        average: replaces tensors by their means over the processes, in place; None where there is one.
        gather: returns what every process gives it, in the order of their ranks; tensors are on the CPU.
        wait: returns when every process has come here.
        log: takes a line of a run's curve, its epoch and the run's folder, for a tracker; an empty line opens
            the tracker.
        fails_first: whether no other process asked before; who fails asks, and tells the user if so.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=this_device)
    average: Callable[[Sequence[Tensor]], None] | None = None
    gather: Callable[[Any], list[Any]] = _alone
    wait: Callable[[], None] = lambda: None
    log: Callable[[Mapping[str, Any], int, Path], None] = _no_log
    fails_first: Callable[[], bool] = _first

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and talks."""
        return self.rank == 0

    def agrees(self, number: int) -> bool:
        """Return whether a number is the same in all processes."""
        import torch

        moments = torch.tensor([number, number**2], dtype=torch.float64)
        if self.average is not None:
            self.average([moments])
        mean, square = moments.tolist()
        return bool(abs(square - mean**2) < 1e-6)

    def any(self, holds: bool) -> bool:
        """Return whether something holds in any of the processes."""
        if self.average is None:
            return holds
        import torch

        share = torch.tensor([float(holds)])
        self.average([share])
        return bool(share > 0)

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Seed PyTorch's own generators inside the block and put them back afterwards."""
        import torch

        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield

    def random_states(self) -> list[Tensor]:
        """Return the states of the generators that `seeded` seeds, on the CPU."""
        import torch

        cuda = [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else []
        return [torch.get_rng_state(), *cuda]

    def set_random_states(self, states: Sequence[Tensor]) -> None:
        """Take up what `random_states` returned, wherever it is now."""
        import torch

        torch.set_rng_state(states[0].cpu())
        for state in states[1:]:
            torch.cuda.set_rng_state(state.cpu(), self.device)


def follows() -> bool:
    """Return whether a launcher started this process, and not as the first of its team."""
    return _several() and os.environ.get("RANK", "0") != "0"


def _several() -> bool:
    return os.environ.get("WORLD_SIZE", "1") not in ("", "0", "1")


@contextmanager
def join_team(log_with: str | None, folder: Path) -> Iterator[Team]:
    """Give the team that this process belongs to, through Accelerate where there is more than this process.

    Args:
        log_with: a tracker, one of `trackers.TRACKERS`; None for none.
        folder: the checkpoint; a tracker's files go to its sub-folder `logs`.

    Raises:
        UnknownNameError: no such tracker.
        UsageError: a launcher said only half of what it should.
        TransferZooError: the tracker is not installed or does not start, or another process has stopped.
    """
    if log_with is not None:
        require_tracker(log_with)
    if not _several() and log_with is None:
        yield Team()
        return
    _require_launcher()
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    accelerator = Accelerator(
        cpu=this_device().type == "cpu",
        mixed_precision="no",
        log_with=log_with,
        project_dir=folder,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    several = accelerator.num_processes > 1
    device = accelerator.device
    if device.type != "cuda":
        device = this_device()  # without a number: cpu:0 loads no state
    yield Team(
        rank=accelerator.process_index,
        size=accelerator.num_processes,
        device=device,
        average=_averaging(accelerator) if several else None,
        gather=_gathering() if several else _alone,
        wait=_waiting(accelerator),
        log=tracking(accelerator, log_with, folder) if log_with else _no_log,
        fails_first=_failing(accelerator.process_index) if several else _first,
    )
    end_tracking(accelerator)  # not after an error: the others may have gone, and NCCL would wait for them


def _require_launcher() -> None:
    """Check the environment, which a cluster may have filled in part, before PyTorch waits for the rest."""
    wanted = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in wanted if not os.environ.get(name)]
    if _several() and missing:
        raise UsageError(
            "WORLD_SIZE speaks of several processes",
            expected=f"{' and '.join(missing)} to be set, too",
            hint="start them with torchrun or `accelerate launch`, or unset WORLD_SIZE",
        )


@contextmanager
def _in_company() -> Iterator[None]:
    """Turn what a collective raises when another process has gone into a sentence."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise TransferZooError(
            "another process of this command has stopped",
            hint="the same command goes on from what is finished",
        ) from error


def _averaging(accelerator: Accelerator) -> Callable[[Sequence[Tensor]], None]:
    """Return a function that averages tensors in place: one message a dtype, whatever their number."""
    import torch

    def average(tensors: Sequence[Tensor]) -> None:
        buckets: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            buckets.setdefault(tensor.dtype, []).append(tensor.detach())
        for bucket in buckets.values():
            flat = torch.cat([tensor.reshape(-1).to(accelerator.device) for tensor in bucket])
            with _in_company():
                flat = accelerator.reduce(flat, "mean")
            parts = flat.split([tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view(tensor.shape))

    return average


def _gathering() -> Callable[[Any], list[Any]]:
    from accelerate.utils import gather_object

    def gather(value: Any) -> list[Any]:
        with _in_company():
            return list(gather_object([value]))

    return gather


def _waiting(accelerator: Accelerator) -> Callable[[], None]:
    def wait() -> None:
        with _in_company():
            accelerator.wait_for_everyone()

    return wait


def _failing(rank: int) -> Callable[[], bool]:
    """Return `Team.fails_first`: the first to leave its number in the launcher's store is the one."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(*place, is_master=False, timeout=timedelta(seconds=30))
    key = f"transferzoo/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/failed"

    def fails_first() -> bool:
        try:
            return bool(store.compare_set(key, "", str(rank)) == str(rank).encode())
        except RuntimeError:  # who kept the store has gone
            return rank == 0

    return fails_first
