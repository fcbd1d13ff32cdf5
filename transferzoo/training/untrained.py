"""The model as a training begins with it: fresh weights, or those of a checkpoint that is fine-tuned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from transferzoo.models import build
from transferzoo.models.classifier import Classifier
from transferzoo.training.finetuning import begin
from transferzoo.training.loop import seed_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from transferzoo.base.train_config import TrainConfig
    from transferzoo.zoo.schema import DatasetSpec


@dataclass(frozen=True)
class Untrained:
    """A model before its first step.

    Attributes:
        classifier: with the preprocessing of the data set, or that of the model it is fine-tuned from.
        arguments: of its architecture.
        reads: `pretrained_cfg` of what is fine-tuned; None for fresh weights.
        fresh: names of the weights that are not the source's; None where there is no source.
        note: why they are not, as a sentence for the user; may be empty.
    """

    classifier: Classifier
    arguments: dict[str, Any]
    reads: Mapping[str, Any] | None = None
    fresh: tuple[str, ...] | None = None
    note: str = ""


def untrained(config: TrainConfig, dataset: DatasetSpec, start: Path | None) -> Untrained:
    """Return the model that a training begins with; fresh weights are drawn from the seed.

    Args:
        config: names architecture and seed.
        dataset: what is classified.
        start: checkpoint that is fine-tuned; None for fresh weights.

    Raises:
        UsageError: the architecture cannot be built, or is not that of the checkpoint.
        ModelError: the checkpoint is damaged or does not fit.
    """
    with torch.random.fork_rng(devices=[]):
        # a fresh head must not be the one that its source began with, from the same seed
        torch.manual_seed(seed_of(config.seed, "head" if start else "weights"))
        if start is None:
            model, arguments = build.create(config.architecture, dataset)
            plain = Classifier(
                model, size=None, channels=dataset.channels, mean=dataset.mean, std=dataset.std
            )
            return Untrained(plain, arguments)
        origin = begin(start, dataset, config.architecture)
    channels, height, width = origin.reads["input_size"]
    mean, std = origin.reads["mean"], origin.reads["std"]
    classifier = Classifier(origin.model, size=(height, width), channels=channels, mean=mean, std=std)
    return Untrained(classifier, origin.arguments, origin.reads, origin.fresh, origin.note)
