"""Make the built-in zoo: `python tests/scripts/make_zoo.py CHECKPOINTS [--data PATH] [--jobs 2]`.

Trains every built-in model of zoo.yaml by its recipe into CHECKPOINTS/FOLDER, the validation targets first,
copies it into the package and writes the manifest: digest, licence, recipe and accuracy of each. What is
finished, in the package or in CHECKPOINTS, is taken as it is. Every training has one thread, so that the
bytes do not depend on the number of processors.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferzoo.base.atomic import sha256, write_json
from transferzoo.base.train_config import TrainConfig
from transferzoo.models import checkpoint
from transferzoo.models.recipe_file import read_recipe
from transferzoo.training.recipes import plan
from transferzoo.zoo.reader import load_zoo
from transferzoo.zoo.schema import assets

if TYPE_CHECKING:
    from transferzoo.zoo.schema import ModelSpec

ZOO = load_zoo()


def in_the_package(model: ModelSpec) -> bool:
    """Return whether the package holds what the model's recipe says."""
    recipe = read_recipe(model.folder)
    return recipe is not None and TrainConfig(**recipe["config"]) == plan(ZOO, model.recipe, {}).config


def train(recipe: str, folder: Path, data: Path | None) -> None:
    """Train a recipe through the command line; at once where it is finished."""
    root = ["--data", str(data)] if data else []
    command = [sys.executable, "-m", "transferzoo", "train", "--recipe", recipe, "--output", str(folder)]
    subprocess.run([*command, *root], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def install(model: ModelSpec, folder: Path) -> None:
    """Copy a checkpoint into the package; what it was trained on is the data set, wherever that lay."""
    model.folder.mkdir(parents=True, exist_ok=True)
    for name in (checkpoint.WEIGHTS, checkpoint.CONFIG):
        shutil.copyfile(folder / name, model.folder / name)
    recipe = read_recipe(folder) or {}
    write_json(model.folder / checkpoint.RECIPE, {key: recipe[key] for key in recipe if key != "images"})


def line(model: ModelSpec) -> dict[str, Any]:
    """Return a model's line of the manifest."""
    weights, recipe = model.folder / checkpoint.WEIGHTS, read_recipe(model.folder)
    assert recipe is not None
    return {
        "sha256": sha256(weights),
        "bytes": weights.stat().st_size,
        "licence": model.licence,
        "origin": model.origin,
        "recipe": model.recipe,
        **recipe["accuracy"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args()
    models = {name: m for name, m in ZOO.models.items() if m.source.state == "built-in"}

    def make(model: ModelSpec) -> None:
        if not in_the_package(model):
            folder = asked.checkpoints / model.folder.name
            train(str(model.recipe), folder, asked.data)
            install(model, folder)

    with ThreadPoolExecutor(asked.jobs) as pool:
        judges = [m for m in models.values() if "validator" in m.roles]
        list(pool.map(make, judges))
        folders = {m.folder: m for m in models.values() if m not in judges}  # some have two names
        list(pool.map(make, folders.values()))
    lines = {name: line(model) for name, model in models.items()}
    for name, entry in lines.items():
        print(f"{name}: {entry['accuracy']:.2%}, {entry['bytes']:,} bytes")
    write_json(assets() / "manifest.json", {"models": lines})


if __name__ == "__main__":
    main()
