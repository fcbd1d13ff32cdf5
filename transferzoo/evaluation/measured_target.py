"""A target in memory: what it makes of adversarial images, of noise, and of images that others made."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from transferzoo.evaluation import candidates
from transferzoo.evaluation.crafting import crafted_units
from transferzoo.evaluation.examples import Predictions
from transferzoo.evaluation.kept_records import Measured, shown_places
from transferzoo.evaluation.noise_images import noise_units
from transferzoo.evaluation.run_folder import NOISE
from transferzoo.models import load
from transferzoo.models.predict import predict_images
from transferzoo.results.records import NOISE_FIELDS, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor

    from transferzoo.evaluation.given_images import GivenImages
    from transferzoo.evaluation.job import CraftingTask, Job
    from transferzoo.evaluation.kept_records import Row
    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.evaluation.select_images import SelectedImages
    from transferzoo.results.records import SurrogateAttack
    from transferzoo.zoo.schema import ModelSpec


class MeasuredTarget:
    """A target in memory, and what it is shown."""

    def __init__(
        self,
        job: Job,
        selected: SelectedImages,
        folder: RunFolder,
        target: ModelSpec,
        own: Mapping[str, str | None],
        device: torch.device,
    ) -> None:
        self.job, self.selected, self.folder, self.target = job, selected, folder, target
        self.own = own
        self.examples: list[Predictions] = []
        self.model = load.load_on(device, target, job.dataset)
        self.weights = job.predictions(target).parameters_digest(device)
        self.tasks = {task.pair: task for task in job.crafting_tasks}

    def measure(self, missing: Mapping[str, Sequence[Row]]) -> Measured:
        """Return the records of some rows of each file."""
        records = {
            file: [
                self._noise(pair.attack) if file == NOISE else self._crafted(self.tasks[pair], step)
                for pair, step in rows
            ]
            for file, rows in missing.items()
        }
        examples, self.examples = self.examples, []
        return Measured(records, examples)

    def _crafted(self, task: CraftingTask, step: int) -> Record:
        images = (images for images, _ in crafted_units(self.job, self.selected, self.folder, task, step))
        digests, names = self.job.content["models"], [m.full_name for m in task.models]
        white_box = self.weights is not None and self.weights in [self.own[name] for name in names]
        accuracies = [self.selected.accuracy[name] for name in names]
        predictions = self._predict(images)
        if step == task.attack.budget.steps:
            self._keep_examples(task.pair, predictions)
        return self._record(
            predictions,
            surrogate=task.pair.surrogate,
            attack=task.pair.attack,
            steps=step,
            white_box=white_box or digests[self.target.full_name] in [digests[name] for name in names],
            surrogate_accuracy=round(sum(accuracies) / len(names), 6),
            gradients=task.attack.composition.cost(step, len(task.weights)),
            precision=self.job.config.precision,
            surrogate_sha256=" & ".join(digests[name] for name in names),
        )

    def _noise(self, name: str) -> Record:
        images = noise_units(self.job, self.selected, self.folder, name)
        return self._record(self._predict(images), **NOISE_FIELDS, attack=name, white_box=False)

    def given(self, given: GivenImages) -> Record:
        """Return the record of adversarial images that come from elsewhere."""
        units = (given.images[self.selected.places[within]] for within in self.selected.units)
        digests = {self.weights, self.job.content["models"][self.target.full_name]}
        predictions = self._predict(units)
        self._keep_examples(given.pair, predictions)
        return self._record(predictions, **given.fields, white_box=not digests.isdisjoint(given.weights))

    def _keep_examples(self, pair: SurrogateAttack, predictions: Tensor) -> None:
        places = shown_places(self.job, self.selected)
        ids, classes = (tuple(each[places].tolist()) for each in (self.selected.ids, predictions))
        self.examples.append(
            Predictions(**asdict(pair), target=self.target.full_name, ids=ids, classes=classes)
        )

    def _predict(self, units: Iterable[Tensor]) -> Tensor:
        """Classify images unit by unit and return the classes, int64 (N,)."""
        return torch.cat(
            [
                predict_images(self.target, self.model, images, self.selected.ids[within])
                for images, within in zip(units, self.selected.units, strict=True)
            ]
        )

    def _record(self, predictions: Tensor, **fields: Any) -> Record:
        """Return on how many images the attack succeeds, by the classes that are predicted, int64 (N,)."""
        selected, config, name = self.selected, self.job.config, self.target.full_name
        wanted = selected.target_classes
        fooled = predictions != selected.labels if wanted is None else predictions == wanted
        counts = candidates.counted_images(config, selected.labels, selected.clean[name], wanted)
        marks = zip(fooled.tolist(), counts.tolist(), strict=True)
        return Record.of(
            "".join(("1" if hit else "0") if used else "-" for hit, used in marks),
            **fields,
            target=name,
            targeted=config.targeted,
            dataset=config.dataset,
            split=config.split,
            seed=config.seed,
            selection=self.folder.selection(),
            target_accuracy=round(selected.accuracy[name], 6),
            clean_images=selected.asked,
            images_correct_for=config.images_correct_for,
            protocol=config.protocol,
            target_sha256=self.job.content["models"][name],
            versions=self.job.content["versions"],
        )
