"""What the attack loop costs over bare gradients and torchattacks: `python tests/benchmarks/attack.py`.

Images a second of 10 steps on a built-in surrogate, rounds interleaved, ratios of medians.
"""

from __future__ import annotations

import statistics
import time
from fractions import Fraction
from typing import TYPE_CHECKING

import torch
import torchattacks

from transferzoo.classifier import frozen, load
from transferzoo.datasets.sources import load as load_images
from transferzoo.engine import Attack, craft
from transferzoo.techniques import compose
from transferzoo.zoo import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS, STEPS, IMAGES = 5, 10, 100


def main() -> None:
    zoo = load_zoo()
    spec = zoo.dataset("fashion-mnist")
    batch = load_images(spec, "sample").select(range(IMAGES))
    model = load(zoo.models["fashion-mnist/resnet50-sgd"].folder, spec)
    pixels = batch.images.float() / 255
    epsilon = Fraction(16, 255)

    def bare() -> None:
        with frozen(model):
            for _ in range(STEPS):
                leaf = pixels.clone().requires_grad_()
                torch.autograd.grad(torch.nn.functional.cross_entropy(model(leaf), batch.labels), leaf)

    def ours(spec: str) -> Callable[[], object]:
        attack = Attack(compose(spec), "linf", epsilon, epsilon / 10, STEPS)
        return lambda: craft(attack, model, batch.images, batch.labels, batch.ids)

    reference = torchattacks.MIFGSM(model, eps=16 / 255, alpha=1.6 / 255, steps=STEPS, decay=1.0)
    contenders: dict[str, Callable[[], object]] = {
        "bare gradients": bare,
        "transferzoo bim": ours(""),
        "transferzoo mi": ours("mi"),
        "transferzoo mi+di+ti": ours("mi+di+ti"),
        "torchattacks mi": lambda: reference(pixels, batch.labels),
    }
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS + 1):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - started)
    middle = {name: statistics.median(values[1:]) for name, values in taken.items()}
    bare_seconds = middle["bare gradients"]
    for name, value in middle.items():
        print(f"{name:24} {IMAGES / value:7.1f} images/s, time ×{value / bare_seconds:.2f} of bare gradients")
    print(f"mi beside torchattacks: ×{middle['torchattacks mi'] / middle['transferzoo mi']:.2f}")


if __name__ == "__main__":
    main()
