"""What every registered minimizer must keep, whatever its algorithm."""

from __future__ import annotations

import copy
import io
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from helpers.minimizers import (
    NAMES,
    SPECS,
    Branches,
    Net,
    batch,
    closure_of,
    closure_on,
    make,
    same,
    walk,
    weights,
)
from transferzoo.minimizers import read_rule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transferzoo.minimizers import Minimizer

pytestmark = pytest.mark.usefixtures("one_thread")

RADII = {name: "rho" for name in NAMES if hasattr(read_rule(name), "rho")} | {"le-sam": "sigma"}
"""Minimizer → the option that the trainer scales."""
HALVES = (slice(0, 8), slice(8, 16))


def halves(model: torch.nn.Module, step: int) -> list[Callable[[], Tensor]]:
    """Return the closures of a batch's two halves."""
    return [closure_on(model, step, part=part) for part in HALVES]


def twin(minimizer: Minimizer, spec: str, **options: float) -> Minimizer:
    """Return an independent minimizer in the same state."""
    again = make(spec, copy.deepcopy(minimizer.model), **options)  # type: ignore[arg-type]
    again.load_state_dict(copy.deepcopy(minimizer.state_dict()))
    return again


def is_mean(*tensors: Tensor | None) -> bool:
    """Return whether the first of three tensors is the mean of the others, up to rounding."""
    mean, one, other = (tensor for tensor in tensors if tensor is not None)
    return torch.allclose(mean, (one + other) / 2, rtol=1e-11, atol=1e-15)


def extra_in(model: torch.nn.Module, pass_: int) -> Callable[[int], None]:
    """Return what makes `Branches` use its third branch in one of the passes."""
    return lambda call: setattr(model, "extra", call == pass_)


@pytest.mark.parametrize("spec", SPECS)
def test_calls_and_the_weights_they_see(spec: str) -> None:
    """The first pass of every step is at the weights the last step left, the others are not."""
    minimizer, calls = make(spec, Net()), 0
    for step in range(10):
        seen: list[list[Tensor]] = []
        start = weights(minimizer.model)
        look = closure_on(minimizer.model, step, lambda call: seen.append(weights(minimizer.model)))  # noqa: B023
        minimizer.step(look)
        assert same(seen[0], start)
        assert not any(same(moved, start) for moved in seen[1:])
        assert not same(weights(minimizer.model), start)
        calls += len(seen)
    assert calls == pytest.approx(10 * minimizer.rule.passes)
    assert minimizer.steps == 10


@pytest.mark.parametrize("spec", SPECS)
def test_running_averages_count_a_step_once(spec: str) -> None:
    minimizer = make(spec, Net())
    for step in range(3):
        still = copy.deepcopy(minimizer.model)
        still(batch(step)[0])
        minimizer.step(closure_on(minimizer.model, step))
        assert same(list(minimizer.model.buffers()), list(still.buffers()))
    assert minimizer.model.get_buffer("norm1.num_batches_tracked") == 3


@pytest.mark.parametrize("spec", SPECS)
def test_running_averages_count_micro_batches_once(spec: str) -> None:
    """Each micro-batch starts from the same statistics; their mean is kept, and one batch is counted."""
    minimizer = make(spec, Net())
    for step in range(3):
        parts = [copy.deepcopy(minimizer.model) for _ in HALVES]
        for still, part in zip(parts, HALVES, strict=True):
            still(batch(step)[0][part])
        minimizer.step(*halves(minimizer.model, step))
        for name, buffer in minimizer.model.named_buffers():
            one, other = (still.get_buffer(name) for still in parts)
            torch.testing.assert_close(
                buffer.double(), (one + other) / 2, rtol=1e-12, atol=0, check_dtype=False
            )
    assert minimizer.model.get_buffer("norm1.num_batches_tracked") == 3


@pytest.mark.parametrize("used_in", [1, 2])
@pytest.mark.parametrize("spec", SPECS)
def test_every_parameter_comes_back(spec: str, used_in: int) -> None:
    """With a rate of zero a step changes nothing, whichever parameters have a gradient in which pass."""
    model = Branches()
    minimizer = make(spec, model, rate=0.0)
    start = weights(model)
    for step in range(3):
        minimizer.step(closure_on(model, step, extra_in(model, used_in)))
        assert same(weights(model), start)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if read_rule(spec).passes > 1])
