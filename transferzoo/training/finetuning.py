"""Fine-tuning: where a training starts from, and what of it is kept.

The architecture, its arguments and the preprocessing are the source's. So are all weights where the source
classifies the same classes; otherwise its head is freshly initialised. Nothing here imports torch before a
model is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import ModelError, UsageError
from transferzoo.base.frozen_model import fingerprint
from transferzoo.datasets.labels import plain
from transferzoo.models import checkpoint
from transferzoo.models.architectures import ARCHITECTURES
from transferzoo.models.recipe_file import read_recipe

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from transferzoo.zoo.schema import DatasetSpec


def architecture_of(folder: Path) -> str:
    """Return the architecture spec of a checkpoint folder: what a spec can say that no data set sets.

    Raises:
        ModelError: the folder is no checkpoint.
    """
    config = checkpoint.read_config(folder)
    name = config["architecture"].partition(".")[0]  # without timm's tag of the weights
    fixed = {"in_chans"} | ({"img_size"} if name in ARCHITECTURES else set())
    options = ",".join(
        f"{key}={value}"
        for key, value in config["model_args"].items()
        if key not in fixed and type(value) in (int, float, str)
    )
    return f"{name}:{options}" if options else name


def identity(folder: Path) -> dict[str, str]:
    """Return what tells one source from another: the digests of its weights and of its description.

    Raises:
        ModelError: the folder is no checkpoint.
    """
    return {
        "start": checkpoint.digest(folder),
        "start_config": fingerprint(checkpoint.description(folder)),
    }


# ---------------------------------------------------------------- what is kept of it


@dataclass(frozen=True)
class Start:
    """A model to fine-tune.

    Attributes:
        model: with the source's weights.
        arguments: what timm's `create_model` needs to build it again.
        reads: the source's `pretrained_cfg`, with `input_size`, `mean` and `std`.
        fresh: names of the weights that are not the source's.
        note: why, as a sentence for the user; empty where all are.
    """

    model: nn.Module
    arguments: dict[str, Any]
    reads: dict[str, Any]
    fresh: tuple[str, ...]
    note: str


def begin(folder: Path, dataset: DatasetSpec, architecture: str) -> Start:
    """Load a checkpoint to be trained on a data set; fresh weights are drawn from torch's generator.

    Args:
        folder: the checkpoint.
        dataset: what it shall classify.
        architecture: what `architecture_of` says of it.

    Raises:
        UsageError: the architecture is another.
        ModelError: the checkpoint is damaged, its head is not found, or it cannot read the data set's images.
    """
    config, classes = checkpoint.read_config(folder), len(dataset.classes)
    if architecture != (known := architecture_of(folder)):
        raise UsageError(
            "fine-tuning keeps the architecture of its source",
            expected=f"'{known}'",
            got=f"'{architecture}'",
            hint="leave out --architecture or --from",
        )
    reads = config["pretrained_cfg"]
    if dataset.channels not in (1, reads["input_size"][0]):
        raise ModelError(
            f"the model {folder} cannot read the images of '{dataset.name}'",
            expected=f"{dataset.channels} channels",
            got=str(reads["input_size"][0]),
            hint="fine-tune a model of such images",
        )
    reason, fresh = other_classes(folder, dataset), frozenset[str]()
    if reason:
        fresh = _head(folder, config, classes)
        if not fresh:
            raise ModelError(
                f"the head of {config['architecture']} is not found",
                expected=f"{classes} classes",
                got=str(config["num_classes"]),
                hint="fine-tune it on a data set with as many",
            )
    model = checkpoint.restore(folder, config, classes, fresh)
    note = f"{reason}; its head ({', '.join(sorted(fresh))}) starts afresh." if reason else ""
    return Start(model, config["model_args"], reads, tuple(sorted(fresh)), note)


def other_classes(folder: Path, dataset: DatasetSpec) -> str:
    """Return how the classes of a checkpoint differ from a data set's; empty where they are the same.

    Names are compared where both have names, the data set of a `recipe.json` where they have none. Of a model
    that says neither, their number decides.

    Raises:
        ModelError: the folder is no checkpoint.
    """
    config = checkpoint.read_config(folder)
    count, named = config["num_classes"], f"the model {folder.name}"
    if count != len(dataset.classes):
        return f"{named} has {count} classes and '{dataset.name}' {len(dataset.classes)}"
    names = [plain(name) for name in checkpoint.class_names(config["pretrained_cfg"])]
    ours = [plain(name) for name in dataset.classes]
    numbers = [str(number) for number in range(count)]
    if names and names != numbers and ours != numbers:
        return "" if names == ours else f"{named} has other classes than '{dataset.name}'"
    trained = ((read_recipe(folder) or {}).get("config") or {}).get("dataset", dataset.name)
    return "" if trained == dataset.name else f"{named} was trained on '{trained}', not '{dataset.name}'"


def _head(folder: Path, config: dict[str, Any], classes: int) -> frozenset[str]:
    """Return the names of the weights whose shape is one of the classes."""
    import torch

    with torch.random.fork_rng(devices=[]):
        one, other = (checkpoint.rebuild(folder, config, k).state_dict() for k in (classes, classes + 1))
    return frozenset(name for name in one if name not in other or one[name].shape != other[name].shape)
