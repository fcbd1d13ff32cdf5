"""What a step of every minimizer costs over SGD's: `python tests/benchmarks/training.py`.

Two networks, batches of 128. Rounds are interleaved, each in another order, and ratios are of medians.
Times are the processor's own (`time.process_time`), so that other work on the machine counts less. Memory is
what the profiler sees allocated, in copies of the weights (buffers included) more than SGD's.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from pytorch_optimizer.optimizer.sam import SAM
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from transferzoo.base.train_config import TrainConfig
from transferzoo.datasets import Batch
from transferzoo.minimizers import MINIMIZERS, Minimizer, read_rule
from transferzoo.minimizers.perturbation import Weights
from transferzoo.models.architectures.resnet import small_resnet18, small_resnet50
from transferzoo.training.feeds import Memory
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH, EPOCH, CYCLE = 128, 390, 5
TIME = {"sam": 2.05, "asam": 2.05, "gsam": 2.10, "agsam": 2.10, "looksam": 1.35, "swa": 1.02}
OVERHEAD = 0.02
COPIES = {"sam": 1.0, "asam": 1.0, "wasam": 1.0, "gsam": 2.0, "agsam": 2.0}
KEPT = {"looksam": 1.0, "sam": 0.0, "asam": 0.0, "gsam": 0.0, "agsam": 0.0}
FEED = 5.0
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "small_resnet18:width=16, 32 px, 3 channels": (lambda: small_resnet18(10, 3, 16), 3, 32),
    "small_resnet50:width=8, 28 px, 1 channel": (lambda: small_resnet50(10, 1, 8), 1, 28),
}


@dataclass
class Contender:
    """Something that trains, and how long it took.

    Attributes:
        cycle: makes `steps` steps.
        steps: steps in a cycle.
        times: seconds a step, a value a round.
        inside: seconds in passes and the base optimizer so far; what is left of a step is overhead.
        shares: overhead as a share of the step, a value a round.
    """

    cycle: Callable[[], None]
    steps: int = 1
    times: list[float] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)

    def run(self) -> None:
        self.inside.clear()
        started = time.process_time()
        self.cycle()
        taken = time.process_time() - started
        self.times.append(taken / self.steps)
        self.shares.append(1 - sum(self.inside) / taken)


class Bench:
    """A network and a batch."""

    def __init__(self, network: Callable[[], nn.Module], channels: int, size: int) -> None:
        self.network = network
        torch.manual_seed(0)
        images = torch.rand(BATCH, channels, size, size)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(0, 10, (BATCH,))

    def model(self) -> nn.Module:
        torch.manual_seed(0)
        return self.network().to(memory_format=torch.channels_last).train()

    def closure(self, model: nn.Module) -> Callable[[], Tensor]:
        weights = Weights(model)

        def closure() -> Tensor:
            weights.take()
            loss = functional.cross_entropy(model(self.images), self.labels)
            loss.backward()
            return loss.detach()

        return closure

    def minimizer(self, spec: str, model: nn.Module) -> Minimizer:
        rule = read_rule(spec)
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        if rule.base == "sgd":
            optimizer = sgd(model)
        return Minimizer(rule, model, optimizer)

    def ours(self, name: str) -> Contender:
        """Return a registered minimizer, timed inside."""
        model = self.model()
        minimizer = self.minimizer(name, model)
        inside: list[float] = []
        closure = timed(self.closure(model), inside)
        setattr(minimizer.optimizer, "step", timed(minimizer.optimizer.step, inside))  # noqa: B010
        steps = CYCLE if name == "looksam" else 1

        def cycle() -> None:
            for _ in range(steps):
                minimizer.step(closure)

        return Contender(cycle, steps, inside=inside)

    def davda54(self) -> Contender:
        """SAM as its most used port has it: parameter by parameter, batch norm switched by its momentum."""
        model = self.model()
        optimizer = sgd(model)
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]

        def cycle() -> None:
            for norm in norms:
                norm.momentum = 0.1
            functional.cross_entropy(model(self.images), self.labels).backward()
            grads = [(p, p.grad) for p in model.parameters() if p.grad is not None]
            old = []
            with torch.no_grad():
                scale = 0.05 / (torch.stack([g.norm(p=2) for _, g in grads]).norm(p=2) + 1e-12)
                for p, g in grads:
                    old.append(p.clone())
                    p.add_(g * scale)
            del grads
            optimizer.zero_grad()
            for norm in norms:
                norm.momentum = 0.0
            functional.cross_entropy(model(self.images), self.labels).backward()
            for p, before in zip(model.parameters(), old, strict=True):
                p.data = before
            optimizer.step()
            optimizer.zero_grad()

        return Contender(cycle)

    def pytorch_optimizer(self) -> Contender:
        """Return pytorch_optimizer's SAM."""
        model = self.model()
        optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=5e-4)
        closure = self.closure(model)

        def cycle() -> None:
            closure()
            optimizer.step(closure)  # type: ignore[arg-type]

        return Contender(cycle)

    def averaging(self) -> Contender:
        """Return the taking of weights into their mean."""
        minimizer = self.minimizer("swa", self.model())
        minimizer.collect()
        return Contender(minimizer.collect)

    def memory(self, name: str) -> tuple[int, int]:
        """Return the bytes at the peak of a cycle and those still there after it, the model's aside."""
        model = self.model()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            minimizer = self.minimizer(name, model)
            for _ in range(CYCLE + 1 if name == "looksam" else 2):
                minimizer.step(self.closure(model))
        events = profiler.profiler.kineto_results.events()
        changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
        now = peak = 0
        for _, change in sorted(changes):
            now += change
            peak = max(peak, now)
        return peak, now


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)


