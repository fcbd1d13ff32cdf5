"""Curvature, against the dense Hessian and against curvlinops; and what `measure` promises."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch import Tensor, nn

from helpers.loss_surfaces import Valley, convolutional, flat, loss_of, perceptron, pixels
from helpers.networks import tiny_vit
from transferzoo.base.errors import DataError, ModelError, UsageError
from transferzoo.sharpness import measure
from transferzoo.sharpness.curvature import top_eigenvalues, trace
from transferzoo.sharpness.surface import loss_surface

if TYPE_CHECKING:
    from transferzoo.sharpness import Sharpness

pytestmark = pytest.mark.usefixtures("one_thread")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dense(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    found: Any = torch.autograd.functional.hessian(loss_of(model, images, labels), flat(model))
    return found  # type: ignore[no-any-return]


def quick(model: nn.Module, images: Tensor, labels: Tensor, **options: Any) -> Sharpness:
    return measure(model, images, labels, **{"probes": 3, "steps": 2, "draws": 2, **options})


# ---------------------------------------------------------------- the Hessian


@pytest.mark.parametrize("adaptive", [False, True])
def test_eigenvalues_and_trace_are_those_of_the_dense_hessian(adaptive: bool) -> None:
    model, (images, labels) = perceptron(), pixels(40, 3)
    scale = flat(model).abs() if adaptive else torch.ones_like(flat(model))
    hessian = scale[:, None] * dense(model, images, labels) * scale
    with loss_surface(model, images, labels, 25) as surface:
        surface = surface.adaptive() if adaptive else surface
        assert surface.size == len(hessian) > 200
        wanted = torch.linalg.eigvalsh(hessian).flip(0)[:3].tolist()
        assert top_eigenvalues(surface, 3, generator()) == pytest.approx(wanted, rel=1e-6)
        assert top_eigenvalues(surface, 1, generator(5)) == pytest.approx(wanted[:1], rel=1e-6)
        basis = [*torch.eye(surface.size, dtype=torch.int8)]
        assert surface.quadratic_forms(basis) == pytest.approx(hessian.diag().tolist(), abs=1e-12)
        estimate, error = trace(surface, 150, generator())
    exact = float(hessian.trace())
    spread = float(2 * (hessian.square().sum() - hessian.diag().square().sum())) ** 0.5
    assert abs(estimate - exact) < 4 * error
    assert error == pytest.approx(spread / 150**0.5, rel=0.25)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch.func and curvlinops use torch.jit.script
def test_products_are_those_of_curvlinops() -> None:
    from curvlinops import HessianLinearOperator

    model, (images, labels) = convolutional().eval(), pixels(21, 8)
    batches = [*zip((images.double() / 255).split(10), labels.split(10), strict=True)]
    other = HessianLinearOperator(
        model, nn.CrossEntropyLoss(), [*model.parameters()], batches, check_deterministic=False
    )
    vector = torch.randn(other.shape[1], generator=generator(), dtype=torch.float64)
    (wanted,) = eigsh(other.to_scipy(), k=1, which="LA", tol=1e-6, return_eigenvectors=False)
    with loss_surface(model, images, labels, 10) as surface:
        assert torch.allclose(surface.hessian_times(vector), other @ vector, rtol=1e-10, atol=1e-12)
        assert top_eigenvalues(surface, 1, generator()) == pytest.approx((wanted,), rel=1e-6)


def test_fused_attention_has_a_hessian() -> None:
    model, (images, labels) = tiny_vit(), pixels(3, 16, 3, 10)
    with loss_surface(model, images, labels, 2) as surface:
        vector, small = surface.draw(generator()), 1e-7
        product = surface.hessian_times(vector)
        (_, ahead), (_, behind) = (surface.gradient(sign * small * vector) for sign in (1, -1))
    assert (product - (ahead - behind) / (2 * small)).norm() < 1e-5 * product.norm()


# ---------------------------------------------------------------- the model


def test_the_model_is_measured_in_evaluation_mode_and_handed_back_as_it_came() -> None:
    model, (images, labels) = convolutional().train(), pixels(20, 8)
    next(model.parameters()).requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    found = quick(model, images, labels)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(part.training for part in model.modules())
    assert [p.requires_grad for p in model.parameters()] == [
        False,
        *[True] * (len([*model.parameters()]) - 1),
    ]
    assert all(p.grad is None for p in model.parameters())
    assert found == quick(model.eval(), images, labels)
    logits = model(images.double() / 255).detach()
    assert found.loss == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-12)
    assert found.accuracy == float((logits.argmax(1) == labels).double().mean())


def test_only_weights_that_require_gradients_move() -> None:
    model, (images, labels) = perceptron(), pixels(20, 3)
    for parameter in [*model.parameters()][:2]:
        parameter.requires_grad_(False)
    whole, fixed = dense(model, images, labels), 9 * 14 + 14
    found = quick(model, images, labels)
    assert found.weights == len(whole) - fixed
    wanted = float(torch.linalg.eigvalsh(whole[fixed:, fixed:])[-1])
    assert found.plain.eigenvalues == pytest.approx((wanted,), rel=1e-6)


def test_what_a_layer_hands_to_the_next_does_not_change_adaptive_measures() -> None:
    """The function stays when one layer is scaled up and the next one down; so does adaptive sharpness."""
    model: Any = perceptron()
    model[2], (images, labels) = nn.ReLU(), pixels(20, 3)
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        for tensor, factor in ((scaled[1].weight, 4), (scaled[1].bias, 4), (scaled[3].weight, 0.25)):
            tensor *= factor
    first, second = (quick(one, images, labels, sigma=0.1) for one in (model, scaled))
    assert second.loss == pytest.approx(first.loss, rel=1e-12)
    assert second.adaptive.numbers() == pytest.approx(first.adaptive.numbers(), rel=1e-6)
    for name, value in first.plain.numbers().items():
        assert second.plain.numbers()[name] != pytest.approx(value, rel=0.01), name


def test_batches_change_nothing() -> None:
    model, (images, labels) = convolutional(), pixels(20, 8)
    one, three = (quick(model, images, labels, batch_size=size).numbers() for size in (20, 7))
    assert one == pytest.approx(three, rel=1e-8)


# ---------------------------------------------------------------- the record


def test_the_seed_decides() -> None:
    model, (images, labels) = perceptron(), pixels(20, 3)
    first, again, other = (quick(model, images, labels, seed=seed) for seed in (0, 0, 1))
    assert first == again
    for drawn in ("trace", "average_rise"):
        assert getattr(first.plain, drawn) != getattr(other.plain, drawn)
        assert getattr(first.adaptive, drawn) != getattr(other.adaptive, drawn)
    assert first.plain.worst_rise == other.plain.worst_rise


def test_a_record_is_json_and_a_dictionary_of_numbers() -> None:
    found = quick(perceptron(), *pixels(20, 3), eigenvalues=2, rho=0.1, adaptive_sigma=0.3)
    assert json.loads(json.dumps(asdict(found)))["plain"]["trace"] == found.plain.trace
    assert (found.n, found.weights, found.probes, found.steps, found.draws) == (20, 215, 3, 2, 2)
    assert (found.plain.rho, found.adaptive.rho, found.adaptive.sigma) == (0.1, 0.2, 0.3)
    numbers = found.numbers()
    assert (numbers["top"], numbers["top_2"]) == found.plain.eigenvalues
    assert numbers["adaptive_worst_rise"] == found.adaptive.worst_rise
    assert len(numbers) == 2 + 2 * 8


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("rho", 0, "rho is out of range: expected a number above 0, got 0"),
        ("adaptive_rho", -1, "adaptive rho is out of range"),
        ("sigma", float("nan"), "sigma is out of range"),
        ("adaptive_sigma", float("inf"), "adaptive sigma is out of range"),
        ("probes", 1, "too few probes: expected at least 2, got 1"),
        ("draws", 1, "too few draws"),
        ("steps", 0, "too few steps"),
        ("eigenvalues", 0, "too few eigenvalues"),
        ("eigenvalues", 2, "there are not as many eigenvalues: expected fewer than 2, got 2"),
    ],
)
def test_numbers_out_of_range_are_refused(option: str, value: float, words: str) -> None:
    images, labels = pixels(5, 2, classes=2)
    changed: dict[str, Any] = {option: value}
    with pytest.raises(UsageError, match=words):
        quick(Valley(), images, labels, **changed)


def test_models_that_cannot_be_measured_are_refused() -> None:
    images, labels = pixels(5, 2, classes=2)
    with pytest.raises(DataError, match="no image to measure the loss on"):
        quick(Valley(), images[:0], labels[:0])
    with pytest.raises(ModelError, match="no weight of the model can be moved"):
        quick(Valley().requires_grad_(False), images, labels)
    with pytest.raises(ModelError, match="the loss of the model is not finite: got nan"):
        quick(Valley((float("nan"), 0)), images, labels)


def test_a_step_into_the_infinite_is_refused() -> None:
    model: Any = perceptron()
    model[2] = model[4] = nn.ReLU()
    with pytest.raises(ModelError, match=r"not finite where the weights move to.*; let them move less far"):
        quick(model, *pixels(5, 3), rho=1e150)
