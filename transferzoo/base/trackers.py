"""Trackers of experiments, through Accelerate: TensorBoard, Trackio and Weights & Biases."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import TransferZooError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from accelerate import Accelerator

TRACKERS = ("tensorboard", "trackio", "wandb")
"""What `--log-with` takes; the name of the package, too."""
LOGS = "logs"
"""Sub-folder of a checkpoint: what a tracker writes on this machine."""


def end_tracking(accelerator: Accelerator) -> None:
    """Close the tracker and the process group; trackers talk, but stdout is for data."""
    with redirect_stdout(sys.stderr):
        accelerator.end_training()
        if any(tracker.name == "trackio" for tracker in accelerator.trackers):
            import trackio

            trackio.finish()  # or it does when Python exits, on stdout


def require_tracker(name: str) -> None:
    """Check that there is such a tracker and that it is installed.

    Raises:
        UnknownNameError: no such tracker.
        TransferZooError: it is not installed.
    """
    if name not in TRACKERS:
        raise UnknownNameError("tracker", name, TRACKERS)
    if find_spec(name) is None:
        raise TransferZooError(
            f"{name} is not installed", hint=f"run `pip install {name}`, or leave out --log-with"
        )


def tracking(
    accelerator: Accelerator, name: str, root: Path
) -> Callable[[Mapping[str, Any], int, Path], None]:
    """Return `Team.log`; runs in sub-folders, those of `--tune`, have their path before their numbers."""
    logs = root / LOGS
    options = {"wandb": {"name": root.name, "dir": str(logs)}, "trackio": {"name": root.name}}

    def log(line: Mapping[str, Any], epoch: int, folder: Path) -> None:
        if not accelerator.is_main_process:
            return
        if not accelerator.trackers:
            try:
                logs.mkdir(parents=True, exist_ok=True)
                with redirect_stdout(sys.stderr):
                    accelerator.init_trackers(LOGS if name == "tensorboard" else "transferzoo", None, options)
            except Exception as error:  # each has errors of its own
                raise TransferZooError(f"{name} does not start", got=str(error).strip(" .")) from error
        values = dict(_numbers(line, "" if folder == root else f"{folder.relative_to(root)}/"))
        if values:  # wandb drops steps that go back, as those of the next radius would; it has the epoch
            accelerator.log(values, step=None if name == "wandb" else epoch)

    return log


def _numbers(line: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    """Yield path and value of every number, those of nested mappings too."""
    for key, value in line.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)):
            yield f"{prefix}{key}", value