def timed(function: Callable[..., Any], inside: list[float]) -> Callable[[], Any]:
    """Return a function that notes the seconds it takes."""

    def run() -> Any:
        started = time.process_time()
        result = function()
        inside.append(time.process_time() - started)
        return result

    return run


def images_a_second(channels: int, size: int) -> float:
    """Return the speed of the data path alone, augmentation included."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (20 * BATCH, channels, size, size), generator=generator, dtype=torch.uint8)
    data = Batch(pixels, torch.zeros(len(pixels), dtype=torch.int64), torch.arange(len(pixels)))
    config = TrainConfig.of(dataset="any", architecture="any", batch_size=BATCH, augment="crop-flip")
    feed = Memory(data, load_zoo().dataset("fashion-mnist"), config)
    taken = []
    for seed in range(4):
        started = time.process_time()
        for _ in feed.epoch(seed, 0, 1):
            pass
        taken.append(time.process_time() - started)
    return len(pixels) / statistics.median(taken[1:])


def judged(value: float, goal: float | None, *, least: bool = False) -> str:
    """Write a value and what was wanted of it."""
    if goal is None:
        return f"{value:6.2f}             "
    met = round(value, 2) >= goal if least else round(value, 2) <= goal
    return f"{value:6.2f} ({'≥' if least else '≤'} {goal:.2f}) {'  ' if met else '✗ '}"


def measure(title: str, rounds: int) -> None:
    """Print the table of one network."""
    network, channels, size = NETWORKS[title]
    bench = Bench(network, channels, size)
    contenders = {name: bench.ours(name) for name in MINIMIZERS}
    contenders |= {"davda54's SAM": bench.davda54(), "pytorch_optimizer's SAM": bench.pytorch_optimizer()}
    collect = bench.averaging()
    order = [*contenders.values(), collect]
    for number in range(rounds + 1):
        random.Random(number).shuffle(order)
        for contender in order:
            contender.run()
    seconds = {name: statistics.median(c.times[1:]) for name, c in contenders.items()}
    seconds["swa"] += statistics.median(collect.times[1:]) / EPOCH
    size_of_copy = sum(t.numel() * t.element_size() for t in bench.model().state_dict().values())
    peak, kept = bench.memory("sgd")
    print(
        f"\n{title}: SGD takes {1000 * seconds['sgd']:.0f} ms a step of {BATCH}, {size_of_copy} bytes a copy"
    )
    print(f"{'':24} {'time over SGD':19} {'overhead, %':19} {'copies at peak':19} copies kept")
    for name, contender in contenders.items():
        line = f"{name:24} {judged(seconds[name] / seconds['sgd'], TIME.get(name))}"
        if name in MINIMIZERS:
            share = statistics.median(contender.shares[1:])
            several = read_rule(name).passes > 1
            at_peak, after = bench.memory(name)
            line += f" {judged(100 * share, 100 * OVERHEAD if several else None)}"
            line += f" {judged((at_peak - peak) / size_of_copy, COPIES.get(name))}"
            line += f" {judged((after - kept) / size_of_copy, KEPT.get(name))}"
        print(line)
    for name in ("davda54's SAM", "pytorch_optimizer's SAM"):
        print(f"{name} takes {judged(seconds[name] / seconds['sam'], 1.0, least=True)} of the time of ours")
    speed, used = images_a_second(channels, size), BATCH / seconds["sgd"]
    print(
        f"data path: {speed:.0f} images/s, {judged(speed / used, FEED, least=True)} times what SGD consumes"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="of every contender, one more to warm up")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    started = time.monotonic()
    for title in NETWORKS:
        measure(title, options.rounds)
    print(f"\n✗ misses its goal. {options.rounds} rounds, {time.monotonic() - started:.0f} s in all.")


if __name__ == "__main__":
    main()
