"""How much memory attacks need above their weights: `python tests/benchmarks/memory.py`, 20 minutes.

Generated images of 224 pixels, networks with random weights that a bias lets say class 0, which is the label
of all. A tiny one attacks 200, 800 and 3,200 images in work units of 20, as the zoo's ImageNet has them: more
images may cost little more than their pixels. What counts is the median of three interleaved rounds, as the
peaks of two processes differ from one run to another by as much as 600 images have pixels. VGG-19 attacks 40
in work units of 4.

Memory is what all processes of a command hold, pages that they share counted once (Pss of Linux), without
those of files, which the system may drop, and which other processes of the machine share. It is looked at
once a second; the kernel knows what each process has held at most since, and these maxima are added up. So no
peak of a process that lives on is missed, and those of several count as if they met.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

SIZE, CLASSES = 224, 10
COUNTS, VGG_IMAGES, ROUNDS = (200, 800, 3200), 40, 3
GROWTH, VGG = 1.2, 2.0
"""Bytes for a byte of pixels; gigabytes."""
LOOKS, MAKE = 1.0, "make"
ZOO = """
datasets:
  made:
    classes: {classes}
    channels: 3
    size: {size}
    mean: [0.5, 0.5, 0.5]
    std: [0.25, 0.25, 0.25]
    splits: {{test: ["local:images"]}}
    attack: {{split: test, epsilon: 8/255, batch_size: 20}}
    licence: MIT
    origin: made here
models:
  made:
    test_resnet: {{roles: [surrogate, target], source: "local:test_resnet"}}
    vgg19: {{roles: [surrogate, target], source: "local:vgg19"}}
"""


def save_network(name: str, folder: Path) -> None:
    """Write a checkpoint of one of timm's networks with random weights."""
    import timm
    import torch
    from timm.models import save_for_hf

    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=CLASSES)
    with torch.no_grad():
        model.get_classifier().bias[0] += 3  # type: ignore[operator]
    reads = {"input_size": (3, SIZE, SIZE), "mean": (0.5,) * 3, "std": (0.25,) * 3}
    save_for_hf(model, str(folder), model_config={"pretrained_cfg": reads}, safe_serialization=True)


def save_images(counts: tuple[int, ...], root: Path) -> None:
    """Write JPEGs of coloured patches, all of class 0, into a folder for each count; the same ones again."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    for count in counts:
        (root / f"images{count}" / "0").mkdir(parents=True)
    first, *others = sorted(counts, reverse=True)
    for index in range(first):
        colours = generator.integers(0, 256, (14, 14, 3), dtype=np.uint8)
        image = Image.fromarray(colours).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        file = root / f"images{first}" / "0" / f"{index:05}.jpg"
        image.save(file, quality=90)
        for count in others:
            if index < count:
                (root / f"images{count}" / "0" / file.name).hardlink_to(file)


def make(root: Path) -> None:
    """Write zoo file, networks and images."""
    (root / "zoo.yaml").write_text(ZOO.format(classes=CLASSES, size=SIZE))
    for name in ("test_resnet", "vgg19"):
        save_network(name, root / name)
    save_images((VGG_IMAGES, *COUNTS), root)


def peak_of(command: list[str], root: Path) -> int:
    """Return the memory that a command needs at its peak, in bytes."""
    environment = {**os.environ, "TRANSFERZOO_CACHE": str(root / "cache")}
    process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        most = max(most, _all_hold(_family(process.pid)))
        time.sleep(LOOKS)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return most


def _family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(other for child in children for other in _family(int(child)))]


def _all_hold(family: list[int]) -> int:
    """Return the sum of what processes hold; they stand still, as one that ends would count twice."""
    try:
        _send(signal.SIGSTOP, family)
        return sum(map(_most_held, family))
    finally:
        _send(signal.SIGCONT, family)


def _send(number: signal.Signals, family: list[int]) -> None:
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _most_held(pid: int) -> int:
    """Return what a process has held at most since the last look, without the part of others in it."""
    place = Path("/proc", str(pid))
    try:
        peak = _bytes_of("VmHWM", place / "status")
        (place / "clear_refs").write_text("5")  # VmHWM begins anew
        rollup = place / "smaps_rollup"
        own = _bytes_of("Pss_Anon", rollup) + _bytes_of("Pss_Shmem", rollup)
        return peak - _bytes_of("Rss", rollup) + own
    except (OSError, StopIteration):  # it has ended
        return 0


def _bytes_of(name: str, file: Path) -> int:
    lines = file.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def attack(root: Path, model: str, images: int, *options: str) -> int:
    """Return what an attack needs above its weights, in bytes."""
    words = [sys.executable, "-P", "-m", "transferzoo", "attack", "--zoo", "zoo.yaml", "--dataset", "made"]
    words += ["-s", model, "-t", model, "--images", str(images), "--data", f"images{images}", *options]
    weights = (root / model / "model.safetensors").stat().st_size
    return peak_of([*words, "--runs", f"runs{time.time_ns()}"], root) - weights


def judged(value: float, goal: float) -> str:
    return f"{value:.2f} (≤ {goal:.2f}){'' if value <= goal else ' ✗'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", nargs="*", default=[], help="as of `transferzoo attack`, one by one")
    jobs = [["--jobs", number] for number in parser.parse_args().jobs] or [[]]
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        subprocess.run([sys.executable, __file__, MAKE, root], check=True)
        for options in jobs:
            title = " ".join(options) or "processes as usual"
            sizes = [3 * SIZE**2 * count for count in COUNTS]
            rounds = [
                [attack(root, "test_resnet", count, "--steps", "1", *options) for count in COUNTS]
                for _ in range(ROUNDS)
            ]
            peaks = [statistics.median(those) for those in zip(*rounds, strict=True)]
            for count, size, peak in zip(COUNTS, sizes, peaks, strict=True):
                print(f"{title}: {count} images of {size / 1e6:.0f} MB need {peak / 1e6:.0f} MB", flush=True)
            for few, many in ((0, 1), (1, 2)):
                growth = (peaks[many] - peaks[few]) / (sizes[many] - sizes[few])
                what = f"from {COUNTS[few]} to {COUNTS[many]} images, bytes a byte of pixels"
                print(f"{title}: {what}: {judged(growth, GROWTH)}", flush=True)
            found = attack(root, "vgg19", VGG_IMAGES, "--batch-size", "4", "--steps", "2", *options)
            print(f"{title}: vgg19, {VGG_IMAGES} images: {judged(found / 1e9, VGG)} GB", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == [MAKE]:
        make(Path(sys.argv[2]))
    else:
        main()
