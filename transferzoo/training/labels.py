"""Labels of another model: what an attacker has who may query a target but has no labelled images.

Training a proxy on a model's answers is AML.T0005.001 of MITRE ATLAS. An answer is the class alone, asked
once for each image as it lies on disk; augmented copies of it keep the label.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from transferzoo.base.digests import tensors_digest
from transferzoo.base.environment import environment, versions
from transferzoo.base.errors import UsageError
from transferzoo.base.plugins import used
from transferzoo.datasets import Batch
from transferzoo.defences import DEFENCES, read_defence
from transferzoo.models.download import loadable
from transferzoo.models.kept_predictions import KeptPredictions
from transferzoo.models.load import identity

if TYPE_CHECKING:
    from transferzoo.base.distributed import Team
    from transferzoo.training.feeds import Feed
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec


def labelled_by(
    model: ModelSpec, data: Batch | Feed, dataset: DatasetSpec, team: Team
) -> tuple[Batch, float]:
    """Return images with a model's classes for labels, and how many of these are as before, in [0, 1].

    They are predicted once and kept for all trainings, as clean predictions are.

    Args:
        model: behind its defence, if it has one.
        data: the images.
        dataset: whose classes the model has.
        team: the processes that train together; one of them asks.

    Raises:
        UsageError: the images are streamed.
        ModelError: the model cannot be loaded, or gives no numbers.
    """
    if not isinstance(data, Batch):
        raise UsageError(
            f"the images of '{dataset.name}' are streamed and keep their labels",
            expected="images of at most 64 pixels with --labels-from",
            hint="leave it out",
        )
    kept = KeptPredictions(model, dataset, data, _key(model, data, dataset))
    if team.leads:
        kept.ask(torch.arange(len(data)), team.device)
    team.wait()
    labels = kept.ask(torch.arange(len(data)), team.device)
    return replace(data, labels=labels), float((labels == data.labels).float().mean())


def _key(model: ModelSpec, data: Batch, dataset: DatasetSpec) -> dict[str, Any]:
    weights, config = identity(model)
    packages = read_defence(model.defence).packages if model.defence else ()
    return {
        "weights": weights,
        "config": config,
        "defence": model.defence,
        "classes": dataset.classes,
        "images": tensors_digest(data.images, data.ids),
        "environment": environment()._asdict(),
        **used(*DEFENCES.origins(model.defence)),
        "versions": versions(*packages) | loadable(model).versions(),
    }
