"""The attack loop: what must hold for every registered technique, and for the model."""

from __future__ import annotations

import random
from collections import defaultdict
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.attacks import (
    DOUBLE,
    Images,
    cheap,
    craft,
    fitting_model,
    make_attack,
    payable,
    perturb,
    random_images,
    small_cnn,
)
from transferzoo.attacks import engine
from transferzoo.attacks.norms import NORMS
from transferzoo.attacks.technique import Stage
from transferzoo.attacks.techniques import TECHNIQUES
from transferzoo.base.budget import Budget
from transferzoo.base.errors import ModelError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("one_thread")

NORM_BUDGETS = {"linf": Fraction(16, 255), "l2": Fraction(3, 2)}


def cases(written: Callable[[str], str], *balls: str) -> list[tuple[str, str]]:
    """Return every technique, and some that go together, in balls.

    Args:
        written: name of a technique → its spec.
        balls: norms; none for all.
    """
    single = {name: written(name) for name in TECHNIQUES if TECHNIQUES[name].stage is not Stage.ENSEMBLES}
    single |= {
        name: f"{spec}+mi" for name, spec in single.items() if TECHNIQUES[name].needs is Stage.MOMENTUM
    }
    several = ["", "mi+di+ti:kernel=5", "rs+mi:decay=0.5+di:p=0.9,ratio=1.3"]
    specs = {**single, **{spec: spec for spec in several}}
    refused = ("pi-patch", "l2")  # it is for L∞
    return [
        (spec, norm)
        for name, spec in specs.items()
        for norm in balls or NORM_BUDGETS
        if (name, norm) != refused
    ]


