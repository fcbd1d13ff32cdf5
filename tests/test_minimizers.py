"""Minimizers: SAM against a literal copy of the published code, and what every registered one must keep."""

from __future__ import annotations

import copy
import io
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from transferzoo.errors import UsageError
from transferzoo.minimizers import MINIMIZERS, Minimizer, read_rule, show_rule

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = list(MINIMIZERS)
SPECS = [*NAMES, "sam:base=adamw"]
RATE, MOMENTUM, DECAY = 0.05, 0.9, 5e-4


class Net(nn.Module):
    """Two convolutions with batch norm; in float64."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.norm1 = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6)
        self.linear = nn.Linear(6, 3)
        self.double()

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.norm1(self.conv1(images)))
        logits: Tensor = self.linear(torch.relu(self.norm2(self.conv2(features))).mean((2, 3)))
        return logits


class Branches(nn.Module):
    """One branch is always used, one never, and one where `extra` says so."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.used, self.unused, self.sometimes = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(4, 3)
        self.extra = False
        self.double()

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.used(inputs)
        return logits + self.sometimes(inputs) if self.extra else logits


class Bowl(nn.Module):
    """A quadratic ½ wᵀHw − bᵀw whose w lies in two parameters."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
        self.hessian, self.linear = root @ root.T + torch.eye(5), torch.arange(5.0, dtype=torch.float64)
        self.left = nn.Parameter(torch.randn(2, generator=generator, dtype=torch.float64))
        self.right = nn.Parameter(torch.randn(3, generator=generator, dtype=torch.float64))

    def point(self) -> Tensor:
        return torch.cat([self.left, self.right])

    def forward(self) -> Tensor:
        w = self.point()
        return 0.5 * w @ self.hessian @ w - self.linear @ w


def make(spec: str, model: nn.Module, rate: float = RATE) -> Minimizer:
    rule = read_rule(spec)
    optimizer: torch.optim.Optimizer
    if rule.base == "adamw":
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=DECAY)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=MOMENTUM, weight_decay=DECAY)
    return Minimizer(rule, model, optimizer)


def batch(step: int, shape: tuple[int, ...] = (1, 8, 8)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(16, *shape, generator=generator, dtype=torch.float64)
    return images, torch.randint(0, 3, (16,), generator=generator)


def closure_of(
    minimizer: Minimizer, loss_of: Callable[[], Tensor], before: Callable[[int], None] = lambda call: None
) -> Callable[[], Tensor]:
    """Return a closure of the contract; `before` hears the number of every call, from 1."""
    calls: list[None] = []

    def closure() -> Tensor:
        calls.append(None)
        before(len(calls))
        minimizer.optimizer.zero_grad(set_to_none=True)
        loss = loss_of()
        loss.backward()
        return loss.detach()

    return closure


def closure_on(
    minimizer: Minimizer, step: int, before: Callable[[int], None] = lambda call: None
) -> Callable[[], Tensor]:
    """Return the closure of one batch."""
    model = minimizer.model
    images, labels = batch(step, (4,) if isinstance(model, Branches) else (1, 8, 8))
    return closure_of(minimizer, lambda: functional.cross_entropy(model(images), labels), before)


def walk(minimizer: Minimizer, steps: range) -> list[float]:
    return [float(minimizer.step(closure_on(minimizer, step))) for step in steps]


def weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def literal_sam(model: Net, rho: float, steps: range) -> list[float]:
    """SAM as in davda54/sam `sam.py` and `example/train.py`, with SGD written out."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    velocity = [torch.zeros_like(p) for p in model.parameters()]
    losses = []
    for step in steps:
        images, labels = batch(step)
        for norm in norms:
            norm.momentum = 0.1  # enable_running_stats
        loss = functional.cross_entropy(model(images), labels)
        model.zero_grad()
        loss.backward()
        losses.append(loss.item())
        grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        length = torch.sqrt(sum((grad.pow(2).sum() for grad in grads), torch.tensor(0.0).double()))
        old = []
        for p, grad in zip(model.parameters(), grads, strict=True):
            old.append(p.data.clone())
            p.data = p.data + rho * grad / (length + 1e-12)
        for norm in norms:
            norm.momentum = 0.0  # disable_running_stats
        model.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        for i, p in enumerate(model.parameters()):
            assert p.grad is not None
            velocity[i] = MOMENTUM * velocity[i] + p.grad + DECAY * old[i]
            p.data = old[i] - RATE * velocity[i]
    return losses


@pytest.mark.parametrize("rho", [0.01, 0.05, 0.5])
def test_sam_is_the_published_algorithm(rho: float) -> None:
    ours, theirs = Net(), Net()
    losses = walk(make(f"sam:rho={rho}", ours), range(20))
    assert losses == pytest.approx(literal_sam(theirs, rho, range(20)), abs=1e-12)
    for name, tensor in theirs.state_dict().items():
        if not name.endswith("num_batches_tracked"):  # momentum 0 does not keep theirs from counting twice
            torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=0, atol=1e-12)
    assert abs(losses[0] - losses[-1]) > 0.01, "something was learnt"


@pytest.mark.parametrize("base", ["sgd", "adamw"])
def test_radius_zero_is_the_base_optimizer(base: str) -> None:
    ours, theirs = Net(), Net()
    assert walk(make(f"sam:rho=0,base={base}", ours), range(5)) == walk(make(base, theirs), range(5))
    assert same(list(ours.state_dict().values()), list(theirs.state_dict().values()))


