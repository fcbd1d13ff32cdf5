"""Training from a folder like ImageNet's: `python tests/benchmarks/stream.py`, some two minutes.

Prints how fast images come with 1 and 2 workers, how much memory that takes with 1,000 and 4,000 images, and
whether a run that was killed ends with the weights of one that was not.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIZE, CLASSES, IMAGES, TIMES = 256, 10, 1000, 4
ROUNDS = 3
EPOCHS = 2


def make(root: Path) -> None:
    """Write class folders and the same images as Parquet shards, each once and `TIMES` times over."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    generator = np.random.default_rng(0)
    for index in range(IMAGES):
        colours = generator.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        image = Image.fromarray(colours).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        noise = generator.integers(-12, 13, (SIZE, SIZE, 3))
        image = Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
        for copy in range(TIMES):
            for number in {1, TIMES} if copy == 0 else {TIMES}:
                home = root / f"folder{number}" / "train" / f"n{index % CLASSES:08}"
                home.mkdir(parents=True, exist_ok=True)
                file = home / f"{index:04}_{copy}.JPEG"
                if copy or number > 1:
                    os.link(root / "folder1" / "train" / home.name / f"{index:04}_0.JPEG", file)
                else:
                    image.save(file, quality=90)
    for number in (1, TIMES):
        (root / f"parquet{number}").mkdir()
        for part in range(number):
            files = sorted((root / "folder1" / "train").rglob("*.JPEG"))
            table = pa.table(
                {
                    "image": [{"bytes": file.read_bytes(), "path": None} for file in files],
                    "label": [int(file.parent.name[1:]) for file in files],
                }
            )
            shard = root / f"parquet{number}" / f"train-{part:05}-of-{number:05}.parquet"
            pq.write_table(table, shard, row_group_size=100)


def opened(root: Path, size: int, workers: int, **changes: Any) -> Any:
    """Return (configuration, data set, feed)."""
    from transferzoo.base.train_config import TrainConfig
    from transferzoo.training import stream
    from transferzoo.zoo.schema import AttackDefaults, DatasetSpec

    dataset = DatasetSpec(
        name="made",
        classes=tuple(str(label) for label in range(CLASSES)),
        channels=3,
        size=size,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        splits={"train": ()},
        attack=AttackDefaults(split="train", epsilon="4/255"),
        licence="MIT",
        origin="made here",
    )
    values: dict[str, Any] = {
        "dataset": "made",
        "architecture": "resnet10t",
        "epochs": EPOCHS,
        "batch_size": 50,
        "learning_rate": 0.02,
        "validation": 100,
        "auto_augment": "rand-m9-mstd0.5",
        "mixup": 0.2,
        "cutmix": 1.0,
    }
    config = TrainConfig.of(**values | changes)
    return config, dataset, stream.open_stream(dataset, "train", root, config, workers=workers)


def read(root: str, workers: str) -> None:
    """Read `ROUNDS` epochs at 224 pixels without training; print images/s and peak memory in MB."""
    from transferzoo.datasets import shards

    shards.WINDOW = 2**23  # the 1,000 images are larger
    started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, _, feed = opened(Path(root), 224, int(workers), validation=0, auto_augment="", mixup=0, cutmix=0)
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    speeds = []
    for epoch in range(ROUNDS if int(workers) else 1):
        begun, count = time.monotonic(), 0
        for images, _ in feed.epoch(epoch, 0, 1):
            count += len(images)
        speeds.append(count / (time.monotonic() - begun))
    peak, worker = (
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = 1000 * (used.ru_utime + used.ru_stime) / feed.count / len(speeds)
    megabytes = [round(kilobytes / 1024) for kilobytes in (started, loaded, peak, worker)]
    print(json.dumps({"count": feed.count, "cost": cost, "speeds": speeds, "mb": megabytes}))


def train(root: str, folder: str) -> None:
    """Train at 64 pixels with two workers."""
    import torch

    from transferzoo.training import trainer

    torch.set_num_threads(1)
    config, dataset, feed = opened(Path(root), 64, 2)
    recipe = trainer.train(config, dataset, feed, None, Path(folder))
    print(recipe["weights_sha256"], recipe["validation"]["accuracy"])


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate()
    assert process.returncode == 0, f"exit code {process.returncode}"
    return out.strip()


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        make(root)
        for kind in ("folder", "parquet"):
            for workers in (1, 2):
                found = json.loads(said(start("read", root / f"{kind}1", workers)))
                rates = sorted(found["speeds"])
                speed = f"{rates[len(rates) // 2]:.0f} images/s ({rates[0]:.0f} to {rates[-1]:.0f})"
                speed += f", {found['cost']:.1f} ms of CPU each"
                print(f"{kind}, {workers} worker(s), 224 pixels: {speed}", flush=True)
            for number in (1, TIMES):
                found = json.loads(said(start("read", root / f"{kind}{number}", 2)))
                _, loaded, peak, worker = found["mb"]
                numbers = f"{loaded} MB with the index, {peak} MB at most, a worker {worker} MB"
                print(f"{kind}, {found['count']:,} images: {numbers}", flush=True)
        begun = time.monotonic()
        whole = said(start("train", root / "folder1", root / "whole"))
        taken = time.monotonic() - begun
        print(f"undisturbed, {EPOCHS} epochs: {whole}, {taken:.0f} s", flush=True)
        process, state = start("train", root / "folder1", root / "killed"), root / "killed" / "resume.pt"
        while not state.exists():
            time.sleep(0.05)
            assert process.poll() is None
        time.sleep(taken / EPOCHS / 4)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (root / "killed" / "recipe.json").exists()
        begun = time.monotonic()
        resumed = said(start("train", root / "folder1", root / "killed"))
        same = "the same weights" if resumed == whole else "OTHER WEIGHTS"
        print(f"killed in epoch 2 and resumed: {resumed}, {time.monotonic() - begun:.0f} s: {same}")


if __name__ == "__main__":
    command, *rest = [*sys.argv[1:], ""]
    if command == "read":
        read(*rest[:2])
    elif command == "train":
        train(*rest[:2])
    else:
        main()
