"""A data set and models on a loopback Hub, to test `transferzoo pull`; `conftest` has their fixtures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from transferzoo.models import checkpoint
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from conftest import Result

ZOO = load_zoo()
NAMES = (checkpoint.CONFIG, checkpoint.WEIGHTS, checkpoint.RECIPE)
MINE = """
datasets:
  twin:
    classes: [T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot]
    channels: 1
    size: 28
    mean: [0.2860]
    std: [0.3530]
    splits:
      test: ["hub:owner/images/test.parquet"]
      train: ["hub:owner/images/train-*-of-00002.parquet"]
      nowhere: ["local:nowhere"]
      here: ["local:.", "hub:owner/images/test.parquet"]
    attack: {split: test, epsilon: 16/255}
    licence: mit
    origin: of these tests
models:
  twin:
    sgd: {roles: [surrogate], source: "hub:owner/surrogate", licence: cc-by-nc-4.0}
    vgg: {roles: [target], source: "hub:owner/target@COMMIT", licence: mit}
    old: {roles: [validator], source: "hub:owner/old", weights: {file: a.bin, pickle: true,
          architecture: resnet18, input_size: [1, 28, 28], mean: [0.2], std: [0.3]}}
    loose: {roles: [target], source: "hub:owner/loose", weights: {file: vgg.safetensors,
            architecture: small_vgg, input_size: [1, 28, 28], mean: [0.2860], std: [0.3530]}}
    more: {roles: [target], source: "hub:owner/none", extra: true}
    inside: {roles: [target], source: "builtin:fashion-mnist/vgg"}
    sam: {roles: [surrogate], source: train, recipe: resnet50-sam}
"""


def model_files(repo: str, model: str) -> dict[str, bytes]:
    """Return the files of a repository with a model of the built-in zoo."""
    folder = ZOO.models[f"fashion-mnist/{model}"].folder
    return {f"{repo}/{name}": (folder / name).read_bytes() for name in NAMES}


def contents(images: bytes) -> dict[str, bytes]:
    """Return the files of the Hub: models, and images in a Parquet file and in two parts."""
    parts = {f"datasets/owner/images/train-{part:05d}-of-00002.parquet": images for part in (0, 1)}
    return {
        **model_files("owner/surrogate", "resnet50-sgd"),
        **model_files("owner/target", "vgg"),
        **parts,
        "owner/loose/vgg.safetensors": model_files("x", "vgg")[f"x/{checkpoint.WEIGHTS}"],
        "owner/old/a.bin": bytes(1234),
        "datasets/owner/images/test.parquet": images,
    }


def planned(done: Result) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in json.loads(done.out)["items"]}
