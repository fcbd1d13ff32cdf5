"""Every technique's own formula; what all of them share is in test_engine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from helpers.attacks import DOUBLE, blank_unit, make_attack, perturb, random_images, small_cnn
from helpers.technique_references import REFERENCES
from transferzoo.attacks.composition import compose
from transferzoo.attacks.engine import seeded
from transferzoo.attacks.technique import Stage
from transferzoo.attacks.techniques import TECHNIQUES
from transferzoo.attacks.techniques.filters import TranslationInvariance
from transferzoo.attacks.techniques.momentum import Momentum
from transferzoo.attacks.techniques.oracles import through
from transferzoo.attacks.techniques.starts import RandomStart
from transferzoo.attacks.techniques.views_resize import DiverseInputs
from transferzoo.base.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from transferzoo.attacks.techniques import Oracle

pytestmark = pytest.mark.usefixtures("one_thread")


def still(delta: Tensor, factor: float) -> Tensor:
    return delta


def _fixed(gradient: Tensor) -> Oracle:
    return lambda _: gradient


# ---------------------------------------------------------------- the registry


def test_every_technique_declares_itself() -> None:
    assert {"di", "ti", "mi", "rs"} <= set(TECHNIQUES)
    for name in TECHNIQUES:
        technique = TECHNIQUES[name]
        assert isinstance(technique.stage, Stage)
        assert technique().cost >= (technique.stage is not Stage.START)
        assert "https://" in technique.paper
        spec = f"{name}+mi" if technique.needs else name
        assert compose(compose(spec).spec) == compose(spec)


def test_every_technique_names_its_reference() -> None:
    assert REFERENCES.keys() == set(TECHNIQUES.built_in)
    for name, checked in REFERENCES.items():
        source = (Path(__file__).parent / f"{checked.file}.py").read_text(encoding="utf-8")
        known = rf"[^a-z-]{name}[^a-z-]|{TECHNIQUES[name].__name__}"
        assert re.search(known, source), f"{checked.file} does not speak of {name}"


def test_listing_does_not_import_torch() -> None:
    code = "from transferzoo.attacks.composition import compose; compose('mi+di+ti+rs')"
    code += "; import sys; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("di:p=1.5", "option 'p' of 'di' is a probability: expected 0 to 1, got 1.5"),
        ("di:ratio=0.9", "option 'ratio' of 'di' is out of range: expected 1 to 4, got 0.9"),
        ("ti:kernel=4", "option 'kernel' of 'ti' is an odd number of pixels: expected at least 1, got 4"),
        ("ti:kernel=-1", "is an odd number of pixels: expected at least 1, got -1"),
        ("ti:sigma=0", "option 'sigma' of 'ti'"),
        ("mi:decay=-1", "option 'decay' of 'mi' is out of range: expected at least 0, got -1"),
        ("ti:kernel=a", "expected a whole number, got 'a'"),
        ("mi+mi", "stands twice"),
    ],
)
def test_bad_options_are_sentences(spec: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        compose(spec)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "near"), [("mii", "mi"), ("di:ration=1.2", "ratio"), ("mi:dekay=1", "decay")]
)
def test_unknown_names_offer_near_ones(spec: str, near: str) -> None:
    with pytest.raises(UnknownNameError, match=f"did you mean .*{near}"):
        compose(spec)


# ---------------------------------------------------------------- views


def _literal_di(image: Tensor, draws: Tensor, p: float, ratio: float) -> Tensor:
    """Resize, pad and resize back one image (C, H, W) with PyTorch's own functions."""
    chosen, *uniform = draws.tolist()
    if chosen >= p:
        return image
    sides = [(side, int(side * ratio + 1e-9)) for side in image.shape[1:]]
    sizes = [side + int(uniform[0] * (padded - side + 1)) for side, padded in sides]
    room = [padded - size for (_, padded), size in zip(sides, sizes, strict=True)]
    top, left = (int(u * (r + 1)) for u, r in zip(uniform[1:], room, strict=True))
    larger = interpolate(image[None], sizes, mode="bilinear")
    padded_image = pad(larger, (left, room[1] - left, top, room[0] - top))
    return interpolate(padded_image, [side for side, _ in sides], mode="bilinear")[0]


