"""Several surrogates attacked together: each technique against its formula, and what holds for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from helpers.attacks import DOUBLE, Images, craft, make_attack, perturb, random_images, small_cnn
from transferzoo.attacks.composition import compose
from transferzoo.attacks.engine import seeded
from transferzoo.attacks.technique import Stage
from transferzoo.attacks.techniques import TECHNIQUES
from transferzoo.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("one_thread")

TOGETHER = [n for n in TECHNIQUES if TECHNIQUES[n].stage in (Stage.SURROGATES, Stage.ENSEMBLES)]
EPSILON, STEP = 16 / 255, 1.6 / 255


def models(count: int = 3) -> list[nn.Module]:
    return [small_cnn(seed=seed).eval() for seed in range(count)]


def slope(value: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    leaf = image.clone().requires_grad_()
    (found,) = torch.autograd.grad(value(leaf), leaf)
    return found


def loss_of(model: nn.Module, label: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda image: -model(image[None])[0].log_softmax(0)[label]


def boxed(clean: Tensor, image: Tensor) -> Tensor:
    return (clean + (image - clean).clamp(-EPSILON, EPSILON)).clamp(0, 1)


def unit_mean(gradient: Tensor) -> Tensor:
    return gradient / gradient.abs().mean()


def walk(clean: Tensor, direction: Callable[[Tensor, int], Tensor], steps: int) -> Tensor:
    """Follow the sign of a direction, which hears of the image and the number of the step."""
    image = clean
    for number in range(steps):
        image = boxed(clean, image + STEP * direction(image, number).sign())
    return image


def each(batch: Images) -> list[tuple[Tensor, Tensor]]:
    return [(image.double() / 255, label) for image, label in zip(batch.images, batch.labels, strict=True)]


def drawn(spec: str) -> torch.Generator:
    (generator,) = seeded(0, compose(spec).canonical, ["all"])
    return generator


# ---------------------------------------------------------------- formulas


@pytest.mark.parametrize("fuse", ["logits", "probabilities", "losses"])
def test_mean_of_all(fuse: str) -> None:
    several, batch = models(), random_images(3)
    found = perturb(make_attack(f"ens:fuse={fuse}", steps=4), several, batch)
    for (clean, label), image in zip(each(batch), found, strict=True):

        def value(x: Tensor, label: Tensor = label) -> Tensor:
            logits = torch.cat([model(x[None]) for model in several])
            if fuse == "logits":
                return -logits.mean(0).log_softmax(0)[label]
            if fuse == "probabilities":
                return -logits.softmax(1).mean(0)[label].log()
            return -logits.log_softmax(1).mean(0)[label]

        wanted = walk(clean, lambda x, _: slope(value, x), 4)
        torch.testing.assert_close(image, wanted, rtol=0, atol=1e-12)


def test_the_mean_logits_are_the_default() -> None:
    batch = random_images(2)
    plain = perturb(make_attack("mi"), models(), batch)
    assert torch.equal(plain, perturb(make_attack("mi+ens"), models(), batch))
    assert not torch.equal(plain, perturb(make_attack("mi+ens:fuse=losses"), models(), batch))
    assert torch.equal(
        perturb(make_attack("mi"), models(1), batch), perturb(make_attack("mi"), models(1)[0], batch)
    )


@pytest.mark.parametrize("spec", ["long", "long:order=given"])
def test_one_model_a_step(spec: str) -> None:
    several, batch = models(), random_images(2)
    order = [0, 1, 2] if "given" in spec else torch.randperm(3, generator=drawn(spec)).tolist()
    found = perturb(make_attack(spec, steps=5), several, batch)
    for (clean, label), image in zip(each(batch), found, strict=True):
        wanted = walk(clean, lambda x, t: slope(loss_of(several[order[t % 3]], label), x), 5)  # noqa: B023
        torch.testing.assert_close(image, wanted, rtol=0, atol=1e-12)


def test_a_random_subset_a_step() -> None:
    several, batch, generator = models(), random_images(1), drawn("sub")
    chosen = [torch.randperm(3, generator=generator).tolist()[:2] for _ in range(4)]
    assert len({frozenset(c) for c in chosen}) > 1
    ((clean, label),) = each(batch)

    def direction(x: Tensor, t: int) -> Tensor:
        one, other = (several[k] for k in chosen[t])
        return slope(lambda y: -((one(y[None]) + other(y[None]))[0] / 2).log_softmax(0)[label], x)

    (found,) = perturb(make_attack("sub", steps=4), several, batch)
    torch.testing.assert_close(found, walk(clean, direction, 4), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("spec", "inner", "decay"), [("svre", 12, 1.0), ("svre:inner=5,decay=0.5", 5, 0.5)])
def test_svre_is_the_literal_walk(spec: str, inner: int, decay: float) -> None:
    several, batch = models(), random_images(2)
    found = perturb(make_attack(f"mi+{spec}", steps=3), several, batch)
    for (clean, label), image in zip(each(batch), found, strict=True):
        generator, outer = drawn(f"{spec}+mi"), torch.zeros_like(clean)
        at = clean
        for _ in range(3):
            slopes = [slope(loss_of(model, label), at) for model in several]
            total, place = torch.zeros_like(clean), at
            for k in torch.randint(3, (inner,), generator=generator).tolist():
                reduced = slope(loss_of(several[k], label), place) - slopes[k] + sum(slopes) / 3
                total = decay * total + unit_mean(reduced)
                place = boxed(clean, place + STEP * total.sign())
            outer = outer + unit_mean(total)
            at = boxed(clean, at + STEP * outer.sign())
        torch.testing.assert_close(image, at, rtol=0, atol=1e-12)


def test_cwa_is_the_literal_walk() -> None:
    several, batch = models(), random_images(2)
    found = perturb(make_attack("mi+cwa:inner=0.5,decay=0.9", steps=3), several, batch)
    for (clean, label), image in zip(each(batch), found, strict=True):
        at, inner, outer = clean, torch.zeros_like(clean), torch.zeros_like(clean)
        for _ in range(3):
            together = sum(slope(loss_of(model, label), at) for model in several)
            place = boxed(clean, at - EPSILON / 15 * together.sign())  # type: ignore[union-attr]
            for model in several:
                gradient = slope(loss_of(model, label), place)
                inner = 0.9 * inner + gradient / gradient.norm()
                place = boxed(clean, place + 0.5 * EPSILON * clean.numel() ** 0.5 * inner)
            outer = outer + unit_mean(place - at)
            at = boxed(clean, at + STEP * outer.sign())
        torch.testing.assert_close(image, at, rtol=0, atol=1e-12)


def test_adaea_is_the_literal_formula() -> None:
    several, batch = models(), random_images(2)
    found = perturb(make_attack("adaea:beta=2,threshold=0.1", steps=3), several, batch)
    for (clean, label), image in zip(each(batch), found, strict=True):

        def direction(x: Tensor, _: int, clean: Tensor = clean, label: Tensor = label) -> Tensor:
            slopes = [slope(loss_of(model, label), x) for model in several]
            scores = []
            for j, own in enumerate(slopes):
                moved = boxed(clean, x + STEP * own.sign())
                losses = [cross_entropy(model(moved[None]), label[None]) for model in several]
                scores.append(2 * sum(losses[i] / losses[j] for i in range(3) if i != j))
            weights = torch.stack(scores).softmax(0)  # type: ignore[arg-type]
            total = torch.zeros_like(x)
            for row in range(x.shape[1]):
                for column in range(x.shape[2]):
                    at = [s[:, row, column] for s in slopes]
                    cosines = [
                        torch.cosine_similarity(at[a], at[b], dim=0) for a, b in ((0, 1), (0, 2), (1, 2))
                    ]
                    if sum(cosines) / 3 >= 0.1:
                        total[:, row, column] = sum(w * g for w, g in zip(weights, at, strict=True))
            return total

        torch.testing.assert_close(image, walk(clean, direction, 3), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("spec", "rounds", "rate", "decay"), [("smer", 4, 0.02, 1), ("smer:decay=0.5,rate=2,rounds=2", 2, 2, 0.5)]
)
def test_smer_is_the_literal_walk(spec: str, rounds: int, rate: float, decay: float) -> None:
    several, batch, learnt = models(), random_images(2), set()
    found = perturb(make_attack(f"mi+{spec}", steps=3), several, batch)
    for (clean, label), image in zip(each(batch), found, strict=True):
        generator, outer, at = drawn(f"{spec}+mi"), torch.zeros_like(clean), clean
        weights = torch.ones(3, dtype=DOUBLE, requires_grad=True)
        learner = torch.optim.SGD([weights], lr=rate, weight_decay=2e-3)
        for _ in range(3):
            total, place = torch.zeros_like(clean), at
            order = [k for _ in range(rounds) for k in torch.randperm(3, generator=generator).tolist()]
            for k in order:
                scale = weights[k].item()
                gradient = slope(
                    lambda x, k=k, s=scale, y=label: cross_entropy(s * several[k](x[None]), y[None]),  # type: ignore[misc]
                    place,
                )
                group = sum(w * model(place[None]) / 3 for w, model in zip(weights, several, strict=True))
                learner.zero_grad()
                (-cross_entropy(group, label[None]).log()).backward()
                learner.step()
                total = decay * total + unit_mean(gradient)
                place = boxed(clean, place + STEP * total.sign())
            outer = outer + unit_mean(total)
            at = boxed(clean, at + STEP * outer.sign())
        learnt.add(tuple(weights.tolist()))
        torch.testing.assert_close(image, at, rtol=0, atol=1e-12)
    assert len(learnt) == 2  # each image its own


# ---------------------------------------------------------------- what holds for all


@pytest.mark.parametrize("name", TOGETHER)
@pytest.mark.parametrize("norm", ["linf", "l2"])
class TestEvery:
    def test_batch_equals_singles_and_nothing_leaks(self, name: str, norm: str) -> None:
        attack, several, batch = make_attack(f"mi+di+{name}", norm, steps=3), models(), random_images(3)
        whole = craft(attack, several, batch)
        singles = [craft(attack, several, batch[i : i + 1]) for i in range(3)]
        assert torch.equal(whole, torch.cat(singles))
        assert torch.equal(whole, craft(attack, several, batch))

    def test_constant_models_move_nothing(self, name: str, norm: str) -> None:
        several, batch = models(), random_images(2)
        for model in several:
            for parameter in model.parameters():
                parameter.data.zero_()
        assert torch.equal(craft(make_attack(name, norm, steps=2), several, batch), batch.images)

    def test_cost_is_what_was_evaluated(self, name: str, norm: str) -> None:
        several, attack, calls = models(), make_attack(f"mi+{name}", norm, steps=4), []
        for model in several:
            model.register_full_backward_hook(lambda *_: calls.append(1))
        perturb(attack, several, random_images(1))
        assert len(calls) == attack.composition.cost(4, len(several))


@pytest.mark.parametrize("name", [n for n in TOGETHER if TECHNIQUES[n].stage is Stage.ENSEMBLES])
def test_an_ensemble_needs_two(name: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}' attacks several surrogates together: expected two"):
        perturb(make_attack(name), models(1), random_images(1))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("svre:inner=-1", "option 'inner' of 'svre' is out of range"),
        ("svre:decay=-1", "option 'decay' of 'svre' is out of range"),
        ("cwa:back=2", "option 'back' of 'cwa' is out of range"),
        ("cwa:inner=0", "option 'inner' of 'cwa' is out of range"),
        ("adaea:beta=-1", "option 'beta' of 'adaea' is out of range"),
        ("adaea:threshold=2", "option 'threshold' of 'adaea' is a cosine"),
        ("smer:rounds=0", "option 'rounds' of 'smer' is out of range"),
        ("sub:size=0", "option 'size' of 'sub' is out of range"),
        ("ens+long", "2 techniques of the stage surrogates or ensembles"),
    ],
)
def test_bad_options_are_sentences(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compose(spec)


def test_what_only_the_surrogates_show_is_a_sentence() -> None:
    batch = random_images(1)
    with pytest.raises(UsageError, match="an attack needs a surrogate"):
        perturb(make_attack(), [], batch)


def test_models_of_other_sizes_work_together() -> None:
    from transferzoo.models.classifier import Classifier

    several = [
        Classifier(small_cnn(seed=k), size=(side, side), channels=3, mean=[0.5] * 3, std=[0.5] * 3).to(DOUBLE)
        for k, side in enumerate((16, 24))
    ]
    found = perturb(make_attack("mi+ens"), several, random_images(2))
    assert found.shape == (2, 3, 16, 16)
