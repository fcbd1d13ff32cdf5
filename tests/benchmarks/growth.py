"""How cost grows, and what ImageNet would take: `python tests/benchmarks/growth.py`, five minutes.

Attacks on built-in models with more images, surrogates or targets than the first, each in a process of its
own, from an empty cache, in one thread: the processor's seconds, start-up included, memory at its peak, and
bytes of the run folder. Then, in one thread, the seconds of a gradient and of a prediction of ResNet-50 at
224 pixels, of reading a JPEG and of hashing its pixels. From these follows the plan for ImageNet on this
machine. A GPU's times follow from what its maker says it multiplies, and from the share of that which is
assumed to be reached: none was measured.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import timm
import torch
from PIL import Image
from torch import Tensor

from transferzoo import load_images
from transferzoo.base.durations import duration
from transferzoo.models.classifier import Classifier, frozen
from transferzoo.models.optimize import optimize

if TYPE_CHECKING:
    from collections.abc import Callable

SURROGATES = ("resnet50-sgd", "resnet50-lsam")
TARGETS = ("vgg", "densenet", "vit", "resnet18")
GRIDS = ((200, 1, 2), (400, 1, 2), (200, 2, 2), (200, 1, 4))
"""Images, surrogates and targets of each attack."""
IMAGES, TARGET_COUNT, SURROGATE_COUNT, STEPS = 50_000, 12, 3, 10
"""The plan: ImageNet's validation images, MI of ten steps."""
PIXELS = 3 * 224 * 224
FLOP = 2 * 4.1e9
"""Of a prediction of ResNet-50: 4.1·10⁹ multiplications, and as many additions. A gradient takes twice."""
PEAK, REACHED = 67e12, 0.3
"""Float32 operations a second of an H200 outside its tensor cores, as NVIDIA says, and the share assumed."""


@dataclass(frozen=True)
class Rates:
    """Seconds of one image, in one process.

    Attributes:
        gradient: of the loss by the image.
        prediction: forward pass.
        reading: of a JPEG.
        hashing: of its pixels.
    """

    gradient: float
    prediction: float
    reading: float
    hashing: float

    def plan(self, processes: int) -> list[float]:
        """Return the seconds of reading and hashing, of attacking and of measuring, on so many processes.

        Each process reads all images. Predictions are of the clean images, those with noise, and those of
        each surrogate.
        """
        gradients = IMAGES * SURROGATE_COUNT * STEPS
        predictions = IMAGES * TARGET_COUNT * (2 + SURROGATE_COUNT)
        return [
            IMAGES * (self.reading + self.hashing),
            gradients * self.gradient / processes,
            predictions * self.prediction / processes,
        ]


def attack(images: int, surrogates: int, targets: int, folder: Path) -> tuple[float, float, float]:
    """Return the seconds of an attack, its memory at the peak and the size of its run folder, in MB."""
    named = [part for name in SURROGATES[:surrogates] for part in ("-s", name)]
    named += [part for name in TARGETS[:targets] for part in ("-t", name)]
    flags = ["-a", "bim", "--images", str(images), "--jobs", "1", "--images-correct-for", "none"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TRANSFERZOO_CACHE": str(folder / "cache")}
    command = [sys.executable, "-P", "-m", "transferzoo", "attack", *named, *flags]
    child = os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", 'cd "$0" && exec "$@" >/dev/null 2>error', str(folder), *command],
        environment,
    )
    _, status, used = os.wait4(child, 0)
    if status:
        sys.exit((folder / "error").read_text(encoding="utf-8"))
    size = sum(path.stat().st_size for path in (folder / "runs").rglob("*") if path.is_file())
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, size / 1e6


def measured() -> Rates:
    """Return the rates of this machine, in one thread."""
    torch.set_num_threads(1)
    batch = torch.randint(0, 256, (8, 3, 224, 224), dtype=torch.uint8)
    model = Classifier(timm.create_model("resnet50"), channels=3).to(memory_format=torch.channels_last).eval()
    ready = optimize(model, batch[:2], precision="fp32")
    pixels = (batch / 255).requires_grad_()

    def predict() -> Tensor:
        with torch.no_grad():
            return model(pixels)  # type: ignore[no-any-return]

    with frozen(ready):
        gradient = seconds(lambda: torch.autograd.grad(ready(pixels).sum(), pixels)) / len(batch)
    prediction = seconds(predict) / len(batch)
    with tempfile.TemporaryDirectory() as place:
        count = 64
        for number in range(count):
            folder = Path(place) / f"class{number % 2}"
            folder.mkdir(exist_ok=True)
            noise = torch.randint(0, 256, (12, 16, 3), dtype=torch.uint8).numpy()
            Image.fromarray(noise).resize((500, 375)).save(folder / f"{number}.jpg", quality=90)
        reading = seconds(lambda: load_images(place)) / count
    hashing = seconds(lambda: hashlib.sha256(bytes(count * PIXELS)).digest()) / count
    return Rates(gradient, prediction, reading, hashing)


def seconds(work: Callable[[], object]) -> float:
    """Return the processor's seconds of some work in one thread: the median of three rounds after a first."""
    rounds = []
    for _ in range(4):
        started = time.process_time()
        work()
        rounds.append(time.process_time() - started)
    return statistics.median(rounds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grids", type=int, default=len(GRIDS), help="how many attacks")
    grids = GRIDS[: parser.parse_args().grids]
    print(
        f"{'images':>6}{'surrogates':>12}{'targets':>9}{'seconds':>9}{'peak, MB':>10}{'run folder, MB':>16}"
    )
    for images, surrogates, targets in grids:
        with tempfile.TemporaryDirectory() as place:
            used, memory, size = attack(images, surrogates, targets, Path(place))
        print(f"{images:>6}{surrogates:>12}{targets:>9}{used:>9.1f}{memory:>10.0f}{size:>16.1f}", flush=True)
    here, processors = measured(), len(os.sched_getaffinity(0))
    gpu = Rates(2 * FLOP / PEAK / REACHED, FLOP / PEAK / REACHED, here.reading, here.hashing)
    print(
        f"\nAn image, in one thread: gradient of ResNet-50 {here.gradient:.3f} s, "
        f"prediction {here.prediction:.3f} s,\n"
        f"reading a JPEG {here.reading:.4f} s, hashing its pixels {here.hashing:.5f} s"
    )
    print(
        f"\nImageNet: {IMAGES:,} images, {SURROGATE_COUNT} surrogates (MI, {STEPS} steps), {TARGET_COUNT} "
        "targets, all of them ResNet-50"
    )
    print(f"{'':24}{'reading':>12}{'attacking':>12}{'measuring':>12}{'pixels in memory':>19}")
    rows = (
        (f"this CPU, {processors} processes", here, processors, 1),
        ("one GPU (assumed)", gpu, 1, 1),
        ("eight GPUs (assumed)", gpu, 8, 8),
    )
    for name, rates, processes, copies in rows:
        times = "".join(f"{duration(each):>12}" for each in rates.plan(processes))
        print(f"{name:24}{times}{copies * IMAGES * PIXELS / 1e9:>16.1f} GB")
    print(f"Adversarial images on disk: {SURROGATE_COUNT * IMAGES * PIXELS / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
