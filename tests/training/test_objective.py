"""What is minimised: the input-gradient penalty, against functional transforms and finite differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from helpers.stripes import config, draw
from transferzoo.base.distributed import Team
from transferzoo.minimizers import MINIMIZERS
from transferzoo.models import build
from transferzoo.models.classifier import Classifier
from transferzoo.training.feeds import Memory
from transferzoo.training.loop import Loop, seed_of
from transferzoo.training.objective import objective

if TYPE_CHECKING:
    from collections.abc import Callable

    from transferzoo.base.train_config import TrainConfig
    from transferzoo.zoo.schema import DatasetSpec

    Weights = dict[str, Tensor]

pytestmark = pytest.mark.usefixtures("one_thread")

TRAIN, TEST = draw(64, 0), draw(97, 1)
RATE, MOMENTUM, DECAY, LAMBDA = 0.05, 0.9, 5e-4, 0.5


def without_batch_norm() -> nn.Module:
    """Return a network whose loss at an image depends on no other image."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), nn.GELU(), nn.Flatten(), nn.Linear(150, 3))


def begin(
    stripes: DatasetSpec, wanted: TrainConfig, model: nn.Module | None = None
) -> tuple[Loop, Classifier, Memory]:
    torch.manual_seed(0)
    model = model or build.create(wanted.architecture, stripes)[0]
    classifier = Classifier(model, size=None, channels=1, mean=stripes.mean, std=stripes.std)
    feed = Memory(TRAIN, stripes, wanted)
    return Loop(wanted, classifier, feed, Team(device=torch.device("cpu"))), classifier, feed


def slope_of(classifier: Classifier, images: Tensor, labels: Tensor) -> Callable[[Weights], Weights]:
    """Return the gradient of cross-entropy plus λ times the mean length of each image's own gradient."""

    def own_loss(weights: Weights, image: Tensor, label: Tensor) -> Tensor:
        logits: Tensor = functional_call(classifier, weights, (image[None],))
        loss: Tensor = cross_entropy(logits, label[None])
        return loss

    def whole(weights: Weights) -> Tensor:
        losses = vmap(own_loss, (None, 0, 0))(weights, images, labels)
        gradients = vmap(grad(own_loss, argnums=1), (None, 0, 0))(weights, images, labels)
        lengths = gradients.square().sum((1, 2, 3)).sqrt()
        value: Tensor = losses.mean() + LAMBDA * lengths.mean()
        return value

    found: Callable[[Weights], Weights] = grad(whole)
    return found


@pytest.mark.parametrize("rho", [0.0, 0.1])
def test_twenty_steps_by_functional_transforms(stripes: DatasetSpec, rho: float) -> None:
    """SGD, and SAM around it, written out on what torch.func differentiates, image by image."""
    minimizer = f"sam:rho={rho}" if rho else "sgd"
    wanted = config(
        epochs=5,
        augment="none",
        minimizer=minimizer,
        input_gradient=LAMBDA,
        learning_rate=RATE,
        schedule="constant",
        precision="fp64",
    )
    loop, ours, _ = begin(stripes, wanted, without_batch_norm())
    _, theirs, feed = begin(stripes, wanted, without_batch_norm())
    weights = {name: p.detach().clone() for name, p in theirs.named_parameters()}
    start = {name: p.clone() for name, p in weights.items()}
    velocity = {name: torch.zeros_like(p) for name, p in weights.items()}
    for epoch in range(5):
        loop.epoch(epoch, lambda at: None, lambda number: None)
        for images, labels in feed.epoch(seed_of(0, f"epoch {epoch}"), 0, 1):
            slope = slope_of(theirs, images.double(), labels)
            used = slope(weights)
            if rho:
                length = torch.cat([g.flatten() for g in used.values()]).norm()
                used = slope({name: p + rho * used[name] / length for name, p in weights.items()})
            for name, p in weights.items():
                velocity[name] = MOMENTUM * velocity[name] + used[name] + DECAY * p
                weights[name] = p - RATE * velocity[name]
    for name, p in ours.named_parameters():
        assert float((p.detach() - weights[name]).abs().max()) < 1e-9, name
    assert max(float((weights[name] - p).abs().max()) for name, p in start.items()) > 0.01