def in_turn(every: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return every spec in one of its balls, in turn: what is shown of it is no matter of the ball."""
    balls = defaultdict(list)
    for spec, norm in every:
        balls[spec].append(norm)
    return [(spec, norms[number % len(norms)]) for number, (spec, norms) in enumerate(balls.items())]


# ---------------------------------------------------------------- every technique


def _global_generators() -> tuple[object, ...]:
    return torch.get_rng_state().tolist(), str(np.random.get_state(legacy=False)), random.getstate()


def _state(model: nn.Module) -> list[object]:
    tensors = [t.detach().clone().tolist() for t in (*model.parameters(), *model.buffers())]
    parts = [
        (len(m._forward_pre_hooks), len(m._forward_hooks), len(m._backward_hooks)) for m in model.modules()
    ]
    flags = [{k: v for k, v in vars(m).items() if isinstance(v, bool)} for m in model.modules()]
    return [tensors, parts, flags, [(p.requires_grad, p.grad) for p in model.parameters()]]


@pytest.mark.parametrize(("spec", "norm"), [*cases(payable, "linf"), *cases(cheap, "l2")])
def test_box_budget_and_clean_inputs(spec: str, norm: str) -> None:
    attack = make_attack(spec, norm, NORM_BUDGETS[norm], step=NORM_BUDGETS[norm] * 2 / 3, steps=2)
    batch = random_images(3)
    before = batch.images.clone()
    adversarial = craft(attack, fitting_model(spec, torch.float32), batch, torch.float32)
    distance = NORMS[norm].distance(adversarial, batch.images)
    assert adversarial.dtype == torch.uint8
    assert (distance <= float(attack.budget.epsilon)).all()
    assert (distance > 0.5 * float(attack.budget.epsilon)).all()
    assert torch.equal(batch.images, before)


@pytest.mark.parametrize(("spec", "norm"), in_turn(cases(cheap)))
class TestEvery:
    def test_together_alone_and_again(self, spec: str, norm: str) -> None:
        """An image ends the same, whatever is attacked with it or before it; nothing else changes."""
        attack = make_attack(spec, norm, NORM_BUDGETS[norm], steps=2)
        model, batch = fitting_model(spec), random_images(3)
        before = _state(model), _global_generators()
        together = craft(attack, model, batch)
        assert (_state(model), _global_generators()) == before
        singles = [craft(attack, model, batch[i : i + 1]) for i in range(3)]
        assert torch.equal(together, torch.cat(singles))
        assert torch.equal(craft(attack, model, batch[:2]), together[:2])

    def test_constant_model_moves_nothing_but_the_start(self, spec: str, norm: str) -> None:
        model, batch = fitting_model(spec), random_images(3)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        attack = make_attack(spec, norm, NORM_BUDGETS[norm], steps=2)
        found = perturb(attack, model, batch)
        assert found.isfinite().all()
        if "rs" not in spec:
            assert torch.equal(craft(attack, model, batch), batch.images)
        else:
            assert torch.equal(
                found, perturb(make_attack(spec, norm, attack.budget.epsilon, steps=1), model, batch)
            )

    def test_first_step_raises_the_loss(self, spec: str, norm: str) -> None:
        attack = make_attack(spec, norm, NORM_BUDGETS[norm] / 8, steps=2)
        model, batch = fitting_model(spec).eval(), random_images(8)
        loss = nn.CrossEntropyLoss()
        clean = loss(model(batch.images.double() / 255), batch.labels)
        assert loss(model(perturb(attack, model, batch)), batch.labels) > clean


@pytest.mark.parametrize("spec", ["di:p=1,ratio=1.5", "rs"])
def test_seed_and_id_decide_the_draws(spec: str) -> None:
    model, batch = small_cnn(), random_images(2)
    twins = Images(batch.images[:1].repeat(2, 1, 1, 1), batch.labels[:1].repeat(2), batch.ids)
    first, second = craft(make_attack(spec), model, twins)
    assert not torch.equal(first, second)
    assert torch.equal(
        craft(make_attack(spec, seed=3), model, batch), craft(make_attack(spec, seed=3), model, batch)
    )
    assert not torch.equal(
        craft(make_attack(spec, seed=4), model, batch), craft(make_attack(spec), model, batch)
    )


def test_order_of_the_spec_does_not_matter() -> None:
    model, batch = small_cnn(), random_images(3)
    one, other = make_attack("ti:kernel=5+rs+mi+di", steps=4), make_attack("di+mi+rs+ti:kernel=5", steps=4)
    assert one.canonical == other.canonical
    assert torch.equal(craft(one, model, batch), craft(other, model, batch))


# ---------------------------------------------------------------- the model is handed back as it came


def test_model_is_untouched_after_an_exception() -> None:
    class Broken(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            raise RuntimeError("out of order")

    model = nn.Sequential(small_cnn(), Broken())
    before = _state(model)
    with pytest.raises(RuntimeError, match="out of order"):
        craft(make_attack("mi+di"), model, random_images(2))
    assert _state(model) == before


def test_model_without_gradient_is_a_sentence() -> None:
    class Detached(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.detach().flatten(1)[:, :10]

    with pytest.raises(ModelError, match="no gradient reaches the images"):
        craft(make_attack(), Detached(), random_images(2))


def test_model_with_nan_is_a_sentence() -> None:
    model = small_cnn()
    next(model.parameters()).data.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        craft(make_attack(), model, random_images(2))


def test_one_gradient_of_many_that_is_not_finite_ends_the_attack() -> None:
    class Once(nn.Module):
        """Gives NaN the fourth time it is asked, among the neighbours of the first step."""

        def __init__(self) -> None:
            super().__init__()
            self.network, self.calls = small_cnn(), 0

        def forward(self, images: Tensor) -> Tensor:
            self.calls += 1
            return self.network(images) * (float("nan") if self.calls == 4 else 1)  # type: ignore[no-any-return]

    model = Once()
    with pytest.raises(ModelError, match="not finite"):
        craft(make_attack("vt:copies=5"), model, random_images(2))
    assert model.calls == 6, "within the step, at its end"


@pytest.mark.parametrize("spec", ["", "mi", "di", "vt:copies=3", "ssa:copies=3", "dem+mi"])
def test_a_number_is_asked_for_once_a_step(spec: str) -> None:
    """A GPU would be waited for each time."""

    class Asked(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += func is torch.ops.aten._local_scalar_dense.default
            return func(*args, **(kwargs or {}))

    asked: list[int] = []
    attack, batch = make_attack(spec, steps=3), random_images(2)
    with Asked() as mode:  # type: ignore[no-untyped-call]
        engine.perturb(
            attack,
            small_cnn(),
            batch.images,
            batch.labels,
            batch.ids,
            dtype=DOUBLE,
            on_step=lambda *_: asked.append(mode.count),
        )
    assert [later - before for before, later in pairwise(asked)] == [1, 1]


def test_works_without_gradient_mode_and_tells_its_steps() -> None:
    steps: list[int] = []
    batch, model = random_images(2), small_cnn()
    with torch.no_grad():
        found = engine.craft(
            make_attack(steps=3),
            model,
            batch.images,
            batch.labels,
            batch.ids,
            dtype=DOUBLE,
            on_step=lambda step, _: steps.append(step),
        )
    assert steps == [1, 2, 3]
    assert torch.equal(found, craft(make_attack(steps=3), model, batch))


# ---------------------------------------------------------------- the attack as a record


def test_canonical_form_and_cost() -> None:
    attack = make_attack("mi", steps=10)
    assert attack.canonical == "mi:decay=1,normalise=mean@linf,eps=16/255,step=eps/10,steps=10"
    assert attack.cost() == 10
    assert make_attack(norm="l2", epsilon=Fraction(1, 2), step=Fraction(1, 2)).canonical == (
        "bim@l2,eps=0.5,step=eps,steps=10"
    )
    assert make_attack(epsilon=Fraction(4, 255), step=Fraction(3, 255)).canonical == (
        "bim@linf,eps=4/255,step=3/255,steps=10"
    )


def test_wrong_attacks_are_sentences() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown norm 'l3'.*l2"):
        make_attack(norm="l3")
    with pytest.raises(UsageError, match="at most 1 in L∞"):
        make_attack(epsilon=Fraction(16))
    with pytest.raises(UsageError, match="expected 1 to 1,000,000, got 0"):
        make_attack(steps=0)
    with pytest.raises(UsageError, match=r"epsilon of an attack is exact.*0\.06"):
        Budget("linf", 16 / 255, Fraction(1, 255), 10)  # type: ignore[arg-type]
