"""What `transferzoo attack --finetune` does before the attack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import DataError, UsageError
from transferzoo.cli.output import log, progress_bar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transferzoo.datasets import Batch
    from transferzoo.evaluation.job import Job
    from transferzoo.training.finetuned import FineTuning
    from transferzoo.training.trainer import Progress
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec


def fine_tunings(
    zoo: Zoo, surrogates: tuple[ModelSpec, ...], specs: list[str], data: Path | None
) -> list[FineTuning]:
    """Lay out what has to be fine-tuned: every surrogate with every spec.

    Raises:
        UsageError: a spec is wrong, or there are training images and no spec.
    """
    if data is not None and not specs:
        raise UsageError("there is nothing to train on --train-data", expected="--finetune too")
    if not specs:
        return []
    from transferzoo.training.finetuned import prepare

    found = [prepare(zoo, model, spec, data) for spec in specs for model in surrogates]
    return list({one.model.full_name: one for one in found}.values())


def with_tuned(
    dataset: DatasetSpec, originals: tuple[ModelSpec, ...], tuned: list[FineTuning]
) -> tuple[ModelSpec, ...]:
    """Return the originals that know the data set's classes, and behind them what is made of all of them."""
    from transferzoo.training.finetuning import other_classes

    kept = []
    for model in originals:
        reason = other_classes(model.folder, dataset)
        if reason:
            log(f"Note: {reason}; its head starts afresh, and only the fine-tuned model is attacked from.")
        else:
            kept.append(model)
    return (*kept, *(one.model for one in tuned))


def fine_tune(job: Job, missing: Sequence[FineTuning], data: Path | None) -> None:
    """Fine-tune surrogates, from where an earlier run stopped; what is wrong is told before the first step.

    Raises:
        ModelError: a model is damaged or does not fit.
        DataError: there are no training images.
        TransferZooError: the training diverges, or a folder cannot be written.
    """
    from transferzoo.models.load import load_classifier
    from transferzoo.training.feeds import Memory
    from transferzoo.training.finetuning import begin

    made = {one.model for one in missing}
    for model in {*job.surrogates, *job.targets} - made:
        load_classifier(model, job.dataset)
    for one in missing:
        begin(one.original.folder, job.dataset, one.config.architecture)
    images = _training_images(job.dataset, data)
    for one in missing:
        Memory(images, job.dataset, one.config)
    for one in missing:
        log(f"Fine-tuning {one.original.name} into {one.folder}, once.")
        _train(job.dataset, one, images)


def _train(dataset: DatasetSpec, one: FineTuning, images: Batch) -> None:
    from transferzoo.training.trainer import train

    with progress_bar() as bar:
        task = bar.add_task(f"fine-tuning {one.original.name}", total=None, note="")

        def advance(at: Progress) -> None:
            note = f"loss {at.loss:.3f}  accuracy {at.accuracy:.1%}  {at.images_per_second:,.0f} images/s"
            bar.update(task, completed=at.step, total=at.steps, note=note)

        start = one.original.folder
        train(one.config, dataset, images, None, one.folder, start=start, on_progress=advance)


def _training_images(dataset: DatasetSpec, root: Path | None) -> Batch:
    from transferzoo.datasets.sources import load_split

    try:
        return load_split(dataset, "train", root=root)
    except DataError as error:
        sentence = str(error).removesuffix(".").replace("--data", "--train-data")
        raise DataError(f"nothing to fine-tune on: {sentence}") from None


def plan_of(one: FineTuning, missing: bool) -> dict[str, Any]:
    """Return what a dry run says of a surrogate that is fine-tuned."""
    return {
        "surrogate": one.model.full_name,
        "from": str(one.original.folder),
        "into": str(one.folder),
        "done": not missing,
        "config": one.config.model_dump(mode="json"),
    }
