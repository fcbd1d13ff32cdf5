"""The state of an unfinished training run, kept in its checkpoint folder.

resume.pt       everything the next step depends on, after every epoch and every minute within one; removed at
                the end
epochs/NNNN/    a checkpoint of every epoch, where they are asked for
samples/NNNN.safetensors   weights collected after the training (LGV)
tune/           a training of each radius, where one is chosen
"""

from __future__ import annotations

import hashlib
import io
import math
import time
from pickle import UnpicklingError
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import torch

from transferzoo.base.atomic import sweep, write_bytes, writing
from transferzoo.base.digests import tensors_digest
from transferzoo.base.errors import ModelError, TransferZooError, UsageError
from transferzoo.base.train_config import TrainConfig
from transferzoo.models import checkpoint
from transferzoo.models.recipe_file import read_recipe
from transferzoo.training.failures import diverged
from transferzoo.training.progress import Position

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from transferzoo.training.loop import Loop

RESUME, EPOCHS, TRIALS = "resume.pt", "epochs", "tune"
SAVE_SECONDS = 60.0
"""How often the state is kept within an epoch."""
SAVE_SHARE = 0.02
"""Largest share of the time that this may take: what is slow to write is written less often."""


class State:
    """How far a run is, and what it has measured.

    Args:
        folder: the checkpoint folder.
        work: what the run's result depends on; a folder with other work is refused.
        loop: whose weights and minimizer are kept.

    Attributes:
        curve: a line an epoch.
        seconds: of training, interruptions aside.
        best: the epoch that would be chosen now: `epoch`, `score` and its weights `model`; or empty.
    """

    def __init__(self, folder: Path, work: dict[str, Any], loop: Loop) -> None:
        self.folder, self.work = folder, work
        self.curve: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.best: dict[str, Any] = {}
        self._loop = loop
        self._counted = self._saved = self._took = 0.0

    def check(self) -> None:
        """Check that the weights and running averages can be measured and kept.

        Raises:
            TransferZooError: one is not finite; what was kept before stays.
        """
        if not all(bool(tensor.isfinite().all()) for tensor in self._loop.model.state_dict().values()):
            minimizer = self._loop.minimizer
            raise diverged("a weight is not finite", minimizer.steps, minimizer.rule)

    def start_clock(self) -> None:
        """Count seconds from now on."""
        self._counted = self._saved = time.monotonic()

    def due(self) -> bool:
        """Return whether an unfinished epoch is to be kept again."""
        return time.monotonic() - self._saved >= max(SAVE_SECONDS, self._took / SAVE_SHARE)

    def save(self, own: Sequence[dict[str, Any]] = ()) -> None:
        """Keep everything a resume needs, atomically.

        Args:
            own: what each process has of an unfinished epoch, `Loop.own_state`; nothing after a whole one.
        """
        started = time.monotonic()
        self.seconds += started - self._counted
        self._counted = started
        state = {
            "work": self.work,
            "curve": self.curve,
            "seconds": self.seconds,
            "best": self.best,
            "position": self._position(),
            **self._loop.state_dict(own),
        }
        state["sha256"] = _digest(state)
        content = io.BytesIO()
        torch.save(state, content)
        write_bytes(self.folder / RESUME, content.getvalue())
        self._saved = time.monotonic()
        self._took = self._saved - started

    def _position(self) -> dict[str, int]:
        loop = self._loop
        step, every = loop.minimizer.steps, loop.steps_per_epoch
        return {
            "step": step,
            "steps": every * loop.epochs,
            "epoch": math.ceil(step / every),
            "epochs": loop.epochs,
        }

    def resume(self) -> None:
        """Take up an earlier run's state, if there is one.

        Raises:
            UsageError: the folder holds other work, or a checkpoint of unknown origin.
            TransferZooError: the state cannot be read.
        """
        path = self.folder / RESUME
        if not path.is_file():
            if any((self.folder / name).exists() for name in (checkpoint.WEIGHTS, TRIALS)):
                raise folder_in_use(self.folder)
            return
        work, state = _read(path, self._loop.team.device)
        if {**work, "config": _completed(work.get("config", {}))} != self.work:
            raise folder_in_use(self.folder)
        self._loop.load_state_dict(state)
        self.curve, self.seconds = list(state["curve"]), float(state["seconds"])
        self.best = state["best"]


