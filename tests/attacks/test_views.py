"""Views that scale, mix, mask and filter whole images; what all views share. Blocks: test_block_views."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest
import torch
from scipy.fft import dctn, idctn
from torch import Tensor

from helpers.attacks import (
    DOUBLE,
    blank_unit,
    make_attack,
    perturb,
    pool_for,
    random_images,
    small_cnn,
    work_unit,
)
from helpers.views import chained, gradient, noise_images, slopes, uniform
from transferzoo.attacks.composition import compose
from transferzoo.attacks.engine import seeded
from transferzoo.attacks.techniques import Refinement, Wrapper
from transferzoo.attacks.techniques.views_blocks import MaskBlock
from transferzoo.attacks.techniques.views_frequency import SpectrumSimulation
from transferzoo.attacks.techniques.views_resize import DiverseInputs
from transferzoo.attacks.techniques.views_scale import Admix, ScaleInvariance
from transferzoo.attacks.techniques.work_unit import Pool
from transferzoo.base.errors import UsageError

if TYPE_CHECKING:
    from transferzoo.attacks.techniques.work_unit import WorkUnit

pytestmark = pytest.mark.usefixtures("one_thread")

DRAWING = ["admix", "ssa", "sia", "bsr", "decowa"]
VIEWS = ["si", "maskblock", *DRAWING]
ONCE = ["si:scales=2", "maskblock:splits=2", "admix:partners=1,scales=1", "ssa:copies=1", "sia:copies=1"]
ONCE += ["bsr:copies=1", "bsr:splits=3,copies=1", "decowa:copies=1", "decowa:mesh=4,copies=1"]
"""Every view, cheap."""


def view_of(spec: str) -> Wrapper:
    (technique,) = compose(spec).of(Wrapper)
    return technique


def unit_with_pool() -> WorkUnit:
    return work_unit(make_attack("admix"), random_images(3, side=8))


# ---------------------------------------------------------------- formulas


@pytest.mark.parametrize("scales", [1, 5])
def test_si_is_the_mean_over_scales(scales: int) -> None:
    images = noise_images(2, (3, 6, 9))
    found = ScaleInvariance(scales).wrap(gradient, blank_unit(2, (3, 6, 9)))(images)
    for image, direction in zip(images, found, strict=True):
        wanted = chained(image, [lambda x, i=i: x * 0.5**i for i in range(scales)])  # type: ignore[misc]
        torch.testing.assert_close(direction, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("mix", "partners", "scales"), [(0.2, 3, 5), (0.7, 2, 1)])
def test_admix_mixes_with_the_pool(mix: float, partners: int, scales: int) -> None:
    batch, attack = random_images(3, side=8), make_attack("admix")
    pool, images = pool_for(batch), noise_images(3, (3, 8, 8))
    generators = seeded(0, attack.composition.canonical, batch.ids.tolist())
    oracle = Admix(mix, partners, scales).wrap(gradient, work_unit(attack, batch))
    for _ in range(2):  # steps: the second has partners of its own
        for i, direction in enumerate(oracle(images)):
            others = pool.images[pool.labels != batch.labels[i]].double() / 255
            chosen = [others[int(u * len(others))] for u in uniform(generators[i], partners)]
            pairs = [(other, 2**power) for other in chosen for power in range(scales)]
            copies = [lambda x, pair=pair: (x + mix * pair[0]) / pair[1] for pair in pairs]
            torch.testing.assert_close(direction, chained(images[i], copies), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("rho", "sigma", "copies"), [(0.5, 1.0, 3), (1.0, 0.0, 1), (0.0, 2.0, 2)])
@pytest.mark.parametrize("shape", [(3, 6, 9), (1, 8, 8)])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_ssa_takes_the_gradient_at_the_view(
    rho: float, sigma: float, copies: int, shape: tuple[int, ...], norm: str
) -> None:
    images, radius = noise_images(2, shape), 0.1 if norm == "linf" else 0.1 / torch.Size(shape).numel() ** 0.5
    oracle = SpectrumSimulation(rho, copies, sigma).wrap(gradient, blank_unit(2, shape, norm))
    for image, generator, direction in zip(images, seeded(0, "test", range(2)), oracle(images), strict=True):
        wanted = torch.zeros(shape, dtype=DOUBLE)
        for _ in range(copies):
            noise = torch.randn(shape, generator=generator).double()
            mask = 1 - rho + 2 * rho * uniform(generator, *shape)
            spectra = [dctn(plane, norm="ortho") for plane in (image + sigma * radius * noise).numpy()]
            planes = [idctn(plane * m, norm="ortho") for plane, m in zip(spectra, mask.numpy(), strict=True)]
            view = torch.stack([torch.from_numpy(plane) for plane in planes])
            wanted += slopes(shape) * (slopes(shape) * view).cos() / copies
        torch.testing.assert_close(direction, wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("splits", [1, 4])
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 10, 7), (2, 3, 3)])
def test_maskblock_leaves_out_every_block_once(splits: int, shape: tuple[int, ...]) -> None:
    images = noise_images(2, shape)
    found = MaskBlock(splits).wrap(gradient, blank_unit(2, shape))(images)
    down, along = ([-(-i * side // splits) for i in range(splits + 1)] for side in shape[1:])

    def without(x: Tensor, row: int, column: int) -> Tensor:
        copy = x.clone()
        copy[:, down[row] : down[row + 1], along[column] : along[column + 1]] = 0
        return copy

    places = [(row, column) for row in range(splits) for column in range(splits)]
    for image, direction in zip(images, found, strict=True):
        wanted = chained(image, [lambda x, place=place: without(x, *place) for place in places])  # type: ignore[misc]
        torch.testing.assert_close(direction, wanted, rtol=0, atol=1e-12)


def test_dem_attack_is_the_literal_loop() -> None:
    attack, model, batch = make_attack("dem", steps=3), small_cnn().eval(), random_images(3)
    for i, found in enumerate(perturb(attack, model, batch)):
        (generator,) = seeded(0, attack.composition.canonical, [100 + i])
        clean = batch.images[i].double() / 255
        delta = torch.zeros_like(clean)
        for _ in range(3):
            leaf = (clean + delta).requires_grad_()
            logits = torch.zeros(10, dtype=DOUBLE)
            for ratio in (1.14, 1.27, 1.4, 1.53, 1.66):
                view = DiverseInputs(1, ratio).transform(leaf[None], uniform(generator, 1, 4))
                logits = logits + model(view)[0] / 5
            (slope,) = torch.autograd.grad(-logits.log_softmax(0)[batch.labels[i]], leaf)
            delta = (delta + 1.6 / 255 * slope.sign()).clamp(-16 / 255, 16 / 255)
            delta = (clean + delta).clamp(0, 1) - clean
        torch.testing.assert_close(found, clean + delta, rtol=0, atol=1e-12)


def test_dem_spreads_its_ratios() -> None:
    (technique,) = compose("dem:copies=3,smallest=1,largest=2").of(Refinement)
    sides: list[int] = []

    def resampling(self: DiverseInputs, images: Tensor, draws: Tensor) -> Tensor:
        sides.append(round(100 * self.ratio))
        return images

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DiverseInputs, "transform", resampling)
        technique.refine(lambda x: x.flatten(1), blank_unit())(torch.rand(3, 3, 8, 8))
    assert sides == [100, 150, 200]


# ---------------------------------------------------------------- what all views share


@pytest.mark.parametrize("spec", VIEWS + ONCE)
def test_cost_is_the_number_of_gradients(spec: str) -> None:
    seen: list[int] = []

    def counted(images: Tensor) -> Tensor:
        seen.append(len(images))
        return images

    view = view_of(spec)
    view.wrap(counted, unit_with_pool())(noise_images(3, (3, 8, 8)))
    assert seen == [3] * view.cost


@pytest.mark.parametrize("copies", [1, 5])
def test_cost_of_dem_is_the_number_of_passes(copies: int) -> None:
    (technique,) = compose(f"dem:copies={copies}").of(Refinement)
    seen: list[int] = []

    def counted(images: Tensor) -> Tensor:
        seen.append(len(images))
        return images.flatten(1)

    technique.refine(counted, blank_unit())(noise_images(3, (3, 8, 8)))
    assert seen == [3] * technique.cost == [3] * copies


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 28, 28), (3, 17, 40), (3, 224, 224), (3, 299, 299)])
@pytest.mark.parametrize("spec", ONCE)
def test_views_keep_the_shape_and_the_images(spec: str, shape: tuple[int, ...]) -> None:
    unit = blank_unit(2, shape)
    unit.images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    unit.pool = Pool(noise_images(4, shape), torch.ones(4))
    before, seen = unit.images.clone(), []

    def record(images: Tensor) -> Tensor:
        seen.append((images.shape, images.dtype))
        return gradient(images)

    direction = view_of(spec).wrap(record, unit)(unit.images)
    assert set(seen) == {(before.shape, torch.float32)}
    assert direction.shape == before.shape
    assert direction.isfinite().all()
    assert (direction.flatten(1).count_nonzero(1) > 0).all()
    assert torch.equal(unit.images, before)


@pytest.mark.parametrize("spec", DRAWING)
def test_every_image_copy_and_step_has_its_draws(spec: str) -> None:
    seen: list[Tensor] = []

    def record(images: Tensor) -> Tensor:
        seen.append(images)
        return images

    view, unit = view_of(spec), blank_unit(4)
    unit.pool = Pool(noise_images(10000, (3, 8, 8)), torch.ones(10000))  # so many that no two are the same
    oracle = view.wrap(record, unit)
    for _ in range(2):
        oracle(noise_images(1, (3, 8, 8)).expand(4, -1, -1, -1))
    assert len({tuple(image.flatten().tolist()) for image in torch.cat(seen)}) == 4 * 2 * view.cost


@pytest.mark.parametrize("spec", VIEWS)
def test_memory_does_not_grow_with_the_copies(spec: str) -> None:
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
    most = 0

    def record(images: Tensor) -> Tensor:
        nonlocal most
        gc.collect()
        direction = images * 2
        alive.add(images)
        alive.add(direction)
        most = max(most, len(alive))
        return direction

    oracle = view_of(spec).wrap(record, unit_with_pool())
    gc.freeze()  # the rest of the process need not be looked through at every copy
    try:
        oracle(noise_images(3, (3, 8, 8)))
    finally:
        gc.unfreeze()
    assert most <= 4


@pytest.mark.parametrize(
    "spec",
    [
        "bsr:splits=1,angle=0",
        "decowa:noise=0,rho=0",
        "ssa:rho=0,sigma=0",
        "si:scales=1",
        "admix:mix=0,scales=1",
    ],
)
def test_nothing_changed_is_the_gradient_itself(spec: str) -> None:
    images = noise_images(3, (3, 8, 8))
    found = view_of(spec).wrap(gradient, unit_with_pool())(images)
    torch.testing.assert_close(found, gradient(images), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("si:scales=0", "option 'scales' of 'si' is out of range: expected 1 to 16, got 0"),
        ("admix:mix=1.5", "option 'mix' of 'admix' is a weight: expected 0 to 1, got 1.5"),
        ("admix:partners=0", "option 'partners' of 'admix' is out of range: expected 1 to 1000, got 0"),
        ("admix:scales=17", "option 'scales' of 'admix' is out of range: expected 1 to 16, got 17"),
        ("dem:copies=0", "option 'copies' of 'dem' is out of range: expected 1 to 1000, got 0"),
        ("dem:smallest=1.8", "expected 1 ≤ smallest ≤ largest ≤ 4, got 1.8 and 1.66"),
        ("dem:smallest=0.9", "expected 1 ≤ smallest ≤ largest ≤ 4, got 0.9 and 1.66"),
        ("dem:largest=5", "expected 1 ≤ smallest ≤ largest ≤ 4, got 1.14 and 5"),
        ("ssa:rho=1.5", "option 'rho' of 'ssa' is out of range: expected 0 to 1, got 1.5"),
        ("ssa:copies=0", "option 'copies' of 'ssa' is out of range: expected 1 to 1000, got 0"),
        ("ssa:sigma=-1", "option 'sigma' of 'ssa' is out of range: expected at least 0, got -1"),
        ("sia:splits=0", "option 'splits' of 'sia' is out of range: expected 1 to 16, got 0"),
        ("sia:copies=0", "option 'copies' of 'sia' is out of range: expected 1 to 1000, got 0"),
        ("bsr:splits=17", "option 'splits' of 'bsr' is out of range: expected 1 to 16, got 17"),
        ("bsr:angle=-1", "option 'angle' of 'bsr' is in degrees: expected 0 to 180, got -1"),
        ("bsr:copies=0", "option 'copies' of 'bsr' is out of range: expected 1 to 1000, got 0"),
        ("maskblock:splits=0", "option 'splits' of 'maskblock' is out of range: expected 1 to 16, got 0"),
        ("decowa:mesh=2", "option 'mesh' of 'decowa' is points a side: expected 3 to 16, got 2"),
        ("decowa:noise=3", "option 'noise' of 'decowa' is out of range: expected 0 to 2, got 3"),
        ("decowa:rho=-1", "option 'rho' of 'decowa' is out of range: expected at least 0, got -1"),
        ("decowa:copies=0", "option 'copies' of 'decowa' is out of range: expected 1 to 1000, got 0"),
    ],
)
def test_bad_options_are_sentences(spec: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        compose(spec)
    assert message in str(caught.value)
