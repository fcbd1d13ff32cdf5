"""What a GPU does in a step, and what its host waits for: `python tests/benchmarks/launches.py`, minutes.

The real code of attacks and minimizers runs on PyTorch's `meta` device, which has shapes and no numbers, in
the place of a GPU: nothing is computed there, every call of an operator is counted, and a number that the
code asks for is made up. A launch is such a call; views and allocations are none, and one for many tensors
of one dtype (`_foreach`) is one. A copy goes from the host to the device. The host waits for copies, unless
the code says `non_blocking`, and whenever it asks for a number.

Counted is a step in full swing, of ResNet-50 at 224 pixels and of a small network; of minimizers their own
part alone, and of some a whole step of a training, with what is done to images in memory. Goals are marked.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from transferzoo.attacks.composition import compose
from transferzoo.attacks.engine import Attack, perturb
from transferzoo.attacks.techniques.work_unit import Pool
from transferzoo.base.budget import Budget
from transferzoo.base.distributed import Team
from transferzoo.base.train_config import TrainConfig
from transferzoo.datasets import Batch
from transferzoo.minimizers import Minimizer, read_rule
from transferzoo.minimizers.perturbation import TINY
from transferzoo.models.build import create
from transferzoo.training.feeds import Memory
from transferzoo.training.loop import Loop
from transferzoo.training.untrained import untrained
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

ATTACKS = ("", "mi", "di", "vt", "ssa", "dem+mi", "sia", "bsr", "admix")
MINIMIZERS = ("sgd", "sam", "asam", "gsam", "looksam")
NETWORKS = {"resnet50": 224, "small_resnet18:width=8": 28}
SMALL = "fashion-mnist"
TRAININGS: dict[str, dict[str, Any]] = {  # a micro-batch as a share of the batch
    "sgd": {},
    "looksam": {"minimizer": "looksam"},
    "mixed sam": {"minimizer": "sam", "mixup": 0.2, "cutmix": 1.0},
    "2 parts": {"minimizer": "sam", "micro_batch": 0.5},
    "bf16": {"precision": "bf16"},
}
WAITS, SAM, GSAM = 1, 1.05, 1.4
"""Goals: waits of an attack's step, launches of SAM over a bare one's, and of GSAM over SAM's."""
STEPS = 40
"""Of a training, an epoch."""
PERIOD = 5
"""Steps that minimizers are counted for: some do not do the same in each."""
FREE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "lift_fresh"}
COPIES = {"_to_copy", "copy_", "_foreach_copy_"}


class Counts(NamedTuple):
    """What was done so far, or in a step.

    Attributes:
        launches: on the device.
        copies: to it.
        megabytes: of these.
        waits: of the host.
    """

    launches: float = 0
    copies: float = 0
    megabytes: float = 0
    waits: float = 0

    def plus(self, **more: float) -> Counts:
        return self._replace(**{name: getattr(self, name) + count for name, count in more.items()})

    def since(self, before: Counts, steps: int = 1) -> Counts:
        return Counts(*((now - then) / steps for now, then in zip(self, before, strict=True)))


