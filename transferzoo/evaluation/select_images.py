"""Which images a run attacks: what its models say of the clean ones is asked once, kept, and decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from transferzoo.defences import read_defence
from transferzoo.evaluation import candidates
from transferzoo.models import load
from transferzoo.models.predict import gate, least_likely, predict, predict_defended

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from transferzoo.base.distributed import Team
    from transferzoo.datasets import Batch
    from transferzoo.evaluation.job import Job
    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.models.classifier import Classifier
    from transferzoo.zoo.schema import ModelSpec

    Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Work:
    """What is attacked, and what the models say of it clean.

    Attributes:
        images: the chosen ones.
        targets: classes aimed at (N,); None for any other.
        accuracy: clean accuracy of every model on all candidates.
        clean: every target's classes of the chosen images (N,).
        units: the places of the images of each work unit.
    """

    images: Batch
    targets: Tensor | None
    accuracy: Mapping[str, float]
    clean: Mapping[str, Tensor]
    units: tuple[Tensor, ...]


def select(job: Job, folder: RunFolder, team: Team, tell: Tell) -> Work:
    """Choose the images to attack; the processes share the models that are asked."""
    models = list({m.full_name: m for m in (*job.surrogates, *job.targets)}.values())
    for model in models[team.rank :: team.size]:
        _clean(job, model, folder, team.device, tell)
    if team.leads and job.config.targeted == "least-likely":
        _least_likely(job, folder, team.device, tell)
    team.wait()
    answers = {m.full_name: _clean(job, m, folder, team.device, tell) for m in models}
    classes = len(job.dataset.classes)
    accuracy = {name: _checked(job, name, found) for name, found in answers.items()}
    victims = {m.full_name: answers[m.full_name] for m in job.targets}
    aims = candidates.aims(
        job.config, job.data, classes, job.aims, lambda: _least_likely(job, folder, team.device, tell)
    )
    images = candidates.chosen(job.config, job.data, victims, aims)
    places = torch.isin(job.data.ids, images.ids).nonzero().flatten()
    places = places[job.data.ids[places].argsort()]
    targets = None if aims is None else aims[places]
    if team.leads:
        folder.save_selection(
            images.ids.tolist(), images.labels.tolist(), None if targets is None else targets.tolist()
        )
    clean = {name: found[places] for name, found in victims.items()}
    units = torch.arange(len(images)).split(job.config.batch_size)
    return Work(images, targets, accuracy, clean, units)


def _clean(job: Job, model: ModelSpec, folder: RunFolder, device: torch.device, tell: Tell) -> Tensor:
    """Return a model's predictions on the candidates; they are kept."""
    known = folder.clean(model.full_name)
    if known is not None:
        return torch.tensor(known)
    tell(f"checking {model.name}", 0, 1)
    predictions = said(model, opened(job, model, device), job.data.images, job.data.ids)
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
    return gate(name.rpartition("/")[2], predictions, job.data.labels, len(job.dataset.classes))


def _least_likely(job: Job, folder: RunFolder, device: torch.device, tell: Tell) -> Tensor:
    """Return the first surrogate's least likely class of every candidate; they are kept."""
    known = folder.least_likely()
    if known is None:
        tell(f"asking {job.surrogates[0].name}", 0, 1)
        known = least_likely(opened(job, job.surrogates[0], device), job.data.images).tolist()
        folder.save_least_likely(known)
    return torch.tensor(known)


def said(spec: ModelSpec, model: Classifier, images: Tensor, ids: Tensor) -> Tensor:
    """Return what a model, behind its defence if it has one, takes images for."""
    if spec.defence:
        return predict_defended(model, read_defence(spec.defence), images, ids)
    return predict(model, images)


def opened(job: Job, model: ModelSpec, device: torch.device) -> Classifier:
    """Return a model on a device."""
    return load.load_classifier(model, job.dataset).to(device)
