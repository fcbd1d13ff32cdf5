"""What attacks cost, beside other tools and bare gradients: `python tests/benchmarks/attack.py`.

Needs `pip install -e '.[bench]'` and `pip install --no-deps torchattacks==3.5.1`. MI in 10 steps on four
networks, in turn; rounds are interleaved, each in another order, and ratios are of medians over rounds of
torchattacks' time by ours. A network's rounds end when its share of the minutes is over. Making a surrogate
ready (folding, rounding, quicker layers) is done once for a run and timed by itself. Then, on the built-in
surrogate, what techniques of many gradients take over as many bare ones. Memory is the peak that the profiler
sees allocated. What two processes do is measured by `scaling.py`.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import timm
import torch
import torchattack
import torchattacks
from foolbox.attacks.mi_fgsm import LinfMomentumIterativeFastGradientMethod
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from transferzoo.attacks.composition import compose
from transferzoo.attacks.engine import Attack, craft
from transferzoo.attacks.techniques.work_unit import Pool
from transferzoo.base.budget import Budget
from transferzoo.base.distributed import this_device
from transferzoo.models.classifier import Classifier, frozen, load_checkpoint
from transferzoo.models.optimize import best_precision, optimize
from transferzoo.zoo.reader import load_zoo

STEPS, EPSILON = 10, Fraction(16, 255)
GOALS = {
    "resnet50, 224 px": 1.1,
    "resnet18, 32 px": 1.1,
    "built-in resnet50, 28 px": 1.1,
    "ViT-S/16, 224 px": 1.0,
}
"""Network → times as fast as torchattacks in fp32, at least."""
OVERHEAD, COPIES = 1.05, 1.10
PROFILED = 2
"""Steps of the attacks whose memory is measured: further ones allocate no more, and profiling is slow."""
MINUTES, LEAST = 8, 3
"""Minutes of all interleaved rounds, and the fewest rounds; what else is measured takes the rest of ten."""
MANY = ("vt", "ssa", "bsr")
Run = Callable[[], object]


@dataclass
class Network:
    """A surrogate and a batch."""

    title: str
    model: Classifier
    images: Tensor

    def __post_init__(self) -> None:
        self.pixels = self.images.float() / 255
        with torch.no_grad():
            self.labels = self.model(self.pixels).argmax(1)
        self.ids = torch.arange(len(self.images))

    def ready(self, precision: Any) -> Classifier:
        return optimize(self.model, self.images[:4], precision=precision)

    def attack(self, spec: str, steps: int = STEPS, precision: Any = "fp32") -> Run:
        what, model = (
            Attack(compose(spec), Budget("linf", EPSILON, EPSILON / STEPS, steps)),
            self.ready(precision),
        )
        pool = Pool(self.images, self.labels)
        return lambda: craft(what, model, self.images, self.labels, self.ids, pool=pool)

    def bare(self, gradients: int) -> Run:
        """Return nothing but gradients, on the same ready surrogate."""
        model = self.ready("fp32")

        def run() -> None:
            with frozen(model):
                for _ in range(gradients):
                    leaf = self.pixels.clone().requires_grad_()
                    torch.autograd.grad(functional.cross_entropy(model(leaf), self.labels), leaf)

        return run

    def contenders(self, auto: str, steps: int = STEPS) -> dict[str, Run]:
        """Return what is timed, in so many steps."""
        ours = {"transferzoo fp32": self.attack("mi", steps)}
        if auto != "fp32":
            ours["transferzoo auto"] = self.attack("mi", steps, precision=auto)
        return {"bare gradients": self.bare(steps), **ours, **self.others(steps)}

    def others(self, steps: int = STEPS) -> dict[str, Run]:
        """Return the same attack by other tools, on the surrogate as it was loaded."""
        model, epsilon, step = self.model, float(EPSILON), float(EPSILON / STEPS)
        first = torchattacks.MIFGSM(model, eps=epsilon, alpha=step, steps=steps, decay=1.0)
        second = LinfMomentumIterativeFastGradientMethod(abs_stepsize=step, steps=steps)
        wrapped = PyTorchModel(model, bounds=(0, 1), device="cpu")
        third = torchattack.MIFGSM(model, None, torch.device("cpu"), eps=epsilon, alpha=step, steps=steps)
        return {
            "torchattacks": lambda: first(self.pixels, self.labels),
            "foolbox": lambda: second(wrapped, self.pixels, self.labels, epsilons=epsilon),
            "torchattack": lambda: third(self.pixels, self.labels),
        }


def built_in() -> Network:
    zoo = load_zoo()
    spec = zoo.dataset("fashion-mnist")
    model = load_checkpoint(zoo.models["fashion-mnist/resnet50-sgd"].folder, spec)
    return Network("built-in resnet50, 28 px", model, noise(100, 1, 28))


def from_timm(name: str, title: str, count: int, size: int) -> Network:
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, num_classes=1000)
    wrapped = Classifier(model, size=None, channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    return Network(title, wrapped.to(memory_format=torch.channels_last).eval(), noise(count, 3, size))


def noise(count: int, channels: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, size, size), generator=generator, dtype=torch.uint8)


NETWORKS: dict[str, Callable[[], Network]] = {
    "resnet50": lambda: from_timm("resnet50", "resnet50, 224 px", 4, 224),
    "resnet18": lambda: from_timm("resnet18", "resnet18, 32 px", 64, 32),
    "built-in": built_in,
    "vit": lambda: from_timm("vit_small_patch16_224", "ViT-S/16, 224 px", 4, 224),
}


def rounds_of(contenders: dict[str, Run], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return the seconds of each in every round but the first, which warms up.

    Args:
        contenders: what is timed.
        rounds: most rounds.
        seconds: after which no further round begins, once there are `LEAST`.
    """
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    order, began = list(contenders), time.monotonic()
    for number in range(rounds + 1):
        if number > LEAST and time.monotonic() - began > seconds:
            break
        random.Random(number).shuffle(order)
        for name in order:
            started = time.process_time()
            contenders[name]()
            taken[name].append(time.process_time() - started)
    return {name: values[1:] for name, values in taken.items()}


