"""Estimators: each against a literal loop over one image, its limits, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from helpers.attacks import blank_unit, make_attack, perturb, random_images, small_cnn
from helpers.literal_attack import EPSILON, STEP, Walk, check, unit_mean
from transferzoo.attacks.composition import compose
from transferzoo.attacks.techniques.estimators_neighbours import GradientRelevance
from transferzoo.base.errors import UsageError

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = pytest.mark.usefixtures("one_thread")


# ---------------------------------------------------------------- formulas


@pytest.mark.parametrize("around", ["point", "image"])
@pytest.mark.parametrize("look", [False, True])
def test_variance_tuning(look: bool, around: str) -> None:
    def literal(walk: Walk) -> Tensor:
        image, variance, momentum = walk.clean, torch.zeros_like(walk.clean), torch.zeros_like(walk.clean)
        for _ in range(4):
            at = image + STEP * momentum if look else image
            gradient = walk.slope(at)
            centre = at if around == "point" else image
            slopes = [walk.slope(centre + walk.noise(0.8 * EPSILON)) for _ in range(3)]
            momentum = momentum + unit_mean(gradient + variance)
            variance = torch.stack(slopes).sum(0) / 3 - gradient
            image = walk.boxed(image + STEP * momentum.sign())
        return image

    check(f"vt:copies=3,beta=0.8,around={around}+{'ni' if look else 'mi'}", literal)


@pytest.mark.parametrize(
    ("reference", "update"),
    [("VMIFGSM", "mi"), ("VNIFGSM", "ni"), ("VNIFGSM", "point+ni")],
)
def test_variance_tuning_is_torchattacks(
    reference: str, update: str, torchattacks: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VMI-FGSM and VNI-FGSM with the same draws; around the point looked at neighbours are other ones."""
    point, _, momentum = update.rpartition("+")
    spec = f"vt:copies=3,around={point or 'image'}+{momentum}"
    attack, model, batch = make_attack(spec, steps=5), small_cnn().eval(), random_images(1)
    generator = _generator(attack.composition.canonical, batch.ids)

    def drawn(tensor: Tensor, low: float, high: float) -> Tensor:
        shape = tensor.shape[1:]
        return (2 * torch.rand(shape, generator=generator, dtype=torch.float64)[None] - 1) * high

    monkeypatch.setattr(torch.Tensor, "uniform_", drawn)
    make = getattr(torchattacks, reference)
    other = make(model, eps=EPSILON, alpha=STEP, steps=5, decay=1.0, N=3, beta=3 / 2)
    theirs = other(batch.images.double() / 255, batch.labels)
    ours = perturb(attack, model, batch)
    same = torch.allclose(ours, theirs, rtol=0, atol=1e-12)
    assert same == (not point)


def _generator(canonical: str, ids: Tensor) -> torch.Generator:
    from transferzoo.attacks.engine import seeded

    (generator,) = seeded(0, canonical, ids.tolist())
    return generator


def test_enhanced_momentum() -> None:
    def literal(walk: Walk) -> Tensor:
        image, bar, momentum = walk.clean, torch.zeros_like(walk.clean), torch.zeros_like(walk.clean)
        for _ in range(4):
            total = torch.zeros_like(image)
            for factor in torch.linspace(-3, 3, 5, dtype=torch.float64):
                total += walk.slope(image + factor * STEP * bar) / 5
            bar = unit_mean(total)
            momentum = momentum + bar
            image = walk.boxed(image + STEP * momentum.sign())
        return image

    check("emi:copies=5,reach=3+mi", literal)


def test_previous_gradient() -> None:
    def literal(walk: Walk) -> Tensor:
        image, bar = walk.clean, torch.zeros_like(walk.clean)
        for _ in range(4):
            bar = unit_mean(walk.slope(image + 2 * STEP * bar))
            image = walk.boxed(image + STEP * bar.sign())
        return image

    check("pi-look:reach=2", literal)


def test_penalised_norm() -> None:
    def literal(walk: Walk) -> Tensor:
        image = walk.clean
        for _ in range(4):
            total = torch.zeros_like(image)
            for _ in range(3):
                place = image + walk.noise(2 * EPSILON)
                first = walk.slope(place)
                total += 0.3 * first + 0.7 * walk.slope(place - STEP * unit_mean(first))
            image = walk.boxed(image + STEP * total.sign())
        return image

    check("pgn:copies=3,zeta=2,balance=0.7", literal)


