"""The main job: surrogates × targets → records, through the run folder.

Images are chosen by what the targets say of the clean ones, crafted unit by unit on each surrogate, saved as
bytes, and only then shown to the targets: what is measured is what was saved. One model is in memory at a
time. Every stage takes up what an earlier, interrupted run of the same configuration left.
"""

from __future__ import annotations

import hashlib
import random
import time
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from transferzoo import checkpoint, statistics
from transferzoo.classifier import Classifier, load
from transferzoo.config import fingerprint
from transferzoo.engine import Attack, craft
from transferzoo.errors import DataError
from transferzoo.evaluation import gate, predict
from transferzoo.runs import Record, RunFolder
from transferzoo.techniques.unit import Pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from transferzoo.config import AttackConfig
    from transferzoo.datasets import Batch
    from transferzoo.specs import DatasetSpec, ModelSpec


@dataclass(frozen=True)
class Job:
    """Everything a run needs, resolved and checked.

    Attributes:
        config: what was asked.
        dataset: what is classified.
        surrogates: models the images are crafted on.
        targets: models they are tried on.
        data: candidate images.
    """

    config: AttackConfig
    dataset: DatasetSpec
    surrogates: tuple[ModelSpec, ...]
    targets: tuple[ModelSpec, ...]
    data: Batch

    @cached_property
    def attack(self) -> Attack:
        """What is done to the images."""
        return Attack.of(self.config)

    @cached_property
    def content(self) -> dict[str, Any]:
        """All that the run's result depends on; its fingerprint names the run folder.

        Raises:
            ModelError: a model has no weights.
        """
        folders = {m.full_name: m.folder for m in (*self.surrogates, *self.targets)}
        models = {name: checkpoint.digest(folder) for name, folder in folders.items()}
        configs = {name: fingerprint(checkpoint.read_config(folder)) for name, folder in folders.items()}
        state = hashlib.sha256()
        for tensor in (self.data.images, self.data.labels, self.data.ids):
            state.update(tensor.contiguous().numpy().tobytes())
        return {
            "config": self.config.model_dump(mode="json"),
            "attack": self.attack.canonical,
            "models": models,
            "model_configs": configs,
            "data": {"n": len(self.data), "sha256": state.hexdigest()},
            "versions": versions(),
        }


def versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    return {name: version(name) for name in ("transferzoo", "torch", "timm")}


def run(
    job: Job, folder: RunFolder, *, on_progress: Callable[[str, int, int], None] = lambda *_: None
) -> list[Record]:
    """Do what is not done yet and return all records, by surrogate and then by target.

    Args:
        job: what to do.
        folder: where everything is kept.
        on_progress: called with what is being done, steps done and steps in all.

    Raises:
        ModelError: a model cannot be loaded, or does not classify the images.
        DataError: no image is left after the selection.
        TransferZooError: the folder cannot be written.
    """
    folder.begin(job.content)
    accuracy = {m.full_name: _clean(job, m, folder, on_progress) for m in (*job.surrogates, *job.targets)}
    chosen = _select(job, folder)
    for number, surrogate in enumerate(job.surrogates):
        _craft(job, surrogate, number, chosen, folder, on_progress)
    return _measure(job, chosen, accuracy, folder, on_progress)


def _clean(
    job: Job, model: ModelSpec, folder: RunFolder, on_progress: Callable[[str, int, int], None]
) -> float:
    """Return a model's clean accuracy; its predictions are kept."""
    known = folder.clean(model.full_name)
    if known is None:
        on_progress(f"checking {model.name}", 0, 1)
        predictions = predict(_load(job, model), job.data.images)
    else:
        predictions = torch.tensor(known)
    accuracy = gate(model.name, predictions, job.data.labels, len(job.dataset.classes))
    if known is None:
        folder.save_clean(model.full_name, predictions.tolist())
    return accuracy


def _select(job: Job, folder: RunFolder) -> Batch:
    """Draw the images to attack, in order of id."""
    eligible = torch.ones(len(job.data), dtype=torch.bool)
    if job.config.images_correct_for == "all":
        for target in job.targets:
            eligible &= torch.tensor(folder.clean(target.full_name)) == job.data.labels
    candidates = job.data.select(eligible)
    if not len(candidates):
        raise DataError(
            "no image is left to attack: the targets have no correctly classified image in common",
            hint="use fewer targets or --images-correct-for target",
        )
    count = min(job.config.images, len(candidates))
    drawn = random.Random(job.config.seed).sample(range(len(candidates)), count)
    chosen = candidates.select(sorted(drawn, key=lambda i: int(candidates.ids[i])))
    folder.save_selection(chosen.ids.tolist(), chosen.labels.tolist())
    return chosen


