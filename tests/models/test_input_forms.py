"""What images models of other libraries say that they read, before they are loaded."""

from __future__ import annotations

import json
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from helpers.checkpoints import copied
from helpers.data_layouts import picture, pixels
from helpers.exported import export
from transferzoo.models.sources.keras_file import KerasFile, package
from transferzoo.models.sources.onnx_file import OnnxFile
from transferzoo.models.sources.torchvision_model import TorchvisionModel
from transferzoo.models.sources.transformers_classifier import TransformersClassifier
from transferzoo.zoo.source_facts import InputForm

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b3", "inception_v3"])
def test_torchvision(name: str) -> None:
    from torchvision.models import get_model_weights

    reads = get_model_weights(name).DEFAULT.transforms()
    said = TorchvisionModel(name).reads()
    assert said is not None
    assert (said.channels, said.mean, said.std) == (3, tuple(reads.mean), tuple(reads.std))
    assert reads(torch.zeros(3, 400, 400, dtype=torch.uint8)).shape == (3, said.size, said.size)


def test_onnx(tmp_path: Path) -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 4)).eval()
    export(network, tmp_path / "net.onnx", 2, 3, 20, 20)
    export(network, tmp_path / "wide.onnx", 2, 3, 20, 24)
    assert OnnxFile(tmp_path / "net.onnx").reads() == InputForm(3, 20)
    assert OnnxFile(tmp_path / "wide.onnx").reads() is None


@pytest.mark.parametrize("kind", ["sequential", "functional"])
def test_keras(tmp_path: Path, kind: str) -> None:
    keras = package()
    inputs = keras.Input((24, 24, 3))
    layers = [keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4)]
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    with warnings.catch_warnings(action="ignore"):
        model = keras.Model(inputs, outputs) if kind == "functional" else keras.Sequential([inputs, *layers])
        model.save(tmp_path / "net.keras")
    assert KerasFile(tmp_path / "net.keras").reads() == InputForm(3, 24)
    (tmp_path / "bad.keras").write_bytes(b"PK")
    assert KerasFile(tmp_path / "bad.keras").reads() is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("kind", "options", "size"),
    [
        ("ViTImageProcessor", {"size": {"height": 28, "width": 28}}, 28),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 40}}, 40),
        ("BitImageProcessor", {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}, 32),
    ],
)
def test_transformers(tmp_path: Path, kind: str, options: dict[str, Any], size: int) -> None:
    transformers: Any = sys.modules.get("transformers") or __import__("transformers")
    processor = getattr(transformers, kind)(**options)
    processor.save_pretrained(tmp_path)
    said = TransformersClassifier(tmp_path).reads()
    assert said == InputForm(3, size, tuple(processor.image_mean), tuple(processor.image_std))
    read = processor(images=[torch.zeros(3, 50, 50, dtype=torch.uint8)], return_tensors="pt")["pixel_values"]
    assert read.shape[2:] == (size, size)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": [1]}))
    assert TransformersClassifier(tmp_path).reads() is None


def test_own_images_are_read_so(cli: Run, tmp_path: Path) -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 2)).eval()
    export(network, tmp_path / "net.onnx", 2, 3, 20, 20)
    for name in ("ant", "bee"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        picture(pixels(1, 3, 40)[0]).save(tmp_path / "photos" / name / "0.png")
    (copied("vgg", tmp_path / "other") / "recipe.json").unlink()
    done = cli("attack", "-s", "./other", "-t", "net.onnx", "--data", "photos", "--dry-run", "--json")
    assert "Images are read in colour, 20x20 pixels, as 'net' reads them." in done.err
