"""A user's own model with few images: `python tests/benchmarks/five_classes.py DATA [FOLDER] [OPTION …]`.

DATA holds CIFAR-10 as the Hub has it. Five of its classes make a network, trained here on 5,000 images by a
plain loop and exported to ONNX, and 400 others, 80 a class, as PNGs in class folders: that is what a user
has. `audit … --attackers adapted` has to end within 15 minutes on two cores, to print how often each
surrogate it trains is right on held-out images, and to find an attacker that fools more than random noise
does. What is made lies in FOLDER, a temporary one where none is given; options are handed on to the audit.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers.exported import Normalised, export
from transferzoo import load_images, load_zoo

CLASSES = ("airplane", "automobile", "cat", "horse", "ship")
TRAINED_ON, A_CLASS, EPOCHS, BATCH = 5_000, 80, 6, 50
MOST = 15
"""Minutes."""


def network() -> nn.Module:
    """Return a small network of convolutions, 32 × 32 pixels → logits."""
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, len(CLASSES)))


def some(data: Path, split: str, a_class: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first images of each class, uint8 (N, 3, 32, 32), and their labels among the five."""
    names, every = load_zoo().dataset("cifar10").classes, load_images("cifar10", split, data)
    places = [(every.labels == names.index(name)).nonzero()[:a_class, 0] for name in CLASSES]
    return every.images[torch.cat(places)], torch.arange(len(CLASSES)).repeat_interleave(a_class)


def make_model(data: Path, file: Path) -> None:
    """Train the user's network and export it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, labels = some(data, "train", TRAINED_ON // len(CLASSES))
    model = Normalised(network(), 0.5, 0.25)
    steps = EPOCHS * (len(images) // BATCH)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images))[: len(images) // BATCH * BATCH].split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[chosen] / 255), labels[chosen]).backward()
            optimizer.step()
            schedule.step()
    export(model, file, 1, 3, 32, 32)


def make_images(data: Path, home: Path) -> None:
    """Write the user's images as PNGs, a folder a class."""
    images, labels = some(data, "test", A_CLASS)
    for place, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        folder = home / CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{place:03}.png")


def main() -> int:
    data, *others = sys.argv[1:]
    with tempfile.TemporaryDirectory() as place:
        home = Path(others.pop(0) if others and not others[0].startswith("-") else place)
        home.mkdir(exist_ok=True)
        if not (home / "model.onnx").exists():
            make_model(Path(data), home / "model.onnx")
            make_images(Path(data), home / "val")
        words = ["audit", "model.onnx", "--data", "val", "--attackers", "adapted", *others]
        print(f"transferzoo {' '.join(words)}; load {os.getloadavg()[0]:.1f}", flush=True)
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-P", "-m", "transferzoo", *words],
            cwd=home,
            env={**os.environ, "TRANSFERZOO_CACHE": str(home / "cache"), "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        minutes = (time.monotonic() - began) / 60
        print(done.stderr + done.stdout, flush=True)
        found = json.loads((home / "audits" / "model" / "audit.json").read_text())
    best, noise = found["held_out"], found["controls"]["noise"]
    told = re.findall(r"on [\d.]+% of \d+ held-out images", done.stderr)
    trained = {
        name for one in found["attackers"] for name in one["surrogate"].rpartition("/")[2].split(" & ")
    }
    checks = {
        f"{minutes:.1f} minutes, at most {MOST}": minutes <= MOST,
        f"{len(told)} surrogates, each with its held-out accuracy": len(told) == len(trained) > 0,
        f"best attacker {best['rate']:.1%}, held out, lower bound {best['low']:.1%}; noise "
        f"{noise['rate']:.1%}, upper bound {noise['high']:.1%}": best["low"] > noise["high"],
    }
    for sentence, holds in checks.items():
        print(f"{'ok' if holds else 'WRONG'}: {sentence}", flush=True)
    return sum(not holds for holds in checks.values())


if __name__ == "__main__":
    sys.exit(main())
