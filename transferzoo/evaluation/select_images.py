"""Which images a run attacks: its models' clean predictions, made once and kept, decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from transferzoo.base.errors import ModelError
from transferzoo.defences import read_defence
from transferzoo.evaluation import candidates
from transferzoo.models import load
from transferzoo.models.predict import least_likely, predict, predict_defended, require_accuracy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from transferzoo.base.distributed import Team
    from transferzoo.datasets import Batch
    from transferzoo.evaluation.job import Job
    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.models.classifier import Classifier
    from transferzoo.zoo.schema import ModelSpec

    OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SelectedImages:
    """What is attacked, and the clean predictions on it.

    Attributes:
        images: the selected ones.
        target_classes: the classes aimed at (N,); None for an untargeted attack.
        accuracy: clean accuracy of every model on all candidates.
        clean: every target's classes of the chosen images (N,).
        units: the places of the images of each work unit.
    """

    images: Batch
    target_classes: Tensor | None
    accuracy: Mapping[str, float]
    clean: Mapping[str, Tensor]
    units: tuple[Tensor, ...]


def select(job: Job, folder: RunFolder, team: Team, on_progress: OnProgress) -> SelectedImages:
    """Choose the images to attack; the processes share the models."""
    models = list({m.full_name: m for m in (*job.surrogates, *job.targets)}.values())
    for model in models[team.rank :: team.size]:
        _clean(job, model, folder, team.device, on_progress)
    if team.leads and job.config.targeted == "least-likely":
        _least_likely(job, folder, team.device, on_progress)
    team.wait()
    predictions = {m.full_name: _clean(job, m, folder, team.device, on_progress) for m in models}
    classes = len(job.dataset.classes)
    accuracy = {name: _checked(job, name, found) for name, found in predictions.items()}
    by_target = {m.full_name: predictions[m.full_name] for m in job.targets}
    target_classes = candidates.target_classes(
        job.config,
        job.data,
        classes,
        job.target_classes,
        lambda: _least_likely(job, folder, team.device, on_progress),
    )
    images = candidates.draw_images(job.config, job.data, by_target, target_classes)
    places = torch.isin(job.data.ids, images.ids).nonzero().flatten()
    places = places[job.data.ids[places].argsort()]
    aimed_at = None if target_classes is None else target_classes[places]
    if team.leads:
        folder.save_selection(
            images.ids.tolist(), images.labels.tolist(), None if aimed_at is None else aimed_at.tolist()
        )
    clean = {name: found[places] for name, found in by_target.items()}
    units = torch.arange(len(images)).split(job.config.batch_size)
    return SelectedImages(images, aimed_at, accuracy, clean, units)


def _clean(
    job: Job, model: ModelSpec, folder: RunFolder, device: torch.device, on_progress: OnProgress
) -> Tensor:
    """Return a model's predictions on the candidates; they are kept."""
    known = folder.clean(model.full_name)
    if known is not None:
        return torch.tensor(known)
    on_progress(f"predicting with {model.name}", 0, 1)
    predictions = predict_images(model, load_model(job, model, device), job.data.images, job.data.ids)
    _checked(job, model.full_name, predictions)
    folder.save_clean(model.full_name, predictions.tolist())
    return predictions


def _checked(job: Job, name: str, predictions: Tensor) -> float:
    """Return the clean accuracy of a model.

    Raises:
        ModelError: it does not classify, and is not known to be right all the same.
    """
    if name in job.trusted:
        return float((predictions == job.data.labels).float().mean())
    return require_accuracy(name.rpartition("/")[2], predictions, job.data.labels, len(job.dataset.classes))


def _least_likely(job: Job, folder: RunFolder, device: torch.device, on_progress: OnProgress) -> Tensor:
    """Return the first surrogate's least likely class of every candidate; they are kept."""
    known = folder.least_likely()
    if known is None:
        on_progress(f"predicting with {job.surrogates[0].name}", 0, 1)
        known = least_likely(load_model(job, job.surrogates[0], device), job.data.images).tolist()
        folder.save_least_likely(known)
    return torch.tensor(known)


def predict_images(spec: ModelSpec, model: Classifier, images: Tensor, ids: Tensor) -> Tensor:
    """Return the classes that a model, behind its defence if it has one, predicts.

    Raises:
        ModelError: it gives no numbers; the sentence names it.
    """
    try:
        if spec.defence:
            return predict_defended(model, read_defence(spec.defence), images, ids)
        return predict(model, images)
    except ModelError as error:
        raise ModelError(f"'{spec.name}': {str(error).removesuffix('.')}") from None


def load_model(job: Job, model: ModelSpec, device: torch.device) -> Classifier:
    """Return a model on a device."""
    return load.load_classifier(model, job.dataset).to(device)