def test_gradient_relevance() -> None:
    def literal(walk: Walk) -> Tensor:
        image, momentum = walk.clean, torch.zeros_like(walk.clean)
        for _ in range(4):
            own = walk.slope(image)
            around = sum(walk.slope(image + walk.noise(3.5 * EPSILON)) for _ in range(3)) / 3
            cosine = torch.cosine_similarity(own.flatten(), around.flatten(), dim=0)  # type: ignore[union-attr]
            momentum = momentum + unit_mean(cosine * own + (1 - cosine) * around)
            image = walk.boxed(image + STEP * momentum.sign())
        return image

    check("gra:copies=3+mi", literal)


def test_reverse_perturbation() -> None:
    def literal(walk: Walk) -> Tensor:
        image, radius = walk.clean, 0.5 * EPSILON
        for number in range(4):
            place = image
            if number >= 2:
                place = (image + walk.noise(radius)).clamp(0, 1)
                for _ in range(3):
                    lower = place - radius / 3 * walk.slope(place).sign()
                    place = (image + (lower - image).clamp(-radius, radius)).clamp(0, 1)
            image = walk.boxed(image + STEP * walk.slope(place).sign())
        return image

    check("rap:inner=3,radius=0.5,after=2", literal)


def test_flat_neighbours() -> None:
    def literal(walk: Walk) -> Tensor:
        image, momentum = walk.clean, torch.zeros_like(walk.clean)
        past = [torch.zeros_like(image) for _ in range(3)]
        for _ in range(4):
            total = torch.zeros_like(image)
            for i in range(3):
                gradient = walk.slope(image + walk.noise(2 * EPSILON) + 0.15 * EPSILON * past[i])
                past[i] = unit_mean(gradient) - 0.9 * past[i]
                total += gradient
            momentum = 0.5 * momentum + unit_mean(total / 3)
            image = walk.boxed(image + STEP * momentum.sign())
        return image

    check("mef:copies=3+mi:decay=0.5", literal)


@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_integrated_gradients(floor: float) -> None:
    def coarser(walk: Walk, image: Tensor) -> Tensor:
        """Every value becomes the highest bound of its channel that does not exceed it."""
        parts = torch.rand(image.shape[0], 2, generator=walk.generator, dtype=torch.float64)
        baseline = torch.empty_like(image)
        for channel, (values, draws) in enumerate(zip(image, parts, strict=True)):
            low, high = values.min().item(), values.max().item()
            bounds = [low, *sorted(low + draw * (high - low) for draw in draws.tolist())]
            for index, value in enumerate(values.flatten().tolist()):
                baseline[channel].view(-1)[index] = max(b for b in bounds if b <= value)
        return baseline

    def literal(walk: Walk) -> Tensor:
        image = walk.clean
        for _ in range(4):
            total = torch.zeros_like(image)
            for _ in range(2):
                baseline = coarser(walk, image)
                path = image - baseline
                assert (path >= 0).all()
                total += walk.slope(baseline + 0.7 * path) * torch.where(path < floor, floor, path)
            image = walk.boxed(image + STEP * total.sign())
        return image

    check(f"mumodig:copies=2,regions=3,position=0.7,floor={floor}", literal)


