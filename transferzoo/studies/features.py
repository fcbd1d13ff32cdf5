"""Data sets of robust and non-robust features, made with a model (Ilyas et al. 2019, arXiv 1905.02175)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from transferzoo.attacks.composition import compose
from transferzoo.attacks.engine import Attack, craft
from transferzoo.base.errors import ModelError
from transferzoo.base.spec_strings import parse_epsilon, parse_step
from transferzoo.models.classifier import Classifier, frozen, load_checkpoint
from transferzoo.studies.derived import write_derived
from transferzoo.studies.worker import WORK, training_images
from transferzoo.training.loop import seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

    from transferzoo.datasets import Batch
    from transferzoo.studies.worker import Bench

TOGETHER = 250
"""Images that are made at once."""


@WORK.register("derive")
def derive(what: Mapping[str, Any], folder: Path, bench: Bench) -> dict[str, Any]:
    """Make a data set of features into `images.safetensors`; the result says how many images it has.

    The training images are the first `count`. "robust" and "non-robust" take a start z from another training
    image and follow the normalised gradient of ‖g(z) − g(x)‖₂ with the last features g of the model, in
    [0, 1]; the label is x's. "deterministic" and "random" are adversarial images of x within an L2 ball,
    towards the class that becomes their label.
    """
    images = training_images(what["images"], bench).select(range(what["count"]))
    model = load_checkpoint(bench.folder(what["model"]), bench.dataset)
    draw = torch.Generator().manual_seed(seed_of(what["seed"], f"features {what['features']}"))
    made, labels = MAKERS[what["features"]](model, images, what, draw)
    write_derived(folder, made, labels)
    return {"n": len(made)}


def _inverted(
    model: Classifier, images: Batch, what: Mapping[str, Any], draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return images with the features of others, uint8 (N, C, H, W), and their labels."""
    starts = torch.randperm(len(images), generator=draw)
    parts = []
    for first in range(0, len(images), TOGETHER):
        wanted, begin = (
            images.images[first : first + TOGETHER],
            images.images[starts[first : first + TOGETHER]],
        )
        parts.append(_matched(model, begin / 255, wanted / 255, what["step"], what["steps"]))
    return torch.cat(parts), images.labels


def _matched(model: Classifier, begin: Tensor, wanted: Tensor, step: float, steps: int) -> Tensor:
    """Descend from images to those whose features are the wanted ones; uint8 of the same shape."""
    with frozen(model):
        with torch.no_grad():
            goal = _features(model, wanted)
        current = begin.clone()
        for _ in range(steps):
            leaf = current.detach().requires_grad_()
            distance = (_features(model, leaf) - goal).flatten(1).norm(dim=1).sum()
            (slope,) = torch.autograd.grad(distance, leaf)
            length = slope.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
            current = (current - step * slope / length).clamp(0, 1)
    return (current * 255).round().to(torch.uint8)


def _features(model: Classifier, images: Tensor) -> Tensor:
    """Return what the last linear layer sees of images (N, C, H, W), (N, F).

    Raises:
        ModelError: the model has no such layer.
    """
    linear = [part for part in model.modules() if isinstance(part, nn.Linear)]
    if not linear:
        raise ModelError("features cannot be taken", expected="a model that ends in a linear layer")
    seen: list[Tensor] = []
    handle = linear[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        model(images)
    finally:
        handle.remove()
    return seen[0]


def _aimed(
    choose: Callable[[Tensor, int, torch.Generator], Tensor],
) -> Callable[..., tuple[Tensor, Tensor]]:
    def make(
        model: Classifier, images: Batch, what: Mapping[str, Any], draw: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return adversarial images towards chosen classes, uint8 (N, C, H, W), and those classes."""
        epsilon = parse_epsilon(str(what["epsilon"]), "l2")
        attack = Attack(compose(""), "l2", epsilon, parse_step(str(what["step"]), epsilon), what["steps"])
        aims = choose(images.labels, int(images.labels.max()) + 1, draw)
        parts = []
        for first in range(0, len(images), TOGETHER):
            part = images.select(range(first, min(first + TOGETHER, len(images))))
            aimed = aims[first : first + TOGETHER]
            parts.append(craft(attack, model, part.images, part.labels, part.ids, target_classes=aimed))
        return torch.cat(parts), aims

    return make


def _next(labels: Tensor, classes: int, draw: torch.Generator) -> Tensor:
    return (labels + 1) % classes


def _random(labels: Tensor, classes: int, draw: torch.Generator) -> Tensor:
    """Return a class for each image, any with the same probability, its own among them."""
    return torch.randint(classes, labels.shape, generator=draw)


MAKERS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "robust": _inverted,
    "non-robust": _inverted,
    "deterministic": _aimed(_next),
    "random": _aimed(_random),
}
