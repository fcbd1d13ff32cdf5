"""Checkpoint and data folders that tests make out of the built-in ones."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

from transferzoo.zoo.schema import assets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

BUILTIN = assets() / "fashion-mnist"
SAMPLE = BUILTIN / "sample-00000-of-00001.parquet"


def copied(name: str, folder: Path) -> Path:
    """Copy a built-in checkpoint into `folder`."""
    shutil.copytree(BUILTIN / name, folder)
    return folder


def with_weights(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> Path:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def with_json(folder: Path, file: str, change: Callable[[dict[str, Any]], None]) -> Path:
    content = json.loads((folder / file).read_text())
    change(content)
    (folder / file).write_text(json.dumps(content))
    return folder


def heads(weights: dict[str, Tensor]) -> list[str]:
    """Return the tensors of the last layer: those with one row a class at the end of the model."""
    matrices = [name for name, tensor in weights.items() if tensor.ndim >= 2 and len(tensor) == 10]
    stem = matrices[-1].rpartition(".")[0]
    return [name for name in weights if name.rpartition(".")[0] == stem]


def negated(weights: dict[str, Tensor]) -> None:
    for name in heads(weights):
        weights[name] = -weights[name]


def swapped(weights: dict[str, Tensor]) -> None:
    """Let the model say trouser for T-shirt and T-shirt for trouser."""
    for name in heads(weights):
        weights[name] = weights[name][[1, 0, *range(2, 10)]].contiguous()


def data_folder(folder: Path, rows: Sequence[int], labels: Sequence[int] | None = None) -> Path:
    """Write rows of the built-in sample, maybe with other labels, as the splits sample and test."""
    table = pq.read_table(SAMPLE).take(list(rows))
    if labels is not None:
        table = table.set_column(table.schema.get_field_index("label"), "label", pa.array(labels))
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("sample", "test"):
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    return folder


def labels() -> list[int]:
    return list(pq.read_table(SAMPLE, columns=["label"])["label"].to_pylist())


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file, by name."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def with_classes(folder: Path, order: Sequence[int], names: Sequence[str] | None) -> Path:
    """Give a checkpoint other classes: number in the data's, or -1 for one that is none of them.

    Those others have the largest logits for any image.
    """

    def change(weights: dict[str, Tensor]) -> None:
        for name in heads(weights):
            rows = [weights[name][at] if at >= 0 else torch.full_like(weights[name][0], 9.0) for at in order]
            weights[name] = torch.stack(rows).contiguous()

    def describe_them(config: dict[str, Any]) -> None:
        config["num_classes"] = config["pretrained_cfg"]["num_classes"] = len(order)
        config["pretrained_cfg"].pop("label_names", None)
        if names:
            config["pretrained_cfg"]["label_names"] = list(names)

    return with_json(with_weights(folder, change), "config.json", describe_them)
