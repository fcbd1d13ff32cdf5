"""A working folder of models that cannot be used, of every form, each for another reason."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import onnx
import torch
from onnx import TensorProto, helper
from safetensors.torch import load_file, save_file
from torch import nn

from helpers.checkpoints import copied

if TYPE_CHECKING:
    from pathlib import Path

FUNCTIONS = """
import torch
from torch import nn

number = 3

def make(): return nn.Linear(784, 10)
def nothing(): pass
def both(images, width): return images
def nine(images): return torch.zeros(len(images), 9)
def ten(images): return [10] * len(images)
def fails(images): return 1 / 0
def text(images): return "scores"
"""
CLASSES = {
    "columns.csv": "class,model\nDress,1",
    "unknown.csv": "data,model\nHat,1",
    "twice.csv": "data,model\nDress,1\nCoat,1",
    "same.csv": "data,model\nDress,1\nDress,2",
    "right.csv": "data,model\nDress,3",
    "large.csv": "data,model\nDress,13",
}


def write_graph(
    file: Path, *inputs: tuple[int, list[int]], output: tuple[int, ...] = (2, 10), value: float = 0.0
) -> Path:
    """Write an exported model that always answers the same."""
    given = [helper.make_tensor_value_info(f"in{i}", kind, shape) for i, (kind, shape) in enumerate(inputs)]
    size = int(torch.tensor(output).prod())
    constant = helper.make_tensor("c", TensorProto.FLOAT, output, [value] * size)
    node = helper.make_node("Constant", [], ["out"], value=constant)
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, output)
    whole = helper.make_graph([node], "g", given, [out])
    content = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(content, file)
    return file


def write_wrong_models(folder: Path) -> None:
    """Write them into a folder, with classes and images that do not fit either."""
    weights = load_file(copied("vgg", folder / "mine") / "model.safetensors")
    _write_weights(folder, weights)
    _write_folders(folder)
    _write_programs(folder)
    (folder / "own.py").write_text(FUNCTIONS)
    for name, text in CLASSES.items():
        (folder / name).write_text(text)
    (folder / "empty").mkdir()
    for name in (
        "notes.txt",
        "net.h5",
        "net.hdf5",
        "net.tflite",
        "scripted.pt2",
        "net.keras",
        "net.bin",
        "NET.PT",
    ):
        (folder / name).write_text("no model")
    (folder / "saved").mkdir()
    (folder / "saved" / "saved_model.pb").touch()


def _write_weights(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    torch.save(weights, folder / "net.pt")
    (folder / "net.pth").write_bytes(b"\x80")
    (folder / "torn.pt").write_bytes(
        b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 3, 3, 178, 44947, 0)
    )  # no directory
    save_file(weights, folder / "net.safetensors")
    (folder / "cut.safetensors").write_bytes((folder / "net.safetensors").read_bytes()[:-9])
    heads = [name for name, tensor in weights.items() if tensor.ndim and len(tensor) == 10]
    save_file({**weights, **{name: weights[name][:5] for name in heads}}, folder / "five.safetensors")
    torch.save(nn.Linear(2, 2), folder / "whole.pt")
    torch.save([1, 2], folder / "numbers.pt")


def _write_folders(folder: Path) -> None:
    five = copied("vgg", folder / "five")
    content = json.loads((five / "config.json").read_text())
    content["num_classes"] = 5
    content["pretrained_cfg"].pop("label_names", None)
    (five / "config.json").write_text(json.dumps(content))
    (copied("vgg", folder / "bare") / "config.json").unlink()
    (copied("vgg", folder / "torn") / "config.json").write_text('{"architecture": ')
    (copied("vgg", folder / "light") / "model.safetensors").unlink()
    for name, kind in (("vit", "vit"), ("text", "bert"), ("unread", "vit")):
        place = copied("vgg", folder / name)
        (place / "config.json").write_text(json.dumps({"model_type": kind, "architectures": ["X"]}))
        if name != "unread":
            (place / "preprocessor_config.json").write_text("{}")
    clip = folder / "clip"
    clip.mkdir()
    (clip / "open_clip_config.json").write_text("{}")
    (clip / "open_clip_model.safetensors").touch()


def _write_programs(folder: Path) -> None:
    images = (TensorProto.FLOAT, [2, 1, 28, 28])
    write_graph(folder / "good.onnx", images)
    write_graph(folder / "nine.onnx", images, output=(2, 9))
    write_graph(folder / "flat.onnx", (TensorProto.FLOAT, [2, 784]))
    write_graph(folder / "nan.onnx", images, value=float("nan"))
    (folder / "damaged.onnx").write_bytes(b"no graph at all")
