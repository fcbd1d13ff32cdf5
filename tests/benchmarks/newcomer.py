"""A newcomer's first table, on real photographs: `python tests/benchmarks/newcomer.py DATA [FOLDER]`.

Five classes of CIFAR-10 play both parts. A network of timm is trained on training images as a script
elsewhere does, and saved with `torch.save`; test images, which it never saw, become a folder of photographs.
Then one command is given, in an empty home:

    transferzoo attack -s auto -t model.pt --architecture resnet18 --data photos/

Goals: the table within ten minutes on two cores; each surrogate as right on held-out images as 80 % of what
the target is; the best rate's lower bound above random noise.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.photographs import finetuned
from transferzoo import load_images

CLASSES = ("airplane", "automobile", "bird", "cat", "deer")
"""The first five of CIFAR-10."""
PHOTOS, TRAINED_ON = 300, 1000
"""A class: the newcomer's photographs, and those that the network was trained on."""
EPOCHS = 8
MINUTES, SHARE = 10, 0.8
COMMAND = "attack -s auto -t model.pt --architecture resnet18 --data photos/"


def write_photos(folder: Path, data: Path) -> None:
    """Write the first test images of each class as PNGs, in a folder of its name."""
    test = load_images("cifar10", "test", data)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for place, image in enumerate(test.images[test.labels == label][:PHOTOS]):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / name / f"{place:03}.png")


def write_model(file: Path, data: Path) -> None:
    """Train on the training images of these classes."""
    train = load_images("cifar10", "train", data)
    places = [(train.labels == label).nonzero()[:TRAINED_ON, 0] for label in range(len(CLASSES))]
    known = torch.cat(places)
    finetuned(file, train.images[known], train.labels[known], EPOCHS)


def run(home: Path, *flags: str) -> tuple[str, str, float, float]:
    """Return what the command prints on stdout and stderr, its seconds on the clock and of the processors."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("TRANSFERZOO", "XDG"))}
    before, started = os.times(), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "transferzoo", *COMMAND.split(), *flags],
        cwd=home,
        env={**kept, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds, after = time.monotonic() - started, os.times()
    if done.returncode:
        raise SystemExit(done.stderr)
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return done.stdout, done.stderr, seconds, used


def checks(said: str, found: dict[str, Any], seconds: float, cpu: float) -> dict[str, bool]:
    """Return what was aimed at, in words with the figures, and whether it holds."""
    held_out = {
        name: float(right) / 100
        for name, right in re.findall(
            r"^(\S+): right on ([\d.]+)% of \d+ held-out images", said, re.MULTILINE
        )
    }
    best = max(found["records"], key=lambda record: record["rate"])
    noise = max(record["rate"] for record in found["noise"])
    target, least = best["target_accuracy"], min(held_out.values(), default=0)
    return {
        f"{seconds / 60:.1f} minutes, {cpu / 60:.1f} of processors": seconds <= 60 * MINUTES,
        f"{len(held_out)} surrogates, right on {least:.1%} at least, the target on {target:.1%}": (
            least >= SHARE * target
        ),
        f"best rate {best['rate']:.1%} ({best['low']:.1%} to {best['high']:.1%}), by {best['attack']} on "
        f"{best['surrogate']}; noise {noise:.1%}": best["low"] > noise,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with CIFAR-10 as Parquet")
    parser.add_argument("home", type=Path, nargs="?", help="where all is kept; a temporary folder otherwise")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = (given.home or Path(temporary)).resolve()
        if not (home / "model.pt").exists():
            write_photos(home / "photos", given.data)
            write_model(home / "model.pt", given.data)
        load = os.getloadavg()[0]
        print(
            f"transferzoo {COMMAND}; {len(os.sched_getaffinity(0))} processors, load {load:.1f}", flush=True
        )
        table, said, seconds, cpu = run(home)
        again, *_ = run(home, "--json")
    print(said, table, sep="\n")
    found = checks(said, json.loads(again), seconds, cpu)
    for sentence, holds in found.items():
        print(f"{'ok' if holds else 'WRONG'}: {sentence}")
    return sum(not holds for holds in found.values())


if __name__ == "__main__":
    sys.exit(main())