def _craft(
    job: Job, surrogate: ModelSpec, number: int, chosen: Batch, folder: RunFolder,
    on_progress: Callable[[str, int, int], None],
) -> None:  # fmt: skip
    units = list(torch.arange(len(chosen)).split(job.config.batch_size))
    missing = [unit for unit in range(len(units)) if not folder.has_unit(surrogate.full_name, unit)]
    if not missing:
        return
    model = _load(job, surrogate)
    total = len(units) * job.attack.steps * len(job.surrogates)
    for unit in missing:

        def advance(step: int, done: int = (number * len(units) + unit) * job.attack.steps) -> None:
            on_progress(f"attacking {surrogate.name}", done + step, total)

        part = chosen.select(units[unit])
        started = time.monotonic()
        images = craft(
            job.attack, model, part.images.to(model.mean.device), part.labels, part.ids,
            pool=Pool(job.data.images, job.data.labels), on_step=advance,
        ).cpu()  # fmt: skip
        folder.save_unit(surrogate.full_name, unit, images, part.ids, time.monotonic() - started)


def _measure(
    job: Job, chosen: Batch, accuracy: dict[str, float], folder: RunFolder,
    on_progress: Callable[[str, int, int], None],
) -> list[Record]:  # fmt: skip
    known = {(r.surrogate, r.target): r for r in folder.records()}
    units = -(-len(chosen) // job.config.batch_size)
    for number, target in enumerate(job.targets):
        todo = [s for s in job.surrogates if (s.full_name, target.full_name) not in known]
        if not todo:
            continue
        on_progress(f"measuring {target.name}", number, len(job.targets))
        model = _load(job, target)
        counted = _counted(job, target, chosen, folder)
        for surrogate in todo:
            predictions = predict(model, folder.images(surrogate.full_name, units))
            outcomes = _outcomes(predictions != chosen.labels, counted)
            known[surrogate.full_name, target.full_name] = _record(
                job, surrogate, target, outcomes, accuracy, folder.selection()
            )
        folder.save_records(_ordered(job, known))
    return _ordered(job, known)


def _ordered(job: Job, known: dict[tuple[str, str], Record]) -> list[Record]:
    cells = ((s.full_name, t.full_name) for s in job.surrogates for t in job.targets)
    return [known[cell] for cell in cells if cell in known]


def _counted(job: Job, target: ModelSpec, chosen: Batch, folder: RunFolder) -> Tensor:
    if job.config.images_correct_for != "target":
        return torch.ones(len(chosen), dtype=torch.bool)
    right = torch.tensor(folder.clean(target.full_name)) == job.data.labels
    correct = set(job.data.ids[right].tolist())
    return torch.tensor([name in correct for name in chosen.ids.tolist()])


def _outcomes(fooled: Tensor, counted: Tensor) -> str:
    return "".join(
        ("1" if hit else "0") if used else "-"
        for hit, used in zip(fooled.tolist(), counted.tolist(), strict=True)
    )


def _record(
    job: Job, surrogate: ModelSpec, target: ModelSpec, outcomes: str, accuracy: dict[str, float],
    selection: str,
) -> Record:  # fmt: skip
    successes, n = outcomes.count("1"), len(outcomes) - outcomes.count("-")
    if n == 0:
        raise DataError(f"'{target.name}' classifies none of the attacked images correctly")
    low, high = statistics.wilson(successes, n)
    digests = job.content["models"]
    return Record(
        surrogate=surrogate.full_name,
        target=target.full_name,
        attack=job.attack.canonical,
        dataset=job.config.dataset,
        split=job.config.split,
        seed=job.config.seed,
        selection=selection,
        n=n,
        successes=successes,
        rate=successes / n,
        low=low,
        high=high,
        white_box=digests[surrogate.full_name] == digests[target.full_name],
        surrogate_accuracy=round(accuracy[surrogate.full_name], 6),
        target_accuracy=round(accuracy[target.full_name], 6),
        gradients=job.attack.cost,
        surrogate_sha256=digests[surrogate.full_name],
        target_sha256=digests[target.full_name],
        outcomes=outcomes,
        versions=job.content["versions"],
    )


def _load(job: Job, model: ModelSpec) -> Classifier:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load(model.folder, job.dataset).to(device)