def test_weights_come_back_when_a_later_pass_fails(spec: str) -> None:
    """Neither the weights nor the state know of a step that failed: the next is as if there had been none."""
    minimizer, spared = make(spec, Net()), make(spec, Net())
    start, buffers = weights(minimizer.model), copy.deepcopy(list(minimizer.model.buffers()))

    def fail(call: int) -> None:
        if call == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        minimizer.step(closure_on(minimizer.model, 6), closure_on(minimizer.model, 7, fail))
    assert same(weights(minimizer.model), start)
    assert minimizer.steps == 0
    for buffer, content in zip(minimizer.model.buffers(), buffers, strict=True):
        buffer.copy_(content)
    assert walk(minimizer, range(3)) == walk(spared, range(3))
    assert same(weights(minimizer.model), weights(spared.model))


@pytest.mark.parametrize("spec", SPECS)
def test_state_round_trips_through_a_file(spec: str) -> None:
    """In the middle of a cycle of LookSAM, and of a mean."""
    minimizer, file = make(spec, Net()), io.BytesIO()
    for step in range(3):
        walk(minimizer, range(step, step + 1))
        minimizer.collect()
    torch.save(minimizer.state_dict(), file)
    file.seek(0)
    again = make(spec, copy.deepcopy(minimizer.model))
    again.load_state_dict(torch.load(file, weights_only=True))
    assert (again.steps, again.averaged) == (3, 3)
    for step in range(3, 6):
        assert walk(again, range(step, step + 1)) == walk(minimizer, range(step, step + 1))
        again.collect()
        minimizer.collect()
    assert same(list(again.model.state_dict().values()), list(minimizer.model.state_dict().values()))
    assert again.averaged == 6
    assert same(again.mean, minimizer.mean)
    assert not same(again.mean, weights(again.model))


def test_looksam_keeps_its_direction_in_a_file() -> None:
    """What the round trip above would not notice if both had lost it."""
    minimizer = make("looksam", Net())
    walk(minimizer, range(3))
    memory = minimizer.state_dict()["memory"]
    assert memory is not None
    forgetful = twin(minimizer, "looksam")
    forgetful.memory = [torch.zeros_like(tensor) for tensor in memory]
    walk(forgetful, range(3, 4))
    walk(minimizer, range(3, 4))
    assert not same(weights(forgetful.model), weights(minimizer.model))


@pytest.mark.parametrize("spec", SPECS)
def test_a_flat_loss_moves_nothing_but_the_decay(spec: str) -> None:
    model = Branches()
    minimizer = make(spec, model)
    start = weights(model)
    for _ in range(2):
        minimizer.step(closure_of(model, lambda: 0 * model(torch.ones(2, 4).double()).sum()))
    for before, after in zip(start, weights(model), strict=True):
        torch.testing.assert_close(after, before, rtol=2e-4, atol=0)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("base", ["sgd", "adamw"])
@pytest.mark.parametrize("name", RADII)
def test_radius_zero_is_the_base_optimizer(name: str, base: str, parts: int) -> None:
    """Bit by bit, through the option and through the factor that the trainer sets."""
    option, factor, theirs = (
        make(s, Net()) for s in (f"{name}:{RADII[name]}=0,base={base}", f"{name}:base={base}", base)
    )
    factor.rho_factor = 0.0
    for step in range(7):
        losses = [
            float(m.step(*(halves(m.model, step) if parts == 2 else [closure_on(m.model, step)])))
            for m in (option, factor, theirs)
        ]
        assert losses[0] == losses[1] == losses[2]
    for ours in (option, factor):
        assert same(list(ours.model.state_dict().values()), list(theirs.model.state_dict().values()))


@pytest.mark.parametrize("name", RADII)
def test_the_trainer_scales_the_radius(name: str) -> None:
    """Half the factor of twice the radius is the radius."""
    rho, option = 0.125, RADII[name]
    one, other = make(f"{name}:{option}={rho}", Net()), make(f"{name}:{option}={2 * rho}", Net())
    other.rho_factor = 0.5
    assert walk(one, range(3)) == walk(other, range(3))
    assert same(weights(one.model), weights(other.model))


@pytest.mark.parametrize("warm", [0, 2])
@pytest.mark.parametrize("spec", SPECS)
def test_micro_batches_are_averaged(spec: str, warm: int) -> None:
    """Two closures leave the mean of what each would alone: gradient, loss, and LookSAM's direction."""
    minimizer = make(spec, Net())
    walk(minimizer, range(warm))
    alone = [twin(minimizer, spec) for _ in HALVES]
    left = [m.gradients([halves(m.model, 9)[i]]) for i, m in enumerate(alone)]
    together = twin(minimizer, spec)
    loss, gradient = together.gradients(halves(together.model, 9))
    assert float(loss) == pytest.approx((float(left[0][0]) + float(left[1][0])) / 2, rel=1e-14)
    for part, one, other in zip(gradient, left[0][1], left[1][1], strict=True):
        assert is_mean(part, one, other)
    assert same(weights(together.model), weights(minimizer.model))
    minimizer.step(*halves(minimizer.model, 9))
    for m, half in zip(alone, HALVES, strict=True):
        m.step(closure_on(m.model, 9, part=half))
    if minimizer.memory is not None:
        both = zip(minimizer.memory, alone[0].memory or [], alone[1].memory or [], strict=True)
        assert all(is_mean(*tensors) for tensors in both)


