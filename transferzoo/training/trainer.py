"""A training run, from a configuration to a checkpoint folder.

A run is a function of its configuration and the data alone: the order of images and the augmentation of an
epoch are drawn from a generator seeded by (seed, epoch), and what an unfinished epoch has come to is kept, so
that a run resumed at any step ends, on the same machine, with the same bytes as one that was never stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from transferzoo.base.atomic import sha256, write_bytes, write_json
from transferzoo.base.distributed import Team
from transferzoo.base.environment import environment, versions
from transferzoo.base.errors import UsageError
from transferzoo.base.heap import kept_heap
from transferzoo.datasets import Batch
from transferzoo.models import checkpoint
from transferzoo.models.classifier import load_checkpoint
from transferzoo.models.predict import predict
from transferzoo.models.state_dict import serialised
from transferzoo.training.early_stopping import TransferScorer
from transferzoo.training.feeds import Memory
from transferzoo.training.finetuning import identity
from transferzoo.training.loop import Loop
from transferzoo.training.progress import Progress
from transferzoo.training.recipes import plugins_of
from transferzoo.training.resume import EPOCHS, State, finished, require_writable, tidy
from transferzoo.training.threads import usual_threads
from transferzoo.training.untrained import untrained

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from transferzoo.base.train_config import TrainConfig
    from transferzoo.models.classifier import Classifier
    from transferzoo.training.feeds import Feed
    from transferzoo.zoo.schema import DatasetSpec

__all__ = ["Progress", "train"]


def train(
    config: TrainConfig,
    dataset: DatasetSpec,
    data: Batch | Feed,
    test: Batch | None,
    folder: Path,
    *,
    start: Path | None = None,
    validators: Mapping[str, Path] | None = None,
    team: Team | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> dict[str, Any]:
    """Train a model into a checkpoint folder, from where an earlier run of the same configuration stopped.

    Args:
        config: what to do.
        dataset: what is classified.
        data: training images, in memory or as a feed.
        test: images to measure the stored weights on, if any.
        folder: the checkpoint; holds `resume.pt` until the run is finished.
        start: checkpoint folder whose weights are fine-tuned; None for fresh ones.
        validators: name → checkpoint folder of each of `config.validators`.
        team: the processes that train together; None for this one alone.
        on_progress: called after every step.

    Returns:
        What `recipe.json` holds.

    Raises:
        UsageError: the folder holds another configuration's work, or is not the same for all processes.
        ModelError: the folder is finished, but its weights are damaged.
        TransferZooError: the loss is no longer finite, or the folder cannot be written.
    """
    team = team or Team()
    with usual_threads(dataset), kept_heap():
        feed = Memory(data, dataset, config) if isinstance(data, Batch) else data
        run = _Run(config, dataset, feed, folder, start, dict(validators or {}), team)
        recipe = finished(folder, run.state.work)
        if recipe is None:
            run.state.resume()
        if not team.agrees(run.loop.minimizer.steps if recipe is None else -1):
            raise UsageError(
                f"the processes find different states of the training in {folder}",
                hint="choose an --output that all of them share",
            )
        if recipe is None:
            team.log({}, len(run.state.curve), folder)
            run.prepare()
            for epoch in range(len(run.state.curve), run.loop.epochs):
                run.epoch(epoch, on_progress)
            recipe = run.finish(test) if team.leads else {}
        team.wait()
        if team.leads:
            tidy(folder)
        return recipe


class _Run:
    """A training run with everything it needs."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: DatasetSpec,
        feed: Feed,
        folder: Path,
        start: Path | None,
        validators: dict[str, Path],
        team: Team,
    ) -> None:
        self.config, self.dataset, self.feed, self.folder, self.team = config, dataset, feed, folder, team
        origin = untrained(config, dataset, start)
        self.arguments, self.reads = origin.arguments, origin.reads
        self.classifier = origin.classifier.to(team.device)
        self.model = self.classifier.model
        self.classifier.to(memory_format=torch.channels_last)
        self.loop = Loop(config, self.classifier, feed, team)
        self.validators = validators
        work = {
            "config": config.model_dump(mode="json"),
            "environment": environment()._asdict(),
            **plugins_of(config),
            "data": feed.identity,
            **(identity(start) if start else {}),
            "fresh": list(origin.fresh or ()),
            "validators": {name: checkpoint.digest(path) for name, path in validators.items()},
            **self.loop.together,
        }
        self.state = State(folder, {key: value for key, value in work.items() if value}, self.loop)
        self._judge: TransferScorer | None = None

    def prepare(self) -> None:
        """Tell before the training what would stop it later: the folder or a validation target."""
        if self.team.leads:
            require_writable(self.folder)
        if self.validators and self.team.leads and self.feed.held is not None:
            self._judge = TransferScorer.of(self.dataset, self.feed.held, self.validators, self.team.device)
        self.state.start_clock()

    def epoch(self, epoch: int, on_progress: Callable[[Progress], None]) -> None:
        """Run an epoch, measure it and keep the state."""
        line = self.loop.epoch(epoch, on_progress, self._keep_sample, self._keep_step)
        if self.team.leads:
            self.state.check()
            line |= self._measured(epoch)
            self.team.log(line, epoch + 1, self.folder)
        self.state.curve.append(line)
        if self.team.leads:
            self.state.save()

    def _keep_step(self) -> None:
        """Keep the state within an epoch now and then: when the first process's clock says so."""
        if self.team.any(self.team.leads and self.state.due()):
            own = self.team.gather(self.loop.own_state())
            if self.team.leads:
                self.state.check()
                self.state.save(own)

    def _measured(self, epoch: int) -> dict[str, Any]:
        """Return what the validation images say of the epoch; keep its weights where they are wanted."""
        config, held = self.config, self.feed.held
        wanted = config.select != "last" or config.save_every == "epoch"
        if not wanted and (self.loop.minimizer.mean or held is None):
            return {}
        found: dict[str, Any] = {}
        with self.loop.usable():
            self.classifier.eval()
            if held is not None:
                found["validation_accuracy"] = _accuracy(predict(self.classifier, held.images), held.labels)
            if config.select == "transfer":
                found["transfer"] = self._judged(self.classifier)
            if config.save_every == "epoch":
                self._store(self.folder / EPOCHS / f"{epoch + 1:04d}")
            if config.select != "last":
                score = found.get("transfer", {}).get("rate", found["validation_accuracy"])
                if not self.state.best or score > self.state.best["score"]:
                    weights = {name: t.clone() for name, t in self.model.state_dict().items()}
                    self.state.best = {"epoch": epoch + 1, "score": score, "model": weights}
        return found

    def _judged(self, surrogate: Classifier) -> dict[str, Any]:
        assert self._judge is not None, "TrainConfig demands validation images and validators"
        return self._judge.rate(surrogate)

    def _keep_sample(self, number: int) -> None:
        if self.config.collect and self.team.leads:
            content = serialised(self.model, half=self.config.storage == "fp16")
            write_bytes(self.folder / checkpoint.SAMPLES / f"{number:04d}.safetensors", content)

    def _store(self, folder: Path) -> None:
        checkpoint.save(
            folder,
            self.model,
            self.config.architecture,
            self.dataset,
            self.arguments,
            half=self.config.storage == "fp16",
            reads=self.reads,
        )

    def finish(self, test: Batch | None) -> dict[str, Any]:
        """Write the checkpoint and its recipe, and return that."""
        best = self.state.best
        if best:
            self.model.load_state_dict(best["model"])
            self._store(self.folder)
        else:
            with self.loop.usable():
                self._store(self.folder)
        stored = load_checkpoint(self.folder, self.dataset).to(self.team.device)
        recipe = {
            **self.state.work,
            "fingerprint": self.config.fingerprint(),
            "curve": self.state.curve,
            **({"selected_epoch": best["epoch"]} if best else {}),
            "validation": self._validated(stored),
            "accuracy": None if test is None else _counted(predict(stored, test.images), test.labels),
            "weights_sha256": checkpoint.digest(self.folder),
            "samples": self._samples(),
            "seconds": round(self.state.seconds, 1),
            "versions": versions(),
        }
        recipe = {key: value for key, value in recipe.items() if key == "accuracy" or value is not None}
        write_json(self.folder / checkpoint.RECIPE, recipe)
        return recipe

    def _validated(self, stored: Classifier) -> dict[str, Any] | None:
        """Return what the stored weights do on the validation images, None where there are none."""
        held = self.feed.held
        if held is None:
            return None
        measured = _counted(predict(stored, held.images), held.labels)
        return {**measured, **({"transfer": self._judged(stored)} if self.validators else {})}

    def _samples(self) -> dict[str, str] | None:
        """Return file → digest of the collected weights; None where none were."""
        if not self.config.collect:
            return None
        files = checkpoint.samples(self.folder)
        return {f"{checkpoint.SAMPLES}/{file.name}": sha256(file) for file in files}


def _counted(predictions: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
    correct = int((predictions == labels).sum())
    return {"n": len(labels), "correct": correct, "accuracy": _accuracy(predictions, labels)}


def _accuracy(predictions: torch.Tensor, labels: torch.Tensor) -> float:
    return round(int((predictions == labels).sum()) / len(labels), 6)
