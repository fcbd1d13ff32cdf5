"""What a GPU does, to be run where there is one: `python tests/benchmarks/gpu.py`, five minutes.

Attacks on a built-in model, with the same images on the CPU and twice on the device: are the bytes the same,
and how far are success rates apart? What share of an attack's time bare gradients take that torch.compile
made. Images a second of a training. And whether an attack that is killed with signal 9 ends with the bytes of
one that is not. `--tiny` does the same in seconds, on a CPU too, without a compiler, to see that it runs.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from helpers.processes import start_command
from transferzoo import load_images, load_model, read_attack
from transferzoo.attacks.engine import craft
from transferzoo.attacks.techniques.work_unit import Pool
from transferzoo.base.distributed import this_device
from transferzoo.base.fixed_math import fixed_math
from transferzoo.minimizers import Minimizer, read_rule
from transferzoo.models.classifier import Classifier, frozen
from transferzoo.models.optimize import optimize
from transferzoo.models.predict import predict

if TYPE_CHECKING:
    from collections.abc import Callable

MINIMIZERS = ("sgd", "sam", "gsam")
SURROGATE, TARGET = "resnet50-sgd", "vgg"
ROUNDS = 5


class Size(NamedTuple):
    """How much is done.

    Attributes:
        images: attacked, and of a training's batch.
        steps: of an attack.
        network: of timm, whose speed is measured.
        side: pixels of its images.
        backend: of torch.compile.
        attacks: whose outcomes are compared.
    """

    images: int
    steps: int
    network: str
    side: int
    backend: str
    attacks: tuple[str, ...]


MANY = ("bim", "mi", "mi+di+ti", "vt", "ssa", "sia", "bsr", "admix")
FULL = Size(256, 10, "resnet50", 224, "inductor", MANY)
TINY = Size(8, 2, "test_resnet", 32, "eager", ("mi", "bsr:copies=2"))


def outcomes(size: Size) -> None:
    """Print how the images of the device differ from those of the CPU, and from its own a second time."""
    data, device = load_images().select(range(size.images)), this_device()
    target = load_model(TARGET)
    print(f"{'attack':14}{'CPU, %':>8}{device.type + ', %':>10}{'pixels that differ, %':>23}   twice")
    for spec in size.attacks:
        attack = read_attack(spec, epsilon="16/255", steps=size.steps)

        def crafted(on: torch.device, attack=attack) -> Tensor:  # type: ignore[no-untyped-def]
            surrogate, images = load_model(SURROGATE).to(on), data.images.to(on)
            pool = Pool(data.images, data.labels)
            return craft(attack, surrogate, images, data.labels, data.ids, pool=pool).cpu()

        here, there, again = crafted(torch.device("cpu")), crafted(device), crafted(device)
        rates = [
            100 * float((predict(target, made) != data.labels).double().mean()) for made in (here, there)
        ]
        differ = 100 * float((here != there).double().mean())
        same = "the same bytes" if torch.equal(there, again) else "OTHER BYTES"
        print(f"{spec:14}{rates[0]:>8.1f}{rates[1]:>10.1f}{differ:>23.1f}   {same}", flush=True)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the least seconds of some work, of a few rounds after a first."""
    found = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - started)
    return min(found[1:])


def speed(size: Size) -> None:
    """Print what share of an attack's time compiled gradients take by themselves, and a training's speed."""
    device = this_device()
    images = torch.randint(0, 256, (size.images, 3, size.side, size.side), dtype=torch.uint8, device=device)
    labels = torch.randint(0, 10, (size.images,), device=device)
    network = timm.create_model(size.network, num_classes=10)
    model = Classifier(network, channels=3).to(device).to(memory_format=torch.channels_last).eval()
    ids, attack = torch.arange(size.images), read_attack("mi", epsilon="16/255", steps=size.steps)
    for precision in ("fp32", "bf16"):
        ready = optimize(model, images[:4], precision=precision)
        compiled = torch.compile(ready, backend=size.backend)
        pixels = (images / 255).requires_grad_()

        def gradients(compiled=compiled, pixels=pixels) -> None:  # type: ignore[no-untyped-def]
            for _ in range(size.steps):
                torch.autograd.grad(cross_entropy(compiled(pixels).float(), labels), pixels)

        with frozen(ready), fixed_math(device):
            bare = seconds(gradients, device)
        took = seconds(lambda ready=ready: craft(attack, ready, images, labels, ids), device)  # type: ignore[misc]
        print(
            f"{size.network} {precision}: mi {size.images / took:.1f} images a second, "
            f"bare compiled gradients take {100 * bare / took:.0f} % of its time",
            flush=True,
        )
    for spec in MINIMIZERS:
        print(f"{size.network} {spec}: {training(spec, network, images, labels, device):.1f} images a second")


def training(spec: str, network: nn.Module, images: Tensor, labels: Tensor, device: torch.device) -> float:
    """Return the images a second of steps of a minimizer."""
    pixels = (images / 255).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.train().parameters(), lr=1e-3, momentum=0.9, foreach=True)
    minimizer = Minimizer(read_rule(spec), network, optimizer)

    def closure() -> Tensor:
        network.zero_grad()
        loss = cross_entropy(network(pixels), labels)
        loss.backward()
        return loss.detach()

    return len(images) / seconds(lambda: minimizer.step(closure), device)


def resumed(size: Size) -> None:
    """Print whether an attack that is killed after its first work unit, and begun again, ends as another."""
    command = ["attack", "-s", SURROGATE, "-t", TARGET, "-a", "mi", "--images", str(size.images)]
    command += ["--batch-size", str(size.images // 8), "--jobs", "1"]
    found = []
    with tempfile.TemporaryDirectory() as place:
        for kills in (False, True):
            folder = Path(place) / str(kills)
            folder.mkdir()
            start = partial(start_command, command, folder, TRANSFERZOO_CACHE=str(folder / "cache"))
            if kills:
                killed = start()
                while not [*folder.rglob("runs/*/images/**/*.safetensors")] and killed.is_alive():
                    time.sleep(0.01)
                killed.kill()
                killed.join()
                if killed.exitcode != -signal.SIGKILL:
                    sys.exit("it was over before it could be killed: give it more images")
            ended = start()
            ended.join()
            if ended.exitcode:
                sys.exit(f"the attack failed: {(folder / 'said.err').read_text()}")
            files = sorted((*folder.rglob("runs/*/images/**/*.safetensors"), *folder.rglob("records.jsonl")))
            found.append([file.read_bytes() for file in files])
    same = "the same bytes" if found[0] == found[1] else "OTHER BYTES"
    print(f"killed by signal 9 and begun again: {same} in {len(found[0])} files", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true")
    size = TINY if parser.parse_args().tiny else FULL
    device = this_device()
    if device.type == "cpu":
        torch.set_num_threads(1)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, PyTorch {torch.__version__}")
    outcomes(size)
    speed(size)
    resumed(size)


if __name__ == "__main__":
    main()
