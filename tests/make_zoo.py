"""Make the built-in zoo: `python tests/make_zoo.py CHECKPOINTS [--data PATH]`.

Trains every built-in model of zoo.yaml by its recipe into CHECKPOINTS/NAME (what is finished there is taken
as it is), copies it into the package and writes the manifest: digest, licence, recipe and accuracy of each.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferzoo import checkpoint
from transferzoo.atomic import sha256, write_json
from transferzoo.specs import assets
from transferzoo.zoo import load_zoo

if TYPE_CHECKING:
    from transferzoo.specs import ModelSpec


def trained(model: ModelSpec, folder: Path, data: Path | None) -> None:
    """Train a model by its recipe, through the command line; at once where it is finished."""
    root = ["--data", str(data)] if data else []
    command = [
        sys.executable,
        "-m",
        "transferzoo",
        "train",
        "--recipe",
        str(model.recipe),
        "--output",
        str(folder),
    ]
    subprocess.run([*command, *root], check=True)


def installed(model: ModelSpec, folder: Path) -> dict[str, Any]:
    """Copy a checkpoint into the package and return its line of the manifest."""
    model.folder.mkdir(parents=True, exist_ok=True)
    for name in (checkpoint.WEIGHTS, checkpoint.CONFIG, checkpoint.RECIPE):
        shutil.copyfile(folder / name, model.folder / name)
    recipe = json.loads((folder / checkpoint.RECIPE).read_text())
    return {
        "sha256": sha256(model.folder / checkpoint.WEIGHTS),
        "bytes": (model.folder / checkpoint.WEIGHTS).stat().st_size,
        "licence": model.licence,
        "origin": model.origin,
        "recipe": model.recipe,
        **recipe["accuracy"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", type=Path)
    parser.add_argument("--data", type=Path)
    asked = parser.parse_args()
    lines = {}
    for name, model in load_zoo().models.items():
        if model.source.startswith("builtin:"):
            trained(model, asked.checkpoints / model.name, asked.data)
            lines[name] = installed(model, asked.checkpoints / model.name)
            print(f"{name}: {lines[name]['accuracy']:.2%}, {lines[name]['bytes']:,} bytes")
    write_json(assets() / "manifest.json", {"models": lines})


if __name__ == "__main__":
    main()
