"""Networks that the user's code makes become checkpoint folders, to be trained on."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from transferzoo.base.errors import ModelError, UsageError
from transferzoo.models.build import create
from transferzoo.models.conversion import convert_weights
from transferzoo.models.load import require_gradients
from transferzoo.zoo.schema import WeightFile

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import nn

    from transferzoo.zoo.schema import DatasetSpec, ModelSpec

IMAGES = 8
"""That a network and its checkpoint are compared on."""


def checkpoint_of_code(model: ModelSpec, architecture: str, dataset: DatasetSpec) -> Path:
    """Return the checkpoint folder of a network that code makes; a second call finds it.

    Its weights are read as a bare weight file is. Whether pixels are normalised before the network or inside
    it is found out: the checkpoint gives the logits that the code gives.

    Args:
        model: on this machine; its code is run.
        architecture: spec of the network that it makes.
        dataset: whose images it reads and whose classes it has.

    Raises:
        UsageError: no architecture is given, or there are no weights to train.
        ModelError: the code fails, or its weights do not fit the architecture, or answer otherwise in it.
    """
    import torch

    from transferzoo.models.classifier import load_checkpoint

    place, source = model.source.place, model.source.download(None)
    if not architecture:
        raise UsageError(
            f"'{place}' does not say which network its weights fit",
            expected="its architecture too, --architecture SPEC",
        )
    require_gradients(model)
    network = source.load(dataset)
    shape = (IMAGES, dataset.channels, dataset.size, dataset.size)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        answers = network(images)
        for mean, std in _normalisations(dataset):
            folder = _converted(network.model, place, architecture, dataset, mean, std)
            if torch.allclose(load_checkpoint(folder, dataset)(images), answers, rtol=1e-3, atol=1e-3):
                return folder
    raise ModelError(
        f"the weights of '{place}' answer otherwise in '{architecture}' than in its own network",
        expected="the same logits, pixels as they are or normalised as those of the data set",
        hint="check --architecture, or save the weights and describe them in a zoo file",
    )


def _normalisations(dataset: DatasetSpec) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Return what pixels may be normalised by: nothing, or mean and std of the data set."""
    count = dataset.channels
    return list(dict.fromkeys([((0.0,) * count, (1.0,) * count), (dataset.mean, dataset.std)]))


def _prefix(given: Collection[str], names: Collection[str]) -> str:
    """Return the shortest text that stands before all names of a network's weights; empty where none does."""
    first, known = next(iter(names), ""), {*given}
    before = sorted({name.removesuffix(first) for name in given if name.endswith(first)}, key=len)
    return next((text for text in before if all(text + name in known for name in names)), "")


def _converted(
    network: nn.Module,
    place: str,
    architecture: str,
    dataset: DatasetSpec,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Path:
    """Return the checkpoint folder made of a network's weights and one normalisation."""
    from safetensors.torch import save

    names = create(architecture, dataset)[0].state_dict().keys()
    state = {name: tensor.detach().clone().contiguous() for name, tensor in network.state_dict().items()}
    described = WeightFile(
        file="weights.safetensors",
        architecture=architecture,
        input_size=(dataset.channels, dataset.size, dataset.size),
        mean=mean,
        std=std,
        prefix=_prefix(state, names),
        arguments={"num_classes": len(dataset.classes)},
    )
    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / described.file
        file.write_bytes(save(state))
        return convert_weights(file, described, {"code": place})