@pytest.mark.parametrize(("p", "ratio"), [(0.5, 1.1), (1.0, 1.5), (1.0, 1.0), (0.0, 1.1)])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 5, 5), (1, 20, 33)])
def test_di_is_the_literal_transform(shape: tuple[int, ...], p: float, ratio: float) -> None:
    images = torch.rand(6, *shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    draws = blank_unit(6).uniform(4)
    found = DiverseInputs(p, ratio).transform(images, draws)
    wanted = [_literal_di(x, u, p, ratio) for x, u in zip(images, draws, strict=True)]
    torch.testing.assert_close(found, torch.stack(wanted), rtol=0, atol=1e-12)


def test_di_takes_draws_that_float32_would_round_to_one() -> None:
    images = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    draws = torch.full((1, 4), 1 - 2.0**-53, dtype=DOUBLE)
    found = DiverseInputs(p=1).transform(images, draws)
    torch.testing.assert_close(found[0], _literal_di(images[0], draws[0], 1, 1.1))


def test_di_attack_is_the_literal_loop() -> None:
    attack, model, batch = make_attack("di:p=0.7,ratio=1.4", steps=5), small_cnn().eval(), random_images(4)
    for i, found in enumerate(perturb(attack, model, batch)):
        (generator,) = seeded(0, attack.composition.canonical, [100 + i])
        clean = batch.images[i].double() / 255
        delta = torch.zeros_like(clean)
        for _ in range(5):
            leaf = (clean + delta).requires_grad_()
            view = _literal_di(leaf, torch.rand(4, generator=generator, dtype=DOUBLE), 0.7, 1.4)
            loss = -model(view[None])[0].log_softmax(0)[batch.labels[i]]
            (slope,) = torch.autograd.grad(loss, leaf)
            delta = (delta + 1.6 / 255 * slope.sign()).clamp(-16 / 255, 16 / 255)
            delta = (clean + delta).clamp(0, 1) - clean
        torch.testing.assert_close(found, clean + delta, rtol=0, atol=1e-12)


@pytest.mark.parametrize("side", [28, 32, 64, 224])
@pytest.mark.parametrize("channels", [1, 3])
def test_di_and_ti_keep_the_shape(side: int, channels: int) -> None:
    unit = blank_unit(2, (channels, side, side))
    images = torch.rand(unit.images.shape, dtype=DOUBLE, requires_grad=True)
    view = DiverseInputs(p=1).transform(images, unit.uniform(4))
    (slope,) = torch.autograd.grad(view.sum(), images)
    assert view.shape == images.shape
    assert slope.isfinite().all()
    assert slope.count_nonzero() > 0
    assert TranslationInvariance().wrap(_fixed(images.detach()), unit)(images).shape == images.shape


def test_di_draws_for_every_image_and_step() -> None:
    seen: list[Tensor] = []

    def record(images: Tensor) -> Tensor:
        seen.append(images)
        return images

    oracle = DiverseInputs(p=1, ratio=2).wrap(record, blank_unit(8, (1, 16, 16)))
    for _ in range(2):
        oracle(torch.ones(8, 1, 16, 16, dtype=DOUBLE))
    assert len({tuple(view.flatten().tolist()) for view in torch.cat(seen)}) == 16


def test_through_is_the_chain_rule() -> None:
    x = torch.rand(2, 1, 4, 4, dtype=DOUBLE)
    found = through(lambda y: y.square(), through(torch.sin, lambda y: 3 * y))(x)
    torch.testing.assert_close(found, 2 * x * (x**2).cos() * 3 * (x**2).sin())


# ---------------------------------------------------------------- filters


@pytest.mark.parametrize(("kernel", "sigma"), [(15, 3.0), (5, 2.0), (1, 3.0)])
def test_ti_weights_are_the_normal_density(kernel: int, sigma: float) -> None:
    places = torch.linspace(-sigma, sigma, kernel, dtype=DOUBLE)
    density = torch.tensor([NormalDist().pdf(x) for x in places.tolist()], dtype=DOUBLE)
    found = TranslationInvariance(kernel, sigma).weights()
    torch.testing.assert_close(found, density / density.sum(), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("kernel", "shape"), [(3, (2, 6, 9)), (15, (1, 28, 28)), (15, (3, 8, 8)), (31, (1, 4, 5))]
)
def test_ti_is_the_literal_sum(kernel: int, shape: tuple[int, ...]) -> None:
    unit = blank_unit(2, shape)
    gradient = torch.randn(unit.images.shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    technique = TranslationInvariance(kernel)
    w, half = technique.weights(), kernel // 2
    wide = pad(gradient, (half, half, half, half))
    _, height, width = shape
    shifted = [
        w[i] * w[j] * wide[..., i : i + height, j : j + width] for i in range(kernel) for j in range(kernel)
    ]
    torch.testing.assert_close(
        technique.wrap(_fixed(gradient), unit)(unit.images), torch.stack(shifted).sum(0)
    )


# ---------------------------------------------------------------- updates


def test_momentum_is_the_recursion_and_survives_zero_gradients() -> None:
    gradients = [
        torch.randn(2, 1, 3, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(i)) for i in range(3)
    ]
    gradients[1][0] = 0
    queue = iter(gradients)
    oracle = Momentum(0.9).wrap(lambda _: next(queue), blank_unit(2, (1, 3, 3)))
    m = torch.zeros(2, 1, 3, 3, dtype=DOUBLE)
    for gradient in gradients:
        for i in range(2):
            size = gradient[i].abs().sum() / 9
            m[i] = 0.9 * m[i] + (gradient[i] / size if size > 0 else 0)
        torch.testing.assert_close(oracle(gradient), m, rtol=1e-13, atol=0)


def test_random_start_is_uniform_in_the_cube() -> None:
    start = RandomStart().start(blank_unit(50, (3, 16, 16), epsilon=0.1), still)
    n = start.numel()
    assert start.abs().max() <= 0.1
    assert abs(start.mean().item()) < 4 * 0.1 / (3 * n) ** 0.5
    assert abs(start.square().mean().item() / (0.01 / 3) - 1) < 0.02


def test_random_start_is_uniform_in_the_ball() -> None:
    start = RandomStart().start(blank_unit(4000, (1, 1, 2), "l2", epsilon=2.0), still)
    radius = start.flatten(1).norm(dim=1) / 2
    assert radius.max() <= 1
    for quarter in (0.25, 0.5, 0.75):  # the share of the disc's area within radius r is r²
        inside = (radius.square() <= quarter).double().mean().item()
        assert abs(inside - quarter) < 4 * (quarter * (1 - quarter) / 4000) ** 0.5
    assert start.mean((0, 1, 2)).abs().max() < 4 * 1 / 4000**0.5
