"""What an epoch or a radius is chosen by: transfer to validation targets, on images held out of training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from transferzoo.attacks.composition import compose
from transferzoo.attacks.engine import Attack, craft
from transferzoo.base.errors import DataError
from transferzoo.models.accuracy_gate import require_accuracy
from transferzoo.models.classifier import load_checkpoint
from transferzoo.models.predict import predict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transferzoo.datasets import Batch
    from transferzoo.models.classifier import Classifier
    from transferzoo.zoo.schema import DatasetSpec


class TransferScorer:
    """Measures how well images crafted on a model transfer to the validation targets.

    The attack is BIM with the data set's own budget, on the first validation images, as many as the data set
    attacks by default, that all validation targets classify correctly.

    Args:
        dataset: gives the budget and the number of images.
        held: the validation images.
        validators: name → checkpoint of a validation target, `Classifier`s in evaluation mode.

    Raises:
        DataError: the validation targets have no correctly classified image in common.
        ModelError: one does not classify the images.
    """

    def __init__(self, dataset: DatasetSpec, held: Batch, validators: Mapping[str, Classifier]) -> None:
        right = torch.ones(len(held), dtype=torch.bool)
        for name, model in validators.items():
            predictions = predict(model, held.images)
            require_accuracy(name, predictions, held.labels, dataset.classes)
            right &= predictions == held.labels
        if not right.any():
            raise DataError(
                "no validation image is left: the validation targets classify none correctly together",
                hint="use more validation images or other targets",
            )
        defaults = dataset.attack
        self._attack = Attack(compose(""), defaults.exact)
        self._images = held.select(right.nonzero().flatten()[: defaults.images])
        self._unit = defaults.batch_size
        self._validators = validators

    @classmethod
    def of(
        cls, dataset: DatasetSpec, held: Batch, folders: Mapping[str, Any], device: torch.device
    ) -> TransferScorer:
        """Return a judge with the validation targets of these checkpoint folders."""
        return cls(
            dataset, held, {name: load_checkpoint(path, dataset).to(device) for name, path in folders.items()}
        )

    def rate(self, surrogate: Classifier) -> dict[str, Any]:
        """Craft on a surrogate and return the mean success rate, `n`, and the rate of each target.

        The surrogate is handed back as it came.
        """
        device = surrogate.mean.device
        chosen = self._images
        parts = []
        for start in range(0, len(chosen), self._unit):
            part = chosen.select(range(start, min(start + self._unit, len(chosen))))
            images = part.images.to(device)
            parts.append(
                craft(
                    self._attack, surrogate, images, part.labels, part.ids, dtype=surrogate.mean.dtype
                ).cpu()
            )
        crafted = torch.cat(parts)
        rates = {
            name: round(float((predict(model, crafted) != chosen.labels).float().mean()), 6)
            for name, model in self._validators.items()
        }
        mean = sum(rates.values()) / len(rates)
        return {"rate": round(mean, 6), "n": len(chosen), "targets": rates}
