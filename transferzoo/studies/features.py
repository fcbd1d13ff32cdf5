"""Data sets of robust and non-robust features, made with a model (Ilyas et al. 2019, arXiv 1905.02175)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from transferzoo.attacks.composition import compose
from transferzoo.attacks.engine import Attack, craft
from transferzoo.base.budget import Budget
from transferzoo.base.errors import ModelError
from transferzoo.models.classifier import Classifier, frozen
from transferzoo.models.load import load_classifier
from transferzoo.studies.derived import write_derived
from transferzoo.studies.entries import DerivedDatasetEntry
from transferzoo.studies.worker import CELL_FUNCTIONS, training_images
from transferzoo.training.loop import seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

    from transferzoo.datasets import Batch
    from transferzoo.studies.worker import WorkerContext

BATCH_SIZE = 250


@CELL_FUNCTIONS.register("derive")
def derive(inputs: Mapping[str, Any], folder: Path, context: WorkerContext) -> dict[str, Any]:
    """Generate a data set of features into `images.safetensors`; the result is its number of images.

    The training images are the first `count`. "robust" and "non-robust" take a start z from another training
    image and follow the normalised gradient of ‖g(z) − g(x)‖₂ with the last features g of the model, in
    [0, 1]; the label is x's. "deterministic" and "random" are adversarial images of x within an L2 ball;
    the target class becomes their label.
    """
    images = training_images(inputs["images"], context).select(range(inputs["count"]))
    model = load_classifier(context.model(inputs["model"]), context.dataset)
    options = DerivedDatasetEntry.of_cell(inputs)
    generator = torch.Generator().manual_seed(seed_of(options.seed, f"features {options.features}"))
    generated, labels = FEATURE_METHODS[options.features](model, images, options, generator)
    write_derived(folder, generated, labels)
    return {"n": len(generated)}


def _invert_features(
    model: Classifier, images: Batch, options: DerivedDatasetEntry, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return images with the features of others, uint8 (N, C, H, W), and their labels."""
    starts = torch.randperm(len(images), generator=generator)
    parts = []
    for first in range(0, len(images), BATCH_SIZE):
        wanted, start = (
            images.images[first : first + BATCH_SIZE],
            images.images[starts[first : first + BATCH_SIZE]],
        )
        parts.append(_match_features(model, start / 255, wanted / 255, options.step, options.steps))
    return torch.cat(parts), images.labels


def _match_features(model: Classifier, start: Tensor, wanted: Tensor, step: float, steps: int) -> Tensor:
    """Descend from images to those whose features are the wanted ones; uint8 of the same shape."""
    with frozen(model):
        with torch.no_grad():
            goal = _features(model, wanted)
        current = start.clone()
        for _ in range(steps):
            leaf = current.detach().requires_grad_()
            distance = (_features(model, leaf) - goal).flatten(1).norm(dim=1).sum()
            (slope,) = torch.autograd.grad(distance, leaf)
            length = slope.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
            current = (current - step * slope / length).clamp(0, 1)
    return (current * 255).round().to(torch.uint8)


def _features(model: Classifier, images: Tensor) -> Tensor:
    """Return the inputs of the last linear layer for images (N, C, H, W), (N, F).

    Raises:
        ModelError: the model has no such layer.
    """
    linear = [part for part in model.modules() if isinstance(part, nn.Linear)]
    if not linear:
        raise ModelError("the model has no last features", expected="a model that ends in a linear layer")
    inputs: list[Tensor] = []
    handle = linear[-1].register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    try:
        model(images)
    finally:
        handle.remove()
    return inputs[0]


def _targeted_images(
    choose: Callable[[Tensor, int, torch.Generator], Tensor],
) -> Callable[..., tuple[Tensor, Tensor]]:
    def generate(
        model: Classifier, images: Batch, options: DerivedDatasetEntry, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return adversarial images for target classes, uint8 (N, C, H, W), and those classes."""
        attack = Attack(compose(""), Budget.read("l2", options.epsilon, options.step, options.steps))
        classes = choose(images.labels, int(images.labels.max()) + 1, generator)
        parts = []
        for first in range(0, len(images), BATCH_SIZE):
            part = images.select(range(first, min(first + BATCH_SIZE, len(images))))
            part_classes = classes[first : first + BATCH_SIZE]
            parts.append(
                craft(attack, model, part.images, part.labels, part.ids, target_classes=part_classes)
            )
        return torch.cat(parts), classes

    return generate


def _next_class(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    return (labels + 1) % classes


def _random_class(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Return a class for each image, any with the same probability, its own among them."""
    return torch.randint(classes, labels.shape, generator=generator)


FEATURE_METHODS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "robust": _invert_features,
    "non-robust": _invert_features,
    "deterministic": _targeted_images(_next_class),
    "random": _targeted_images(_random_class),
}