def ratio(first: list[float], second: list[float]) -> float:
    """Return the median over rounds of one's time by another's: what slows a whole round cancels."""
    return statistics.median(one / other for one, other in zip(first, second, strict=True))


def peak(run: Run) -> int:
    """Return the bytes allocated at the peak of a run."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = profiler.profiler.kineto_results.events()
    now = most = 0
    for _, change in sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"):
        now += change
        most = max(most, now)
    return most


def judged(value: float, goal: float | None, *, least: bool = False) -> str:
    """Write a value and what was wanted of it."""
    if goal is None:
        return f"{value:.2f}"
    met = round(value, 2) >= goal if least else round(value, 2) <= goal
    return f"{value:.2f} ({'≥' if least else '≤'} {goal:.2f}){'' if met else ' ✗'}"


def compare(network: Network, rounds: int, seconds: float) -> None:
    """Print one network's table."""
    auto = best_precision(this_device())
    taken = rounds_of(network.contenders(auto), rounds, seconds)
    profiled = network.contenders(auto, PROFILED)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    started = time.process_time()
    network.ready(auto)
    print(
        f"\n{network.title}, {len(network.images)} images, mi in {STEPS} steps, "
        f"{len(taken['bare gradients'])} rounds; auto is {auto}; "
        f"made ready in {time.process_time() - started:.2f} s"
    )
    for name, value in medians.items():
        speed, memory = len(network.images) / value, peak(profiled[name]) / 2**20
        line = f"  {name:18} {speed:8.1f} images/s, {memory:6.0f} MiB"
        if name.startswith("transferzoo"):
            goal = GOALS[network.title] if name.endswith("fp32") else None
            line += f", {judged(ratio(taken['torchattacks'], taken[name]), goal, least=True)} × torchattacks"
            fastest = min(network.others(), key=lambda other: medians[other])
            line += f", {judged(ratio(taken[fastest], taken[name]), None)} × {fastest}, the fastest other"
        print(line)
    print(
        f"  mi takes {judged(ratio(taken['transferzoo fp32'], taken['bare gradients']), OVERHEAD)} "
        "of the time of its gradients alone",
        flush=True,
    )


def techniques(network: Network, rounds: int, seconds: float) -> None:
    """Print what techniques of many gradients take over as many bare ones."""
    print(f"\n{network.title}: time over that of as many bare gradients")
    for spec in MANY:
        cost = compose(spec).cost(1)
        contenders = {"bare": network.bare(cost), spec: network.attack(spec, steps=1)}
        taken = rounds_of(contenders, rounds, seconds / len(MANY))
        print(f"  {spec:4} {cost} gradients a step: {judged(ratio(taken[spec], taken['bare']), COPIES)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=20, help="of every contender at most, one more to warm up"
    )
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of all rounds together, about")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    started = time.monotonic()
    share = 60 * options.minutes / (len(options.networks) + 1)
    for name in options.networks:
        compare(NETWORKS[name](), options.rounds, share)
    techniques(built_in(), options.rounds, share)
    print(f"\n✗ misses its goal. {time.monotonic() - started:.0f} s in all.")


if __name__ == "__main__":
    main()
