"""Measuring: what is saved is classified by the targets, one at a time, and so is random noise beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from transferzoo.attacks.noise import noise_name
from transferzoo.base.errors import DataError
from transferzoo.base.processes import share
from transferzoo.evaluation import candidates
from transferzoo.evaluation.clean_predictions import parameters_digest
from transferzoo.evaluation.crafting import crafted_units
from transferzoo.evaluation.examples import Predictions, drawn_examples
from transferzoo.evaluation.noise_images import draw_noise, noise_units
from transferzoo.evaluation.perturbation_metrics import PerturbationMetrics, require_change
from transferzoo.evaluation.run_folder import CURVE, NOISE, RECORDS
from transferzoo.models import load
from transferzoo.models.predict import predict_images
from transferzoo.results.records import NOISE_FIELDS, NOISE_SURROGATE, Record, SurrogateAttack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from torch import Tensor

    from transferzoo.attacks.engine import Attack
    from transferzoo.evaluation.given_images import GivenImages
    from transferzoo.evaluation.job import CraftingTask, Job
    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.evaluation.select_images import SelectedImages
    from transferzoo.zoo.schema import ModelSpec

    OnProgress = Callable[[str, int, int], None]
    Row = tuple[SurrogateAttack, int]


T = TypeVar("T")


@dataclass(frozen=True)
class Measured:
    """What was measured of a target.

    Attributes:
        records: by file.
        predictions: of the images that people look at.
    """

    records: Mapping[str, list[Record]]
    predictions: list[Predictions]


def measure_perturbations(
    job: Job, selected: SelectedImages, folder: RunFolder, on_progress: OnProgress, *, ssim: bool
) -> None:
    """Measure how visible the perturbations are, those that are not measured yet.

    Args:
        job: what was crafted.
        selected: of these images.
        folder: where the metrics are kept.
        on_progress: called with what is being done, how much is done and how much there is.
        ssim: the structural similarity too, which takes a while.

    Raises:
        ModelError: a surrogate has changed no image.
        DataError: a file of images is missing or damaged.
    """
    known = {SurrogateAttack(one.surrogate, one.attack): one for one in _intact(folder.visibility)}
    for number, task in enumerate(job.crafting_tasks):
        if task.pair in known and not (ssim and known[task.pair].lacks_ssim):
            continue
        on_progress("measuring perturbations", number, len(job.crafting_tasks))
        metrics = PerturbationMetrics(ssim=ssim)
        for images, clean in crafted_units(job, selected, folder, task, task.attack.budget.steps):
            metrics.add(images, clean)
        known[task.pair] = metrics.result(task.pair)
        require_change(known[task.pair])
        folder.save_visibility(known[each.pair] for each in job.crafting_tasks if each.pair in known)


def measure_targets(
    job: Job,
    selected: SelectedImages,
    folder: RunFolder,
    device: torch.device,
    on_progress: OnProgress,
    jobs: int = 1,
) -> dict[str, list[Record]]:
    """Return the records by file, those measured now that are not there yet; processes share the targets.

    Raises:
        ModelError: a target cannot be loaded, or gives no numbers.
        DataError: a file of images is missing or damaged.
    """
    rows, selection = measured_rows(job.crafting_tasks, job.attacks, job.config.curve), folder.selection()
    known = {
        file: {
            (r.pair, r.steps, r.target): r
            for r in _intact(partial(folder.records, file))
            if r.selection == selection
        }
        for file in rows
    }
    examples = tuple(selected.ids[shown_places(job, selected)].tolist())
    shown = {
        (one.surrogate, one.attack, one.target): one
        for one in _intact(folder.predictions)
        if one.ids == examples
    }

    def is_known(file: str, row: Row, target: str) -> bool:
        pair, _ = row
        predicted = file != RECORDS or (pair.surrogate, pair.attack, target) in shown
        return predicted and (*row, target) in known[file]

    missing = {
        target.full_name: {
            file: [row for row in every if not is_known(file, row, target.full_name)]
            for file, every in rows.items()
            if file != NOISE or target.full_name not in job.noiseless
        }
        for target in job.targets
    }
    todo = [target for target in job.targets if any(missing[target.full_name].values())]
    done = 0
    own = {m.full_name: parameters_digest(job, m, device) for m in job.surrogates} if todo else {}

    def measure(targets: Sequence[ModelSpec], send: Callable[[Measured], None]) -> None:
        for target in targets:
            send(
                MeasuredTarget(job, selected, folder, target, own, device).measure(missing[target.full_name])
            )

    def keep(measured: Measured) -> None:
        nonlocal done
        if measured.predictions:
            shown.update({(one.surrogate, one.attack, one.target): one for one in measured.predictions})
            cells = ((pair, target) for pair, _ in rows[RECORDS] for target in job.targets)
            names = ((pair.surrogate, pair.attack, target.full_name) for pair, target in cells)
            folder.save_predictions(shown[name] for name in names if name in shown)
        for file, records in measured.records.items():
            if records:
                known[file] |= {(r.pair, r.steps, r.target): r for r in records}
                folder.save_records(_ordered(job, rows[file], known[file]), file)
        done += 1
        on_progress("measuring targets", done, len(todo))

    if any(rows_of.get(NOISE) for rows_of in missing.values()):
        draw_noise(job, selected, folder, on_progress, jobs)
    if todo:
        on_progress("measuring targets", 0, len(todo))
        share(measure, todo, jobs, keep)
    return {file: _ordered(job, every, known[file]) for file, every in rows.items()}


def _intact(read: Callable[[], list[T]]) -> list[T]:
    """Return what a file of the run holds: nothing where it is damaged, so that it is measured again."""
    try:
        return read()
    except DataError:
        return []


def measured_rows(
    tasks: Sequence[CraftingTask], attacks: Sequence[Attack], steps: Sequence[int]
) -> dict[str, list[Row]]:
    """Return the rows of each file of records: what is shown to every target, and after how many steps.

    Args:
        tasks: what is crafted.
        attacks: those that there is random noise beside, also where others made the images.
        steps: after which images are measured too.
    """
    curve = [(t.pair, step) for t in tasks for step in steps if step < t.attack.budget.steps]
    names = dict.fromkeys(noise_name(attack.budget) for attack in attacks)
    noise = [(SurrogateAttack(NOISE_SURROGATE, name), 0) for name in names]
    rows = {RECORDS: [(t.pair, t.attack.budget.steps) for t in tasks], NOISE: noise}
    return {**rows, CURVE: curve} if curve else rows


def _ordered(
    job: Job, rows: Iterable[Row], known: Mapping[tuple[SurrogateAttack, int, str], Record]
) -> list[Record]:
    cells = ((pair, step, target.full_name) for pair, step in rows for target in job.targets)
    return [known[cell] for cell in cells if cell in known]


def shown_places(job: Job, selected: SelectedImages) -> list[int]:
    """Return the places in what is selected of the images that are shown to people."""
    return drawn_examples(selected.labels.tolist(), job.config.seed)


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
        self.model = load.load_classifier(target, job.dataset).to(device)
        self.weights = parameters_digest(job, target, device)
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
        return Measured(records, self.examples)

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