def _read(path: Path, device: torch.device) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the work and the state in a `resume.pt`."""
    try:
        state = torch.load(path, weights_only=True, map_location=device)
        if state.pop("sha256") != _digest(state):  # the format has no checksum of what tensors hold
            raise ValueError("other bytes than were written")
        return dict(state["work"]), state
    except (OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError, UnpicklingError):
        raise TransferZooError(
            f"cannot read {path}",
            expected="the state of an unfinished training",
            got="a truncated or foreign file",
            hint="delete it to start anew",
        ) from None


def kept(folder: Path) -> Position | None:
    """Return where the state stands that a folder, or that of a radius in it, holds; None where none is.

    Only what tells this is read, not the tensors, and their digest is not checked.
    """
    for place in (folder, *sorted((folder / TRIALS).glob("*"))):
        try:
            state = torch.load(place / RESUME, weights_only=True, map_location="cpu", mmap=True)
            return Position(**state["position"], folder=place)
        except (OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError, UnpicklingError):
            continue
    return None


def _digest(state: object) -> str:
    """Return the SHA-256 of nested dictionaries and lists of tensors and plain values."""
    found = hashlib.sha256()

    def add(value: object) -> None:
        if isinstance(value, torch.Tensor):
            found.update(
                f"{value.dtype} {tuple(value.shape)} {tensors_digest(value.detach().cpu())}\n".encode()
            )
        elif isinstance(value, dict):
            for key, inner in value.items():
                found.update(f"{key!r}:".encode())
                add(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                add(inner)
        else:
            found.update(f"{value!r}\n".encode())

    add(state)
    return found.hexdigest()


def holds_other(folder: Path, config: TrainConfig) -> bool:
    """Return whether a folder holds a training, finished or not, of another configuration.

    Raises:
        ModelError, TransferZooError: what it holds cannot be read.
    """
    known = read_recipe(folder)
    if known is None:
        path = folder / RESUME
        known = _read(path, torch.device("cpu"))[0] if path.is_file() else None
    try:
        return known is not None and TrainConfig(**known.get("config", {})) != config
    except ValueError:
        return True


def require_writable(folder: Path) -> None:
    """Try whether files can be made in a folder, or where it will be made; nothing is left.

    Raises:
        TransferZooError: they cannot.
    """
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    with writing(folder), TemporaryFile(dir=place):
        pass


def finished(folder: Path, work: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a finished run of this work left in `recipe.json`, None where it is not finished.

    Raises:
        UsageError: the folder holds other work.
        ModelError: the weights are not those the recipe describes.
    """
    recipe = read_recipe(folder)
    if recipe is None:
        return None
    config = _completed(recipe.get("config", {}))
    known = {"environment": work.get("environment"), **recipe, "config": config}  # older ones have none
    if any(known.get(key) != work.get(key) for key in (*work, "m", "plugins")):
        raise folder_in_use(folder)
    if checkpoint.digest(folder) != recipe.get("weights_sha256"):
        raise ModelError(
            f"the weights in {folder} are not those its {checkpoint.RECIPE} describes",
            hint="delete the folder to train again",
        )
    return recipe


def _completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration that was written before an option existed with the option's default.

    One that cannot be read is returned as it is: it is no configuration of this version.
    """
    try:
        return TrainConfig(**config).model_dump(mode="json")
    except ValueError:
        return dict(config)


def tidy(folder: Path) -> None:
    """Remove the resume state of a finished run, and what a kill while saving left behind."""
    (folder / RESUME).unlink(missing_ok=True)
    sweep(folder)


def folder_in_use(folder: Path) -> UsageError:
    """Return the error that keeps a folder with other work as it is."""
    return UsageError(
        f"{folder} holds another training run",
        expected="an empty folder or the same configuration and data",
        hint="choose another with --output",
    )
