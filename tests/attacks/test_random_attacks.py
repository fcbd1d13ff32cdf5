"""Attacks nobody chose: random compositions keep what every attack must, random specs end in a sentence."""

from __future__ import annotations

import dataclasses
import random
import string
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn

from helpers.attacks import FEWER, cheap, fitting_model, make_attack, pool_for, random_images
from transferzoo.attacks.composition import compose
from transferzoo.attacks.configure import configure
from transferzoo.attacks.engine import Attack
from transferzoo.attacks.engine import craft as on_several
from transferzoo.attacks.norms import NORMS
from transferzoo.attacks.techniques import TECHNIQUES, Ensemble
from transferzoo.base.errors import TransferZooError, UsageError
from transferzoo.zoo.reader import load_zoo

pytestmark = pytest.mark.usefixtures("one_thread")

COUNT, BLOCKS = 120, 6
BUDGETS = {"linf": Fraction(16, 255), "l2": Fraction(3, 2)}


def term(name: str, draw: random.Random) -> str:
    """Return a technique with cheap options; a share of its numbers is halved."""
    usual = TECHNIQUES[name]()
    numbers = {field.name: getattr(usual, field.name) for field in dataclasses.fields(usual)}
    halves = {
        option: value / 2
        for option, value in numbers.items()
        if option not in FEWER and isinstance(value, float) and draw.random() < 0.3
    }
    try:
        return cheap(name, **halves)
    except UsageError:  # half of it is out of range
        return name


def compositions(draw: random.Random) -> list[tuple[str, str]]:
    """Return specs of two to four techniques that go together, and a ball for each."""
    found: list[tuple[str, str]] = []
    while len(found) < COUNT:
        names = draw.sample(list(TECHNIQUES), draw.randint(2, 4))
        spec = "+".join(term(name, draw) for name in names)
        try:
            composition = compose(spec)
        except UsageError:
            continue
        found.append((composition.spec, draw.choice(list(BUDGETS))))
    return found


DRAWN = compositions(random.Random(6))
IMAGES = random_images(2, side=12)


def surrogates(spec: str) -> list[nn.Module]:
    first = fitting_model(spec)
    return [first, fitting_model(spec)] if compose(spec).of(Ensemble) else [first]


def crafted(attack: Attack, models: list[nn.Module], batch: Any) -> torch.Tensor:
    images, labels, ids = batch.images, batch.labels, batch.ids
    return on_several(attack, models, images, labels, ids, pool=pool_for(batch), dtype=torch.float64)


def hooks(models: list[nn.Module]) -> list[object]:
    parts = [part for model in models for part in model.modules()]
    counted = [(part.training, len(part._forward_hooks), len(part._forward_pre_hooks)) for part in parts]
    return [counted, [(p.requires_grad, p.grad) for model in models for p in model.parameters()]]


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_compositions(block: int) -> None:
    """Inside ball and box; one of two images by itself, after both, the same bytes."""
    done = 0
    for number, (spec, norm) in enumerate(DRAWN[block::BLOCKS]):
        attack, models = make_attack(spec, norm, BUDGETS[norm], steps=2), surrogates(spec)
        before, generator = hooks(models), torch.get_rng_state()
        try:
            together = crafted(attack, models, IMAGES)
        except TransferZooError as error:  # these techniques, this ball or this surrogate do not go together
            assert "\n" not in str(error) and hooks(models) == before, spec
            continue
        done += 1
        assert (NORMS[norm].distance(together, IMAGES.images) <= float(attack.budget.epsilon)).all(), spec
        one = slice(number % 2, number % 2 + 1)
        assert torch.equal(crafted(attack, models, IMAGES[one]), together[one]), spec
        assert hooks(models) == before and torch.equal(torch.get_rng_state(), generator), spec
    assert done >= COUNT // BLOCKS // 2


ZOO = load_zoo()
SPECS = 4000
PIECES = [
    *TECHNIQUES,
    *ZOO.presets,
    *ZOO.suites,
    "+",
    ":",
    ",",
    "=",
    "1",
    "0",
    "-1",
    "1e999",
    "nan",
    "∞",
    " ",
]


def scrambled(draw: random.Random) -> str:
    """Return a spec string that may be right, nearly right or nonsense."""
    kind = draw.random()
    if kind < 0.3:
        return "".join(
            draw.choices([*PIECES, *string.punctuation, *string.ascii_letters], k=draw.randint(0, 12))
        )
    text = "+".join(term(name, draw) for name in draw.sample(list(TECHNIQUES), draw.randint(1, 4)))
    for _ in range(draw.randint(0, 3)):
        place = draw.randrange(len(text) + 1)
        text = text[:place] + draw.choice(PIECES) + text[place + draw.randint(0, 2) :]
    return text


def test_random_specs_end_in_a_sentence() -> None:
    draw, outcomes = random.Random(5), {"read": 0, "refused": 0}
    for _ in range(SPECS):
        spec = scrambled(draw)
        try:
            config = configure(ZOO, "fashion-mnist", [spec], ["a"], ["b"], {}, draw.choice([None, 200]))
            outcomes["read"] += 1
            assert all(Attack.of(one, 0).cost() >= 1 for one in config.attacks)
        except UsageError as error:
            outcomes["refused"] += 1
            assert str(error).endswith((".", "?")) and "\n" not in str(error), spec
    assert min(outcomes.values()) > SPECS / 10, outcomes


def test_techniques_that_are_drawn() -> None:
    """The random compositions leave no technique out."""
    drawn = {technique.name for spec, _ in DRAWN for technique in compose(spec).techniques}
    assert drawn >= set(TECHNIQUES) - {"ce"}
