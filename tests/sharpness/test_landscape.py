"""Lines between models and planes through one, against the same written out."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from helpers.loss_surfaces import convolutional, perceptron, pixels
from transferzoo.base.errors import ModelError, UsageError
from transferzoo.datasets import Batch
from transferzoo.models.classifier import Classifier
from transferzoo.sharpness.landscape import (
    filter_normalised_directions,
    interpolate,
    plane_coordinates,
    plane_losses,
)
from transferzoo.sharpness.measurement_setup import MeasurementSetup
from transferzoo.sharpness.surface import loss_surface
from transferzoo.zoo.reader import load_zoo

pytestmark = pytest.mark.usefixtures("one_thread")


def reading(model: nn.Module) -> Classifier:
    return Classifier(model, size=None, channels=1, mean=[0.5], std=[0.25]).double().eval()


def moved(model: nn.Module, seed: int) -> Classifier:
    """Return a copy with other weights and other running averages."""
    other, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            if tensor.is_floating_point():
                tensor += 0.2 * torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
    return reading(other)


def norms_of(model: nn.Module) -> list[Any]:
    return [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]


# ---------------------------------------------------------------- lines


def test_the_ends_of_a_line_are_the_models_and_the_middle_is_their_mean() -> None:
    first, second, images = moved(perceptron(), 0), moved(perceptron(), 1), pixels(10, 3)[0]
    before = copy.deepcopy(first.state_dict())
    found = {a: interpolate(first, second, a, images, 4) for a in (0, 0.25, 0.5, 1)}
    parts = zip(*(m.parameters() for m in (first, second, *found.values())), strict=True)
    for a, b, start, quarter, middle, end in parts:
        assert torch.equal(start, a)
        assert torch.equal(end, b)
        assert torch.allclose(quarter, 0.75 * a + 0.25 * b, rtol=1e-12)
        assert torch.allclose(middle, (a + b) / 2, rtol=1e-12)
    seen = images.double() / 255
    assert torch.equal(found[0](seen), first(seen))
    assert torch.equal(found[1](seen), second(seen))
    assert all(torch.equal(first.state_dict()[name], value) for name, value in before.items())


def test_statistics_are_those_of_the_images_at_every_point() -> None:
    first, second, (images, _) = moved(convolutional(), 0), moved(convolutional(), 1), pixels(15, 8)
    seen = ((images.double() / 255) - 0.5) / 0.25
    for position in (0, 0.3, 1):
        model = interpolate(first, second, position, images, 8)
        assert not any(part.training for part in model.modules())
        convolution, norm = model.model[0], norms_of(model)[0]  # type: ignore[index]
        assert torch.allclose(
            convolution.weight,
            torch.lerp(first.model[0].weight, second.model[0].weight, position),  # type: ignore[index]
        )
        batches = [convolution(part).transpose(0, 1).flatten(1) for part in seen.split([8, 7])]
        means = torch.stack([batch.mean(1) for batch in batches]).mean(0)
        variances = torch.stack([batch.var(1) for batch in batches]).mean(0)
        assert torch.allclose(norm.running_mean, means, rtol=1e-10)
        assert torch.allclose(norm.running_var, variances, rtol=1e-10)
    for end in (first, second):
        assert not torch.allclose(norms_of(end)[0].running_mean, means)


def test_dropout_neither_depends_on_earlier_draws_nor_changes_them() -> None:
    model: Any = convolutional()
    model[2] = nn.Sequential(nn.ReLU(), nn.Dropout(0.5))
    first, second, images = moved(model, 0), moved(model, 1), pixels(15, 8)[0]
    drawn, found = [], []
    for seed in (3, 4):
        torch.manual_seed(seed)
        found.append(norms_of(interpolate(first, second, 0.5, images, 8))[1].running_mean)
        drawn.append(torch.rand(1))
        torch.manual_seed(seed)
        assert torch.equal(drawn[-1], torch.rand(1))
    assert torch.equal(found[0], found[1])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (convolutional(), "'model.1.weight' differs"),
        (nn.Sequential(*perceptron(), nn.ReLU(), nn.Linear(3, 3)), "'model.7.weight' differs: expected none"),
    ],
)
def test_models_of_different_architectures_have_no_line(other: nn.Module, words: str) -> None:
    ends = reading(perceptron()), reading(other)
    with pytest.raises(ModelError, match=f"no line between models of different architectures: {words}"):
        interpolate(*ends, 0.5, pixels(4, 8)[0], 4)


# ---------------------------------------------------------------- planes


def test_the_middle_of_a_slice_is_the_model_and_the_rest_is_where_it_should_be() -> None:
    model, (images, labels) = convolutional().eval(), pixels(12, 8)
    with loss_surface(model, images, labels, 5) as surface:
        plane = filter_normalised_directions(surface, torch.Generator().manual_seed(0))
        positions = plane_coordinates(3, 0.5)
        rows = [plane_losses(surface, plane, positions, second) for second in positions]
        assert rows[1][1] == pytest.approx(surface.loss, rel=1e-12)
        other = copy.deepcopy(model)
        for place, first, second in zip(other.parameters(), *map(surface.parts, plane), strict=True):
            place.data += 0.5 * first - 0.5 * second
    there = float(cross_entropy(other(images.double() / 255), labels).detach())
    assert rows[0][2] == pytest.approx(there, rel=1e-12)
    assert len({round(loss, 12) for row in rows for loss in row}) == 9


def test_directions_have_the_norms_of_the_filters_and_leave_biases_alone() -> None:
    model, (images, labels) = convolutional(), pixels(4, 8)
    with loss_surface(model, images, labels, 4) as surface:
        first, second = filter_normalised_directions(surface, torch.Generator().manual_seed(0))
        again, _ = filter_normalised_directions(surface, torch.Generator().manual_seed(0))
        for direction in (first, second):
            for part, weights in zip(surface.parts(direction), model.parameters(), strict=True):
                if weights.ndim == 1:
                    assert not part.any()
                    continue
                mine, wanted = (t.detach().flatten(1).norm(dim=1) for t in (part, weights))
                assert torch.allclose(mine, wanted, rtol=1e-6)
        cosine = float(first @ second / first.norm() / second.norm())
    assert torch.equal(first, again)
    assert abs(cosine) < 0.5


def test_batch_norm_sees_all_classes_in_every_batch() -> None:
    """Where files lie in a folder a class, images come class by class."""
    labels = torch.arange(600) // 60
    images = labels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    data = Batch(images, labels, torch.arange(600))
    setup = MeasurementSetup(load_zoo().dataset("fashion-mnist"), "test", data, 100, 0, 60)
    assert sorted(setup.batch_norm_images[:, 0, 0, 0].tolist()) == labels.tolist()
    assert all(len(part.unique()) > 5 for part in setup.batch_norm_images.tensor_split(10))


def test_a_grid_has_its_middle_at_zero() -> None:
    assert plane_coordinates(5, 2) == [-2, -1, 0, 1, 2]
    assert plane_coordinates(2, 1) == [-1, 1]
    for points, radius, words in (
        (1, 1, "too few points"),
        (3, 0, "radius is out of range"),
        (3, -1, "radius"),
    ):
        with pytest.raises(UsageError, match=words):
            plane_coordinates(points, radius)
