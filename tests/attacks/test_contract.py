"""What the engine holds techniques to: each breach is told, by the technique's name where it is known."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from helpers.attacks import craft, make_attack, perturb, random_images, small_cnn
from transferzoo.attacks import engine
from transferzoo.attacks.composition import Composition, compose
from transferzoo.attacks.contract import TechniqueError
from transferzoo.attacks.engine import Attack
from transferzoo.attacks.techniques import Estimator, Loss, Starter, Stepper
from transferzoo.base.budget import Budget
from transferzoo.base.errors import ModelError, UsageError
from transferzoo.base.plugins import load_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transferzoo.attacks.technique import Technique
    from transferzoo.attacks.techniques import Oracle
    from transferzoo.attacks.techniques.work_unit import WorkUnit

pytestmark = pytest.mark.usefixtures("one_thread")

MOMENTUM = compose("mi").techniques


def _attack(*techniques: Technique, steps: int = 3) -> Attack:
    ordered = sorted(techniques, key=lambda one: one.stage)
    return Attack(Composition(tuple(ordered)), Budget("linf", Fraction(16, 255), Fraction(2, 255), steps))


def _estimator(change: Callable[[Oracle, Tensor], Any], cost: int = 1) -> Estimator:
    @dataclass(frozen=True)
    class Mine(Estimator):
        name: ClassVar[str] = "mine"

        @property
        def cost(self) -> int:
            return cost

        def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
            return lambda images: change(oracle, images)

    return Mine()


def _in_place(oracle: Oracle, images: Tensor) -> Tensor:
    found = oracle(images)
    images += 1
    return found


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda oracle, x: oracle(x).mean((2, 3), keepdim=True),
            r"'mine' returns float64 of the shape \(2, 3, 1, 1\)",
        ),
        (lambda oracle, x: oracle(x)[:1], r"expected floating-point numbers of the shape \(2, 3, 16, 16\)"),
        (lambda oracle, x: oracle(x).sign().long(), "'mine' returns int64 of the shape"),
        (lambda oracle, x: None, "'mine' returns NoneType"),
        (_in_place, "'mine' changes in place what it is given"),
        (lambda oracle, x: oracle(x) + oracle(x), "asked for 6 gradients an image: expected 3 at most"),
    ],
)
@pytest.mark.parametrize("others", [(), MOMENTUM])
def test_what_a_technique_returns(
    change: Callable[[Oracle, Tensor], Any], sentence: str, others: tuple[Technique, ...]
) -> None:
    with pytest.raises(TechniqueError, match=sentence):
        craft(_attack(_estimator(change), *others), small_cnn(), _images())


def test_what_it_may_do() -> None:
    """As many gradients as it says, or fewer; in another precision, on the images of a leaf of its own."""
    twice = _estimator(lambda oracle, x: (oracle(x.clone().add_(0)) + oracle(x)).float(), cost=2)
    assert torch.equal(
        craft(_attack(twice), small_cnn(), _images()), craft(_attack(), small_cnn(), _images())
    )
    craft(_attack(_estimator(lambda oracle, x: oracle(x), cost=5)), small_cnn(), _images())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("others", [(), MOMENTUM])
def test_a_direction_of_some_images_that_is_not_finite(value: float, others: tuple[Technique, ...]) -> None:
    def change(oracle: Oracle, images: Tensor) -> Tensor:
        found = oracle(images)
        found[::2] *= value
        return found

    with pytest.raises(ModelError, match="what the techniques make of finite gradients is not finite"):
        craft(_attack(_estimator(change), *others), small_cnn(), _images())


def test_a_step_or_a_start_that_is_not_finite() -> None:
    @dataclass(frozen=True)
    class Far(Stepper):
        name: ClassVar[str] = "far"

        def stride(self, stride: Oracle, unit: WorkUnit) -> Oracle:
            return lambda ascent: stride(ascent) * float("nan")

    @dataclass(frozen=True)
    class Nowhere(Starter):
        name: ClassVar[str] = "nowhere"

        def start(self, unit: WorkUnit, advance: Callable[[Tensor, float], Tensor]) -> Tensor:
            return unit.images * float("nan")

    for technique in (Far(), Nowhere()):
        with pytest.raises(ModelError, match="what the techniques make of finite gradients is not finite"):
            craft(_attack(technique, steps=1), small_cnn(), _images())


def test_images_that_were_made_in_inference_mode() -> None:
    batch, attack, model = _images(), _attack(*MOMENTUM), small_cnn()
    with torch.inference_mode():
        clean = batch.images.double() / 255
    made = engine.perturb(attack, model, clean, batch.labels, batch.ids, dtype=torch.float64)
    assert torch.equal(made, perturb(attack, model, batch))


def test_a_technique_that_gives_no_function() -> None:
    @dataclass(frozen=True)
    class Empty(Estimator):
        name: ClassVar[str] = "empty"

        def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
            return None  # type: ignore[return-value]

    with pytest.raises(TechniqueError, match="'empty' gives NoneType instead of a function"):
        craft(_attack(Empty(), *MOMENTUM), small_cnn(), _images())


def test_a_loss_that_is_reduced() -> None:
    @dataclass(frozen=True)
    class Mean(Loss):
        name: ClassVar[str] = "mean"

        def value(self, logits: Tensor, classes: Tensor, *, targeted: bool = False) -> Tensor:
            return nn.functional.cross_entropy(logits, classes)

    with pytest.raises(TechniqueError, match=r"expected \(2,\), one number an image, not reduced"):
        craft(_attack(Mean()), small_cnn(), _images())


def test_steps_and_starts() -> None:
    @dataclass(frozen=True)
    class Narrow(Stepper):
        name: ClassVar[str] = "narrow"

        def stride(self, stride: Oracle, unit: WorkUnit) -> Oracle:
            return lambda ascent: stride(ascent)[:, :1]

    @dataclass(frozen=True)
    class Zero(Starter):
        name: ClassVar[str] = "zero"

        def start(self, unit: WorkUnit, advance: Callable[[Tensor, float], Tensor]) -> Tensor:
            return advance(torch.zeros_like(unit.images), 1.0)

    with pytest.raises(TechniqueError, match="'narrow' returns"):
        craft(_attack(Narrow()), small_cnn(), _images())
    with pytest.raises(TechniqueError, match="asked for 4 gradients an image: expected 3 at most"):
        craft(_attack(Zero()), small_cnn(), _images())


def test_draws_of_the_global_generator() -> None:
    """A technique's are refused; those of a surrogate, or of who listens to steps, are none of it."""

    class Random(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = small_cnn()

        def forward(self, images: Tensor) -> Tensor:
            return self.network(images + 0.01 * torch.randn_like(images))  # type: ignore[no-any-return]

    @dataclass(frozen=True)
    class Somewhere(Starter):
        name: ClassVar[str] = "somewhere"

        def start(self, unit: WorkUnit, advance: Callable[[Tensor, float], Tensor]) -> Tensor:
            return torch.rand_like(unit.images)

    noisy = _estimator(lambda oracle, x: oracle(x + 0.01 * torch.randn_like(x)))
    for technique in (noisy, Somewhere()):
        with pytest.raises(
            TechniqueError, match=f"'{technique.name}.*' draws from PyTorch's global generator"
        ):
            craft(_attack(technique), small_cnn(), _images())
    given = _images()

    def listen(step: int, delta: Tensor) -> None:
        torch.rand(step)

    for attack, model in ((_attack(), Random()), (make_attack("rs+di+vt:copies=2"), small_cnn())):
        engine.craft(
            attack,
            model,
            given.images,
            given.labels,
            given.ids,
            dtype=torch.float64,
            on_step=listen,
        )


@pytest.mark.parametrize("cost", [2.5, -1, "2"])
def test_a_cost_that_cannot_be_counted(cost: object, tmp_path: Path) -> None:
    (tmp_path / "dear.py").write_text(f"""
from dataclasses import dataclass
from transferzoo.attacks.techniques import TECHNIQUES, Estimator

@TECHNIQUES.register("dear")
@dataclass(frozen=True)
class Dear(Estimator):
    cost = {cost!r}

    def wrap(self, oracle, unit):
        return oracle
""")
    load_file(tmp_path / "dear.py")
    with pytest.raises(UsageError, match=r"`cost` of 'dear' is .*: expected a whole number, from 0"):
        compose("mi+dear")


def test_a_composition_asks_for_what_it_costs() -> None:
    """A layer's, a logit's and a joint objective's gradients are made besides, without being asked for."""
    for spec, steps, models, asked in (
        ("", 10, 1, 10),
        ("mi+vt:copies=4", 10, 1, 50),
        ("gi:steps=5+mi", 10, 1, 15),
        ("dem+mi", 10, 1, 10),
        ("fia:masks=7", 10, 1, 10),
        ("mi", 10, 3, 10),
        ("ens+di", 10, 3, 10),
        ("mba:n=4", 10, 1, 10),
        ("svre:inner=2", 10, 3, compose("svre:inner=2").cost(10, 3)),
    ):
        assert compose(spec).asked(steps, models) == asked, spec


def _images() -> Any:
    return random_images(2)