@pytest.mark.parametrize(("spec", "moves"), [("mumodig:copies=1", True), ("mumodig:copies=1,floor=0", False)])
def test_a_channel_of_one_colour_has_no_path_and_moves_by_the_floor(spec: str, moves: bool) -> None:
    batch = random_images(2)
    batch.images[:, 0] = 0.2
    moved = (perturb(make_attack(spec), small_cnn(), batch) - batch.images)[:, 0].abs().max().item()
    assert (moved > 1e-9) is moves, moved


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("spec", "plain"),
    [
        ("vt:beta=0+mi", "mi"),
        ("emi:copies=1+mi", "mi"),
        ("emi:reach=0+mi", "mi"),
        ("pi-look:reach=0+mi", "mi"),
        ("pgn:zeta=0,balance=0+mi", "mi"),
        ("gra:beta=0+mi", "mi"),
        ("rap:radius=0+mi", "mi"),
        ("mef:gamma=0,xi=0+mi", "mi"),
        ("geo:ratio=1+mi", "mi"),
        ("gra-mask:eta=1+mi", "mi"),
    ],
)
def test_without_its_radius_it_is_the_plain_attack(spec: str, plain: str) -> None:
    model, batch = small_cnn(), random_images(3)
    found, wanted = (perturb(make_attack(s, steps=5), model, batch) for s in (spec, plain))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_radii_are_multiples_of_what_a_value_may_move(norm: str) -> None:
    """In L2 a radius of 1 is the root mean square of a perturbation of length ε."""
    unit, seen = blank_unit(2, (1, 10, 10), norm, epsilon=0.5), []

    def record(images: Tensor) -> Tensor:
        seen.append(images)
        return torch.ones_like(images)

    GradientRelevance(copies=50, beta=2).wrap(record, unit)(unit.images)
    farthest = torch.stack(seen).abs().max().item()
    assert 0.99 < farthest / (2 * (0.5 if norm == "linf" else 0.05)) <= 1


def test_a_gradient_of_zero_is_neither_nan_nor_the_end() -> None:
    """The relevance of nothing is 0, and the neighbours lead."""
    unit = blank_unit(1, (1, 4, 4))

    def flat_at_the_image(images: Tensor) -> Tensor:
        return torch.ones_like(images) * bool(images.any())

    alone = compose("gra:copies=2").techniques[0].wrap(lambda x: (x == 0.5).double(), unit)  # type: ignore[attr-defined]
    assert (alone(unit.images + 0.5) == 1).all(), "neighbours without a gradient leave the image's own"
    for spec in ("gra:copies=2", "vt:copies=2", "pgn:copies=2", "mef:copies=2", "emi:copies=3"):
        (technique,) = compose(spec).techniques
        oracle = technique.wrap(flat_at_the_image, unit)  # type: ignore[attr-defined]
        first, second = oracle(unit.images), oracle(unit.images + 0.01)
        assert first.isfinite().all()
        assert second.isfinite().all()
        assert (second > 0).all()
    assert (compose("gra:copies=2").techniques[0].wrap(flat_at_the_image, unit)(unit.images) == 1).all()  # type: ignore[attr-defined]


# ---------------------------------------------------------------- costs


@pytest.mark.parametrize(
    "spec",
    [
        "vt:copies=3",
        "emi:copies=4",
        "pi-look",
        "pgn:copies=2",
        "gra:copies=3",
        "rap:inner=2",
        "mef:copies=3",
        "mumodig:copies=3",
        "rap:inner=2,after=3",
        "gi:steps=2+mi",
        "gi+mi+vt:copies=2",
        "rap:inner=3,after=1+vt:copies=2+gi:steps=1+ni",
    ],
)
def test_cost_is_what_was_evaluated(spec: str) -> None:
    model, attack, calls = small_cnn(), make_attack(spec, steps=5), []
    model.register_forward_hook(lambda *_: calls.append(1))
    perturb(attack, model, random_images(1))
    assert len(calls) == attack.cost() == attack.composition.cost(5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("vt:copies=0", "option 'copies' of 'vt' is out of range: expected 1 to 1000, got 0"),
        ("vt:beta=-1", "option 'beta' of 'vt' is out of range: expected at least 0, got -1"),
        ("emi:copies=1001", "option 'copies' of 'emi'"),
        ("emi:reach=-1", "option 'reach' of 'emi'"),
        ("pi-look:reach=1e999", "option 'reach'"),
        ("pgn:balance=2", "option 'balance' of 'pgn' is a weight: expected 0 to 1, got 2"),
        ("gra:beta=-0.1", "option 'beta' of 'gra'"),
        ("rap:after=-1", "option 'after' of 'rap' is a step"),
        ("rap:inner=0", "option 'inner' of 'rap'"),
        ("mef:inner_decay=-1", "option 'inner_decay' of 'mef'"),
        ("mumodig:copies=0", "option 'copies' of 'mumodig'"),
        ("mumodig:regions=1", "option 'regions' of 'mumodig'"),
        ("mumodig:position=1.5", "option 'position' of 'mumodig' is a place on the path"),
    ],
)
def test_bad_options_are_sentences(spec: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        compose(spec)
    assert message in str(caught.value)
