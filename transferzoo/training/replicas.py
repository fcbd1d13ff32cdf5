"""Replicas: surrogates that are trained on what a model answers, by an attacker who may ask it so often.

He has images like those it is meant for, and no labels. It is asked once for each image, read as it reads
images, and says the class alone; all replicas share the answers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from transferzoo.base.distributed import Team
from transferzoo.base.plugins import used
from transferzoo.datasets.sources import load_split
from transferzoo.defences import DEFENCES
from transferzoo.models.load import identity
from transferzoo.training.feeds import Memory, hold_out
from transferzoo.training.labels import labelled_by

if TYPE_CHECKING:
    from transferzoo.base.train_config import TrainConfig
    from transferzoo.datasets import Batch
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec


@dataclass(frozen=True)
class Teacher:
    """A model that is asked.

    Attributes:
        model: on this machine.
        dataset: how it reads images.
        most: how often it may be asked; None for once for every image there is.
    """

    model: ModelSpec
    dataset: DatasetSpec
    most: int | None = None

    def queries(self, images: int) -> int:
        """Return how often it is asked where there are so many images."""
        return images if self.most is None else min(self.most, images)

    @property
    def key(self) -> dict[str, Any]:
        """All that its answers to images depend on, but for these and for versions."""
        weights, config = identity(self.model)
        origins = used(*DEFENCES.origins(self.model.defence))
        read = self.dataset.model_dump(mode="json", include={"channels", "size", "fit", "classes"})
        return {"weights": weights, "config": config, "defence": self.model.defence, **origins, "read": read}


@dataclass(frozen=True)
class Labels:
    """The answers that a surrogate is trained on, before they are asked for.

    Attributes:
        teacher: who is asked.
        queries: how often.
    """

    teacher: Teacher
    queries: int

    def feed(self, dataset: DatasetSpec, config: TrainConfig) -> Memory:
        """Return the images to train on, with the labels that they have.

        Args:
            dataset: how the surrogate reads them.
            config: how it is trained.

        Raises:
            DataError: there are too few images.
        """
        return Memory(self._drawn(dataset), dataset, config)

    def ask(self) -> Batch:
        """Return the images, as the teacher reads them, with its answers for labels: none is asked for twice.

        Raises:
            ModelError: the model cannot be loaded, or gives no numbers.
        """
        read = self.teacher.dataset
        return labelled_by(self.teacher.model, self._drawn(read), read, Team())[0]

    def answered(self, dataset: DatasetSpec, config: TrainConfig) -> Memory:
        """Return the images with the answers for labels; see `feed` and `ask`."""
        return Memory(replace(self._drawn(dataset), labels=self.ask().labels), dataset, config)

    def _drawn(self, dataset: DatasetSpec) -> Batch:
        """Return the images that are asked about, the same at every call."""
        _, drawn = hold_out(load_split(dataset, "train"), self.queries)
        assert drawn is not None, "a teacher is asked at least once"
        return drawn
