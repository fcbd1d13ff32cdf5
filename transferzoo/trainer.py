"""The training loop: it knows a minimizer only through `step(closure)`.

A run is a function of its configuration and the data alone: the order of images and the augmentation of an
epoch are drawn from a generator seeded by (seed, epoch), so that a run resumed at the last whole epoch ends,
on the same machine, with the same bytes as one that was never stopped.
"""

from __future__ import annotations

import hashlib
import io
import math
import time
from dataclasses import dataclass
from importlib.metadata import version
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from transferzoo import checkpoint
from transferzoo.atomic import write_bytes, write_json
from transferzoo.augment import Augmenter
from transferzoo.classifier import Classifier, load
from transferzoo.errors import DataError, ModelError, TransferZooError, UsageError
from transferzoo.evaluation import predict
from transferzoo.minimizers import Minimizer, read_rule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from transferzoo.config import TrainConfig
    from transferzoo.datasets import Batch
    from transferzoo.specs import DatasetSpec

RESUME = "resume.pt"


@dataclass(frozen=True)
class Progress:
    """How far a training run is.

    Attributes:
        epoch: the current one, from 1.
        step: steps done in all.
        steps: steps of the whole run.
        loss: mean over the epoch so far.
        accuracy: on the augmented training images of the epoch so far, in [0, 1].
        images_per_second: of the epoch so far.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float
    images_per_second: float


def train(
    config: TrainConfig,
    dataset: DatasetSpec,
    data: Batch,
    test: Batch | None,
    folder: Path,
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> dict[str, Any]:
    """Train a model into a checkpoint folder, from where an earlier run of the same configuration stopped.

    Args:
        config: what to do.
        dataset: what is classified.
        data: training images.
        test: images to measure the stored weights on, if any.
        folder: the checkpoint; holds `resume.pt` until the run is finished.
        on_progress: called after every step.

    Returns:
        What `recipe.json` holds.

    Raises:
        UsageError: the folder holds another configuration's work.
        ModelError: the folder is finished, but its weights are damaged.
        TransferZooError: the loss is no longer finite, or the folder cannot be written.
    """
    work = {"config": config.model_dump(mode="json"), "data": _digest(data, dataset)}
    done = _finished(folder, work)
    if done is not None:
        _tidy(folder)
        return done
    run = _Run(config, dataset, data, folder)
    curve, seconds = run.resume(work)
    steps = run.steps_per_epoch * config.epochs
    for epoch in range(len(curve), config.epochs):
        started = time.monotonic()
        curve.append(run.epoch(epoch, steps, on_progress))
        seconds += time.monotonic() - started
        run.save(work, curve, seconds)
    half = config.storage == "fp16"
    checkpoint.save(folder, run.model, config.architecture, dataset, run.arguments, half=half)
    recipe = {
        **work,
        "fingerprint": config.fingerprint(),
        "curve": curve,
        "accuracy": _measure(folder, dataset, test),
        "weights_sha256": checkpoint.digest(folder),
        "seconds": round(seconds, 1),
        "versions": {name: version(name) for name in ("transferzoo", "torch", "timm")},
    }
    write_json(folder / checkpoint.RECIPE, recipe)
    _tidy(folder)
    return recipe


class _Run:
    """The model, the minimizer and the data of a training run."""

    def __init__(self, config: TrainConfig, dataset: DatasetSpec, data: Batch, folder: Path) -> None:
        if len(data) < config.batch_size:
            raise DataError(
                "too few training images",
                expected=f"at least one batch ({config.batch_size})",
                got=str(len(data)),
            )
        self.config, self.folder = config, folder
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed(config.seed, "weights"))
            self.model, self.arguments = checkpoint.create(config.architecture, dataset)
        self.model.to(memory_format=torch.channels_last)
        self.classifier = Classifier(
            self.model, size=None, channels=dataset.channels, mean=dataset.mean, std=dataset.std
        )
        rule = read_rule(config.minimizer)
        self.minimizer = Minimizer(rule, self.model, _base_optimizer(rule.base, self.model, config))
        self.augmenter = Augmenter(data.images, config.augment)
        self.labels = data.labels
        self.steps_per_epoch = len(data) // config.batch_size

    def epoch(self, epoch: int, steps: int, on_progress: Callable[[Progress], None]) -> dict[str, float]:
        """Run one epoch and return its line of the curve."""
        generator = torch.Generator().manual_seed(_seed(self.config.seed, f"epoch {epoch}"))
        order = torch.randperm(len(self.labels), generator=generator)
        self.model.train()
        started, losses, correct, seen = time.monotonic(), 0.0, 0, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed(self.config.seed, f"dropout {epoch}"))
            for index in range(self.steps_per_epoch):
                step = epoch * self.steps_per_epoch + index
                self._set_rate(step / steps)
                chosen = order[index * self.config.batch_size : (index + 1) * self.config.batch_size]
                loss, hits = self._step(chosen, generator)
                losses, correct, seen = losses + loss, correct + hits, seen + len(chosen)
                speed = seen / max(time.monotonic() - started, 1e-9)
                on_progress(Progress(epoch + 1, step + 1, steps, losses / (index + 1), correct / seen, speed))
        return {
            "epoch": epoch + 1,
            "learning_rate": self.minimizer.optimizer.param_groups[0]["lr"],
            "loss": round(losses / self.steps_per_epoch, 6),
            "train_accuracy": round(correct / seen, 6),
        }

    def _step(self, chosen: Tensor, generator: torch.Generator) -> tuple[float, int]:
        images = self.augmenter.batch(chosen, generator).float() / 255
        labels = self.labels[chosen]
        hits: list[int] = []

        def closure() -> Tensor:
            self.minimizer.optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.config.precision == "bf16"):
                logits = self.classifier(images).float()
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            hits.append(int((logits.argmax(1) == labels).sum()))
            return loss.detach()

        loss = float(self.minimizer.step(closure))
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss}")
        return loss, hits[0]

    def _diverged(self, sign: str) -> TransferZooError:
        return TransferZooError(
            f"training diverged at step {self.minimizer.steps}: {sign}",
            hint=f"lower the learning rate or rho; the last whole epoch, if any, is kept in {self.folder}",
        )

    def _set_rate(self, fraction: float) -> None:
        rate = self.config.learning_rate
        if self.config.schedule == "step":
            rate *= self.config.decay ** sum(fraction >= at for at in self.config.decay_at)
        for group in self.minimizer.optimizer.param_groups:
            group["lr"] = rate

    def save(self, work: dict[str, Any], curve: list[dict[str, float]], seconds: float) -> None:
        """Keep everything a resume needs, atomically.

        Raises:
            TransferZooError: a weight or running average is not finite; what was kept before stays.
        """
        if not all(bool(tensor.isfinite().all()) for tensor in self.model.state_dict().values()):
            raise self._diverged("a weight is not finite")
        state = {
            "work": work,
            "curve": curve,
            "seconds": seconds,
            "model": self.model.state_dict(),
            "minimizer": self.minimizer.state_dict(),
        }
        content = io.BytesIO()
        torch.save(state, content)
        write_bytes(self.folder / RESUME, content.getvalue())

    def resume(self, work: dict[str, Any]) -> tuple[list[dict[str, float]], float]:
        """Take up an earlier run's state; return its curve and seconds, empty for a new run.

        Raises:
            UsageError: the folder holds other work, or a checkpoint of unknown origin.
            TransferZooError: the state cannot be read.
        """
        path = self.folder / RESUME
        if not path.is_file():
            if (self.folder / checkpoint.WEIGHTS).exists():
                raise _taken(self.folder)
            return [], 0.0
        try:
            state = torch.load(path, weights_only=True)
            same = state["work"] == work
        except (OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError, UnpicklingError):
            raise TransferZooError(
                f"cannot read {path}", expected="the state of an unfinished training",
                got="a truncated or foreign file", hint="delete it to start anew",
            ) from None  # fmt: skip
        if not same:
            raise _taken(self.folder)
        self.model.load_state_dict(state["model"])
        self.minimizer.load_state_dict(state["minimizer"])
        return list(state["curve"]), float(state["seconds"])


def _finished(folder: Path, work: dict[str, Any]) -> dict[str, Any] | None:
    recipe = checkpoint.read_recipe(folder)
    if recipe is None:
        return None
    if any(recipe.get(key) != value for key, value in work.items()):
        raise _taken(folder)
    if checkpoint.digest(folder) != recipe.get("weights_sha256"):
        raise ModelError(
            f"the weights in {folder} are not those its {checkpoint.RECIPE} describes",
            hint="delete the folder to train again",
        )
    return recipe


def _tidy(folder: Path) -> None:
    """Remove the resume state of a finished run, and what a kill while saving left beside it."""
    for path in (folder / RESUME, *folder.glob(".*.tmp")):
        path.unlink(missing_ok=True)


def _taken(folder: Path) -> UsageError:
    return UsageError(
        f"{folder} holds another training run", expected="an empty folder or the same configuration and data",
        hint="choose another with --output",
    )  # fmt: skip


def _measure(folder: Path, dataset: DatasetSpec, test: Batch | None) -> dict[str, Any] | None:
    if test is None:
        return None
    model = load(folder, dataset)
    correct = int((predict(model, test.images) == test.labels).sum())
    return {"n": len(test), "correct": correct, "accuracy": round(correct / len(test), 6)}


def _base_optimizer(name: str, model: torch.nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    if name == "adamw":
        return torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
    return torch.optim.SGD(
        model.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )


def _seed(seed: int, purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}|{purpose}".encode()).digest()[:7], "big")


def _digest(data: Batch, dataset: DatasetSpec) -> dict[str, Any]:
    state = hashlib.sha256(data.images.contiguous().numpy().tobytes())
    state.update(data.labels.numpy().tobytes())
    seen_as = dataset.model_dump(mode="json", include={"classes", "mean", "std"})
    return {"n": len(data), "sha256": state.hexdigest(), **seen_as}