class Device(TorchDispatchMode):
    """Count what goes on on the device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts = Counts()

    def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given, name = _tensors((args, kwargs)), func._schema.name.removeprefix("aten::")
        if name == "_local_scalar_dense" and args[0].is_meta:
            self.counts = self.counts.plus(waits=1)
            return 1
        if name == "_to_copy" and args[0].is_meta and kwargs.get("device", args[0].device).type == "cpu":
            self.counts = self.counts.plus(waits=1)
            return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        result = func(*args, **kwargs)
        if not any(one.is_meta for one in (*given, *_tensors(result))):
            return result
        sent = [one for one in given if not one.is_meta and (one.ndim or name in COPIES)]
        for one in sent:
            self.counts = self.counts.plus(
                copies=1, megabytes=one.nbytes / 1e6, waits=not kwargs.get("non_blocking", False)
            )
        if not (func.is_view or name in FREE or (sent and name in COPIES)):
            self.counts = self.counts.plus(launches=_calls(name, args))
        return result


def _calls(name: str, args: Any) -> int:
    """Return how many launches a call is: one, but of several dtypes one a tensor, as on a GPU."""
    several = args[0] if name.startswith("_foreach") else []
    return len(several) if len({one.dtype for one in several}) > 1 else 1


def _tensors(value: Any) -> list[Tensor]:
    return [one for one in tree_leaves(value) if isinstance(one, Tensor)]


def network(name: str) -> tuple[nn.Module, int]:
    """Return a network on the device, and its number of channels."""
    dataset = load_zoo().dataset("imagenet" if name == "resnet50" else SMALL)
    with torch.device("meta"):
        return create(name, dataset)[0].to("meta"), dataset.channels


def attack_step(spec: str, model: nn.Module, shape: tuple[int, ...]) -> Counts:
    """Return what the second step of an attack does."""
    radius = Fraction(16, 255)
    attack = Attack(compose(spec), Budget("linf", radius, radius / 2, 2))
    seen: list[Counts] = []
    labels = torch.zeros(shape[0], dtype=torch.int64)
    pool = Pool(torch.zeros(2, *shape[1:], dtype=torch.uint8), torch.arange(2))
    with Device() as device:
        images = torch.empty(shape, dtype=torch.uint8, device="meta")
        perturb(
            attack,
            model.eval(),
            images,
            labels,
            torch.arange(shape[0]),
            pool=pool,
            on_step=lambda *_: seen.append(device.counts),
        )
    return seen[1].since(seen[0])


def training_step(step: Callable[[], object], steps: int = PERIOD) -> Counts:
    """Return what a step of a training does in the mean, once its memory is there."""
    with Device() as device:
        step()
        before = device.counts
        for _ in range(steps):
            step()
        after: Counts = device.counts
    return after.since(before, steps)


def whole_step(**changes: Any) -> Counts:
    """Return what a step of a training does in the mean of an epoch, on small images that fit into memory.

    Args:
        changes: fields of its configuration, more than data set and architecture.
    """
    config = TrainConfig.of(dataset=SMALL, architecture="small_resnet18:width=8", epochs=1, **changes)
    dataset, count = load_zoo().dataset(SMALL), STEPS * config.batch_size
    images = torch.zeros(count, dataset.channels, dataset.size, dataset.size, dtype=torch.uint8)
    data = Batch(images, torch.zeros(count, dtype=torch.int64), torch.arange(count))
    classifier = untrained(config, dataset, None).classifier.to("meta")
    loop = Loop(config, classifier, Memory(data, dataset, config), Team(device=torch.device("meta")))
    with Device() as device, patch("torch.autocast", lambda *_, **__: nullcontext()):  # it has no meta
        loop.epoch(0, lambda at: None, lambda number: None)
    counts: Counts = device.counts
    return counts.since(Counts(), STEPS)


def losses(model: nn.Module, shape: tuple[int, ...]) -> Callable[[], Tensor]:
    """Return the closure of a batch."""
    images, labels = (
        torch.empty(shape, device="meta"),
        torch.empty(shape[0], dtype=torch.int64, device="meta"),
    )

    def closure() -> Tensor:
        model.zero_grad()
        loss = cross_entropy(model(images), labels)
        loss.backward()
        return loss.detach()

    return closure


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, foreach=True)


def bare_sam(model: nn.Module, closure: Callable[[], Tensor]) -> Callable[[], None]:
    """Return a step of SAM that does as little as can be: gradient, norm, up, gradient, back, step."""
    optimizer = sgd(model)
    parameters: list[Tensor] = [*model.parameters()]

    @torch.no_grad()
    def step() -> None:
        with torch.enable_grad():
            closure()
        gradients = [p.grad for p in parameters if p.grad is not None]
        factor = 0.05 / (torch.nn.utils.get_total_norm(gradients) + TINY)
        up = [*torch._foreach_mul(gradients, factor)]
        torch._foreach_add_(parameters, up)
        with torch.enable_grad():
            closure()
        torch._foreach_sub_(parameters, up)
        optimizer.step()

    return step


def show(name: str, counts: Counts, *goals: tuple[str, float, float]) -> None:
    """Print a row, and for each goal the ratio or number, and whether it is reached."""
    said = [f"{what} {got:.2f} (goal {goal}{', MISSED' if got > goal else ''})" for what, got, goal in goals]
    launches, copies, megabytes, waits = counts
    print(
        f"{name:10}{launches:10.0f}{copies:8.1f}{megabytes:10.1f}{waits:8.1f}   {'; '.join(said)}", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64, help="images")
    batch = parser.parse_args().batch
    for name, side in NETWORKS.items():
        model, channels = network(name)
        shape = (batch, channels, side, side)
        print(f"\n{name}, {batch} images of {side} pixels, a step")
        print(f"{'':10}{'launches':>10}{'copies':>8}{'MB':>10}{'waits':>8}")
        for spec in ATTACKS:
            counts = attack_step(spec, model, shape)
            show(spec or "bim", counts, ("waits", counts.waits, WAITS))
        model.train()
        closure = losses(model, shape)
        bare = training_step(bare_sam(model, closure))
        show("bare SAM", bare)
        found: dict[str, Counts] = {}
        for spec in MINIMIZERS:
            minimizer = Minimizer(read_rule(spec), model, sgd(model))
            found[spec] = training_step(partial(minimizer.step, closure))
            goals = {
                "sam": [("over bare SAM", found[spec].launches / bare.launches, SAM)],
                "gsam": [("over SAM", found[spec].launches / found.get("sam", bare).launches, GSAM)],
            }
            show(spec, found[spec], *goals.get(spec, []))
    print(f"\ntrainings of the small network, {batch} images of {SMALL}, a step of an epoch of {STEPS}")
    for name, changes in TRAININGS.items():
        if share := changes.get("micro_batch"):
            changes = {**changes, "micro_batch": int(batch * share)}
        counts = whole_step(batch_size=batch, **changes)
        show(name, counts, ("waits", counts.waits, WAITS))


def as_on_a_gpu() -> AbstractContextManager[object]:
    """Let `meta` have PyTorch's operators for many tensors inside the block, as a GPU has."""
    return patch(
        "torch.utils._foreach_utils._get_foreach_kernels_supported_devices", lambda: ["meta", "cuda"]
    )


if __name__ == "__main__":
    with as_on_a_gpu():
        main()