@pytest.mark.parametrize("spec", SPECS)
def test_micro_batches_are_perturbed_by_themselves(spec: str) -> None:
    """Without batch norm two halves of a batch are the batch, but not where each has its own perturbation."""
    parted, whole = make(spec, Branches()), make(spec, Branches())
    _, one = parted.gradients(halves(parted.model, 0))
    _, other = whole.gradients([closure_on(whole.model, 0)])
    gaps = [(a - b).norm() for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    assert len(gaps) == 4
    assert max(gaps) > 1e-6 if parted.rule.passes > 1 else max(gaps) < 1e-14


@pytest.mark.parametrize("spec", SPECS)
def test_a_parameter_may_lack_a_gradient_in_one_micro_batch(spec: str) -> None:
    model = Branches()
    minimizer = make(spec, model)

    def switch(on: bool) -> Callable[[int], None]:
        return lambda call: setattr(model, "extra", on)

    start = weights(model)
    parts = [closure_on(model, 0, switch(on), half) for on, half in zip((False, True), HALVES, strict=True)]
    minimizer.step(*parts)
    moved = [not torch.equal(a, b) for a, b in zip(start, weights(model), strict=True)]
    assert moved == [True, True, False, False, True, True, True, True]


@pytest.mark.parametrize("spec", SPECS)
def test_clipping_is_of_what_the_base_optimizer_gets(spec: str) -> None:
    """The direction and what is remembered are those without clipping; only the length is another."""
    used: list[list[Tensor]] = []

    def note(optimizer: torch.optim.Optimizer, *rest: object) -> None:
        used.append([p.grad.clone() for p in optimizer.param_groups[0]["params"] if p.grad is not None])

    free, clipped = (make(spec, Branches(), clip=clip) for clip in (0.0, 1e-3))
    for minimizer in (free, clipped):
        minimizer.optimizer.register_step_pre_hook(note)
        minimizer.step(closure_on(minimizer.model, 0, extra_in(minimizer.model, 2)))
    lengths = [torch.nn.utils.get_total_norm(vector) for vector in used]
    assert lengths[0] > 0.01
    assert float(lengths[1]) == pytest.approx(1e-3, rel=1e-3)
    for a, b in zip(*used, strict=True):
        torch.testing.assert_close(b / lengths[1], a / lengths[0], rtol=1e-12, atol=1e-15)
    assert same(clipped.memory or [], free.memory or [])


@pytest.mark.parametrize("others_use_it", [False, True])
@pytest.mark.parametrize("spec", SPECS)
def test_weights_that_no_process_uses_stay(spec: str, others_use_it: bool) -> None:
    """Zeros for a gradient would let them decay; where another process has one it is zero here."""

    def other(tensors: Sequence[Tensor]) -> None:
        if others_use_it:
            tensors[1].fill_(0.5)

    model = Branches()
    model.used.bias.requires_grad_(False)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    minimizer = make(spec, model, average=other)
    for _ in range(2):
        minimizer.step(closure_on(model, 0))
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert "used.weight" in moved
    assert ({"unused.weight", "used.bias"} <= moved) == others_use_it
    assert others_use_it or not {"unused.weight", "unused.bias", "used.bias"} & moved


@pytest.mark.parametrize("used_in", [1, 2])
@pytest.mark.parametrize("spec", SPECS)
def test_processes_average_everything_once(spec: str, used_in: int) -> None:
    """A mean that doubles stands for other processes: loss, gradient and memory are shared, each once."""

    def double(tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            tensor.mul_(2)

    results = []
    for average in (None, double):
        model = Branches()
        minimizer = make(spec, model, rate=0.0, average=average)
        loss = minimizer.step(closure_on(model, 0, extra_in(model, used_in)))
        vector = [*(p.grad for p in model.parameters()), *(minimizer.memory or ())]
        results.append([loss, *(torch.zeros(()) if t is None else t.clone() for t in vector)])
    for alone, shared in zip(*results, strict=True):
        assert torch.equal(shared, (2 * alone).expand_as(shared))