@pytest.mark.parametrize("rho", [1e-3, 0.7])
def test_sam_climbs_to_the_first_order_worst_case(rho: float) -> None:
    bowl, seen = Bowl(), []
    minimizer = make(f"sam:rho={rho}", bowl)
    start = bowl.point().detach()
    slope = bowl.hessian @ start - bowl.linear
    loss = minimizer.step(closure_of(minimizer, bowl, lambda call: seen.append(bowl.point().detach())))
    worst = start + rho * slope / slope.norm()
    torch.testing.assert_close(seen[1], worst, rtol=1e-11, atol=0)
    used = bowl.hessian @ worst - bowl.linear + DECAY * start
    torch.testing.assert_close(bowl.point().detach(), start - RATE * used, rtol=1e-11, atol=0)
    assert float(loss) == pytest.approx(float(0.5 * start @ bowl.hessian @ start - bowl.linear @ start))


@pytest.mark.parametrize("spec", SPECS)
def test_calls_and_the_weights_they_see(spec: str) -> None:
    minimizer, seen = make(spec, Net()), []
    start = weights(minimizer.model)
    minimizer.step(closure_on(minimizer, 0, lambda call: seen.append(weights(minimizer.model))))
    assert len(seen) == minimizer.rule.passes
    assert same(seen[0], start), "the first pass is at the weights themselves"
    assert not any(same(moved, start) for moved in seen[1:])
    assert not same(weights(minimizer.model), start)
    assert minimizer.steps == 1


@pytest.mark.parametrize("spec", SPECS)
def test_running_averages_count_a_step_once(spec: str) -> None:
    minimizer = make(spec, Net())
    for step in range(3):
        still = copy.deepcopy(minimizer.model)
        still(batch(step)[0])
        minimizer.step(closure_on(minimizer, step))
        assert same(list(minimizer.model.buffers()), list(still.buffers()))
    assert minimizer.model.get_buffer("norm1.num_batches_tracked") == 3


@pytest.mark.parametrize("used_in", [1, 2])
@pytest.mark.parametrize("spec", SPECS)
def test_every_parameter_comes_back(spec: str, used_in: int) -> None:
    """With a rate of zero a step changes nothing, whichever parameters have a gradient in which pass."""
    model = Branches()
    minimizer = make(spec, model, rate=0.0)
    start = weights(model)
    minimizer.step(closure_on(minimizer, 0, lambda call: setattr(model, "extra", call == used_in)))
    assert same(weights(model), start)


@pytest.mark.parametrize("spec", [spec for spec in SPECS if read_rule(spec).passes > 1])
def test_weights_come_back_when_a_later_pass_fails(spec: str) -> None:
    minimizer = make(spec, Net())
    start = weights(minimizer.model)

    def fail(call: int) -> None:
        if call == minimizer.rule.passes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        minimizer.step(closure_on(minimizer, 0, fail))
    assert same(weights(minimizer.model), start)
    assert minimizer.steps == 0


@pytest.mark.parametrize("spec", SPECS)
def test_state_round_trips_through_a_file(spec: str) -> None:
    minimizer, file = make(spec, Net()), io.BytesIO()
    walk(minimizer, range(3))
    torch.save(minimizer.state_dict(), file)
    file.seek(0)
    again = make(spec, copy.deepcopy(minimizer.model))
    again.load_state_dict(torch.load(file, weights_only=True))
    assert again.steps == 3
    assert walk(again, range(3, 6)) == walk(minimizer, range(3, 6))
    assert same(weights(again.model), weights(minimizer.model))


@pytest.mark.parametrize("spec", SPECS)
def test_a_flat_loss_moves_nothing_but_the_decay(spec: str) -> None:
    model = Branches()
    minimizer = make(spec, model)
    start = weights(model)
    minimizer.step(closure_of(minimizer, lambda: 0 * model(torch.ones(2, 4).double()).sum()))
    for before, after in zip(start, weights(model), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-4, atol=0)


@pytest.mark.parametrize("spec", SPECS)
def test_canonical_form_means_the_same(spec: str) -> None:
    assert read_rule(show_rule(spec)) == read_rule(spec)
    assert show_rule(show_rule(spec)) == show_rule(spec)


def test_canonical_form_fills_every_option_in() -> None:
    assert show_rule("sam") == "sam:rho=0.05,base=sgd"
    assert show_rule("sam:base=adamw,rho=1/5") == "sam:rho=0.2,base=adamw"


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("sma", r"unknown minimizer 'sma': expected one of .*; did you mean sam\."),
        ("sam:roh=1", r"unknown option 'roh' .* 'sam': expected one of base, rho; did you mean rho\."),
        ("sam:base=lion", r"unknown value 'lion' of option 'base' .*: expected one of adamw, sgd\."),
        ("sgd:rho=0.1", r"unknown option 'rho' of minimizer 'sgd'"),
        ("sam:rho=-0.1", r"rho of sam is out of range: expected a number of at least 0, got -0\.1\."),
        ("sam:rho=nan", r"cannot read option 'rho' of minimizer 'sam': expected a number, got 'nan'\."),
        ("sam:rho=inf", r"cannot read option 'rho' of minimizer 'sam': expected a number, got 'inf'\."),
        ("sam+sgd", r"cannot read the minimizer: expected one name, as in sam:rho=0\.05, got 'sam\+sgd'\."),
        ("", r"cannot read the minimizer: expected one name"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_a_sentence(spec: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        read_rule(spec)


@pytest.mark.parametrize("rho", [-0.1, float("nan"), float("inf")])
def test_library_callers_are_told_too(rho: float) -> None:
    with pytest.raises(UsageError, match="rho of sam is out of range: expected a number of at least 0"):
        MINIMIZERS["sam"](rho=rho)  # type: ignore[call-arg]
