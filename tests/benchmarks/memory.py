"""How much memory attacks need above their weights: `python tests/benchmarks/memory.py`, some minutes.

Generated images of 224 pixels, networks with random weights that a bias lets say class 0, which is the label
of all. A tiny one attacks 200, 800 and 3,200 images in work units of 20, as the zoo's ImageNet has them: more
images may cost little more than their pixels. VGG-19 attacks 40 in work units of 4. Memory is the largest
resident set of one process (`getrusage`); of several at a time their sum, where pages that they share count
once (Pss of Linux), looked at ten times a second. Another process makes the input: what a program has in
memory when it starts a command counts as the command's, too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZE, CLASSES = 224, 10
COUNTS, VGG_IMAGES = (200, 800, 3200), 40
GROWTH, VGG = 1.2, 2.0
"""Bytes for a byte of pixels; gigabytes."""
LOOKS, MAKE = 0.1, "make"
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


def save_images(count: int, folder: Path) -> None:
    """Write JPEGs of coloured patches, all of class 0."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    (folder / "0").mkdir(parents=True)
    for index in range(count):
        colours = generator.integers(0, 256, (14, 14, 3), dtype=np.uint8)
        image = Image.fromarray(colours).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        image.save(folder / "0" / f"{index:05}.jpg", quality=90)


def make(root: Path) -> None:
    """Write zoo file, networks and images."""
    (root / "zoo.yaml").write_text(ZOO.format(classes=CLASSES, size=SIZE))
    for name in ("test_resnet", "vgg19"):
        save_network(name, root / name)
    for count in (VGG_IMAGES, *COUNTS):
        save_images(count, root / f"images{count}")


def peak_of(command: list[str], root: Path) -> float:
    """Return the memory that a command needs at its peak, in bytes."""
    environment = {**os.environ, "TRANSFERZOO_CACHE": str(root / "cache")}
    process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL)
    most = 0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if len(family := _family(process.pid)) > 1:
            most = max(most, sum(map(_share, family)))
        time.sleep(LOOKS)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return max(most, usage.ru_maxrss * 1024)


def _family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(other for child in children for other in _family(int(child)))]


def _share(pid: int) -> int:
    """Return the bytes of a process, its part of those that it shares with others."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def attack(root: Path, model: str, images: int, *options: str) -> float:
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
            peaks = []
            for count, size in zip(COUNTS, sizes, strict=True):
                peaks.append(attack(root, "test_resnet", count, "--steps", "2", *options))
                need = f"{peaks[-1] / 1e6:.0f} MB"
                print(f"{title}: {count} images of {size / 1e6:.0f} MB need {need}", flush=True)
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