def test_batch_norm_is_differentiated_through(stripes: DatasetSpec) -> None:
    """Value and gradient where the images of a batch meet: by one plain pass, and by central differences."""
    wanted = config(input_gradient=LAMBDA, precision="fp64", label_smoothing=0.1, augment="none")
    _, classifier, feed = begin(stripes, wanted)
    assert any(isinstance(module, nn.BatchNorm2d) for module in classifier.modules())
    images, labels = next(iter(feed.epoch(0, 0, 1)))
    images = images.double()

    def value() -> float:
        seen = images.clone().requires_grad_()
        logits = classifier(seen)
        (gradient,) = torch.autograd.grad(
            cross_entropy(logits, labels, label_smoothing=0.1, reduction="sum"), seen
        )
        mean = cross_entropy(logits.detach(), labels, label_smoothing=0.1)
        return float(mean + LAMBDA * gradient.square().sum((1, 2, 3)).sqrt().mean())

    loss, logits = objective(wanted, classifier, images, labels)
    assert float(loss.detach()) == pytest.approx(value(), rel=1e-12)
    assert logits.shape == (16, 3)
    loss.backward()
    generator = torch.Generator().manual_seed(0)
    for parameter in classifier.parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        direction /= direction.norm()
        values, step = [], 1e-5
        for sign in (1, -2, 1):
            with torch.no_grad():
                parameter.add_(direction, alpha=sign * step)
            values.append(value())
        assert parameter.grad is not None
        slope = float((parameter.grad * direction).sum())
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_weight_zero_is_the_cross_entropy(stripes: DatasetSpec) -> None:
    """Bit by bit, and the key of a training does not know of the option."""
    wanted = config(label_smoothing=0.1, augment="none")
    assert config(input_gradient=0.0).key() == config().key()
    _, classifier, feed = begin(stripes, wanted)
    images, labels = next(iter(feed.epoch(0, 0, 1)))
    loss, logits = objective(wanted, classifier, images, labels)
    expected = classifier(images)
    assert torch.equal(logits, expected)
    assert torch.equal(loss, cross_entropy(expected, labels, label_smoothing=0.1))


@pytest.mark.parametrize("minimizer", list(MINIMIZERS))
def test_every_minimizer_takes_it(stripes: DatasetSpec, minimizer: str) -> None:
    """In micro-batches; the weights go elsewhere than without."""
    ends = []
    for weight in (0.0, 1.0):
        wanted = config(epochs=1, minimizer=minimizer, input_gradient=weight, micro_batch=8)
        loop, classifier, _ = begin(stripes, wanted)
        line = loop.epoch(0, lambda at: None, lambda number: None)
        assert line["loss"] > 0
        ends.append(torch.cat([p.detach().flatten() for p in classifier.parameters()]))
    assert ends[1].isfinite().all()
    assert float((ends[0] - ends[1]).abs().max()) > 1e-4


@pytest.mark.parametrize("minimizer", ["sgd", "sam:rho=0.1"])
def test_what_is_penalised_shrinks(stripes: DatasetSpec, minimizer: str) -> None:
    """On images never seen, the gradient of each image's own loss, in evaluation mode.

    Labels are smoothed, since a loss of zero has no gradient in either case.
    """
    lengths = []
    for weight in (0.0, 0.3):
        wanted = config(epochs=4, minimizer=minimizer, input_gradient=weight, label_smoothing=0.2)
        loop, classifier, _ = begin(stripes, wanted)
        for epoch in range(4):
            loop.epoch(epoch, lambda at: None, lambda number: None)
        classifier.eval()
        images = (TEST.images.float() / 255).requires_grad_()
        (gradient,) = torch.autograd.grad(
            cross_entropy(classifier(images), TEST.labels, reduction="sum"), images
        )
        lengths.append(float(gradient.flatten(1).norm(dim=1).mean()))
    assert lengths[1] < 0.7 * lengths[0]


def test_fused_attention_is_replaced() -> None:
    """PyTorch's fused kernels have no second derivative; timm's vision transformers use them."""
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", num_classes=3, in_chans=1, img_size=8, patch_size=4, embed_dim=12, depth=2
    )
    classifier = Classifier(model, size=None, channels=1, mean=(0.5,), std=(0.5,))
    images = torch.rand(4, 1, 8, 8)
    loss, _ = objective(config(input_gradient=1.0), classifier, images, torch.tensor([0, 1, 2, 0]))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
