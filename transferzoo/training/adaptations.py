"""Which surrogates are trained on the images of a data set, how, and into which folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from transferzoo.base.cache_folder import cache_folder
from transferzoo.base.environment import environment
from transferzoo.base.errors import DataError, UsageError
from transferzoo.base.frozen_model import fingerprint
from transferzoo.base.train_config import TrainConfig
from transferzoo.datasets.disk import count_images
from transferzoo.datasets.own import UNSEEN
from transferzoo.minimizers import show_rule
from transferzoo.models.download import download_model
from transferzoo.models.fitting import COUNT, without_network
from transferzoo.models.recipe_file import read_recipe
from transferzoo.models.resolve import resolve_model
from transferzoo.models.sources.checkpoint_folder import LocalFolder
from transferzoo.training.finetuning import architecture_of, identity
from transferzoo.training.own_data import PIXELS, as_trained_on, usual_options
from transferzoo.training.recipes import plugins_of, short_name
from transferzoo.training.replicas import Labels, Teacher
from transferzoo.zoo.schema import ROLES, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transferzoo.training.feeds import Feed
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import DatasetSpec

FRESH = ("small_resnet18:width=16", "small_vgg", "small_googlenet")
"""Networks that are trained, one of each family that targets are of."""
PRETRAINED = ("timm:resnet18", "timm:mobilenetv3_small_100", "timm:densenet121")
"""Models that are fine-tuned where their weights are on this machine and images are large enough for them."""
MINIMIZER = "sam"


@dataclass(frozen=True)
class Adaptation:
    """A surrogate that is trained on the training images of a data set.

    Attributes:
        config: how.
        dataset: what is classified, at the size that is trained with.
        feed: the images; some are held out.
        start: checkpoint folder that is fine-tuned; None for fresh weights.
        folder: the checkpoint it becomes, in the cache.
        model: the surrogate it becomes.
        labels: answers that it is trained on, and held to; None for the labels of the data set.
    """

    config: TrainConfig
    dataset: DatasetSpec
    feed: Feed
    start: Path | None
    folder: Path
    model: ModelSpec
    labels: Labels | None = None

    def finished(self) -> bool:
        """Return whether an earlier run has trained it.

        Raises:
            ModelError: its recipe cannot be read.
        """
        return read_recipe(self.folder) is not None

    def seconds(self) -> float:
        """Return about how long it takes on this machine; see `estimate.step_seconds`."""
        from transferzoo.training.estimate import step_seconds

        steps = self.feed.count // self.config.batch_size * self.config.epochs
        return steps * step_seconds(self.config, self.dataset, self.start)


def adaptations(
    zoo: Zoo,
    dataset: str,
    count: int = COUNT,
    *,
    split: str | None = None,
    is_here: Callable[[ModelSpec], bool] | None = None,
    teacher: Teacher | None = None,
) -> tuple[tuple[Adaptation, ...], str]:
    """Lay out the training of surrogates on a data set; nothing is trained, and nobody asked.

    Args:
        zoo: see `adapted_surrogates`, as for the others.
        dataset: likewise.
        count: likewise.
        split: likewise.
        is_here: likewise.
        teacher: a model whose answers the surrogates are trained on, from fresh weights.

    Returns:
        The trainings, and the split of images to attack.

    Raises:
        UsageError, DataError: see `adapted_surrogates`.
    """
    spec = zoo.dataset(dataset)
    free = split or (UNSEEN if UNSEEN in spec.shares else spec.attack.split)
    if "train" not in spec.splits:
        raise DataError(
            f"'{dataset}' has no images to train surrogates on",
            expected="a folder train/ beside those that are attacked",
            hint="name a surrogate with --surrogate",
        )
    if free == "train" or (UNSEEN in spec.shares and free != UNSEEN):
        raise UsageError(
            f"surrogates would be trained on the '{free}' images that are attacked",
            expected=f"the split '{UNSEEN}'" if UNSEEN in spec.shares else "folders train/ and test/",
            hint="leave out --split" if UNSEEN in spec.shares else "move some of the images into test/",
        )
    starts = [] if teacher else _at_hand(zoo, spec, is_here or without_network)[:count]
    fresh = [(FRESH[place % len(FRESH)], place // len(FRESH)) for place in range(count - len(starts))]
    planned = [_adaptation(zoo, dataset, architecture_of(model.folder), model) for model in starts]
    return (*planned, *(_adaptation(zoo, dataset, name, None, seed, teacher) for name, seed in fresh)), free


def _at_hand(zoo: Zoo, spec: DatasetSpec, here: Callable[[ModelSpec], bool]) -> list[ModelSpec]:
    """Return models to fine-tune, on this machine; none where images are too small for them."""
    if spec.size <= PIXELS or spec.channels != 3:
        return []
    models = [resolve_model(zoo, name, spec.name) for name in PRETRAINED]
    return [download_model(model) for model in models if here(model)]


def _adaptation(
    zoo: Zoo,
    name: str,
    architecture: str,
    start: ModelSpec | None = None,
    seed: int = 0,
    teacher: Teacher | None = None,
) -> Adaptation:
    read, usual = as_trained_on(zoo, name, None, fine_tuned=start is not None)
    dataset, labels = read.dataset(name), None
    if teacher is not None:
        labels = Labels(teacher, teacher.queries(count_images(dataset, "train", None)))
        usual = {**usual_options(labels.queries, fine_tuned=False), "labels_from": teacher.model.full_name}
    config = TrainConfig.of(
        **usual,
        dataset=dataset.name,
        architecture=architecture,
        start="" if start is None else start.full_name,
        minimizer=show_rule(MINIMIZER),
        seed=seed,
    )
    feed = labels.feed(dataset, config) if labels else _feed(dataset, config)
    folder = None if start is None else start.folder
    key = {
        "config": config.key(),
        "data": feed.identity,
        **({} if folder is None else identity(folder)),
        **plugins_of(config),
        **({"teacher": labels.teacher.key} if labels else {}),
        "environment": environment()._asdict(),
    }
    called = f"{short_name(config)}{'-replica' if labels else ''}{f'-{seed}' if seed else ''}"
    place = cache_folder("surrogates") / f"{dataset.name}-{called}-{fingerprint(key)[:8]}"
    model = ModelSpec(
        name=called,
        dataset=dataset.name,
        roles=ROLES,
        source=LocalFolder(place.resolve()),
        origin=f"trained on the images of {dataset.origin}",
    )
    return Adaptation(config, dataset, feed, folder, place, model, labels)


def _feed(dataset: DatasetSpec, config: TrainConfig) -> Feed:
    from transferzoo.datasets.sources import load_split
    from transferzoo.training.feeds import Memory
    from transferzoo.training.stream import open_stream, streams

    if streams(dataset):
        return open_stream(dataset, "train", None, config)
    return Memory(load_split(dataset, "train"), dataset, config)
