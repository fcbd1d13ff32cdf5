"""One trained network, the built-in vgg, saved in all forms, and a small ResNet of transformers beside it."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from helpers.checkpoints import BUILTIN, copied
from helpers.exported import Normalised, export
from helpers.foreign_models import FASHION
from transferzoo import load_model
from transferzoo.models.sources.keras_file import package

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from transferzoo.datasets import Batch

OWN = """
from transferzoo import load_model
vgg = load_model('vgg')
def network(): return vgg
def predict(images): return vgg(images)
"""
GRADIENTS = (
    "./folder",
    "./bare.safetensors",
    "./parallel.pt",
    "./scripted.pt",
    "./exported.pt2",
    "./single.pt2",
    "./net.keras",
    "own:network",
)
"""Names of the forms that images can be crafted on."""
FORMS = (*GRADIENTS, "./plain.onnx", "./bytes.onnx", "own:predict")
"""Names of all, but for the one that a server answers for."""


class Bytes(nn.Module):
    """A network of 8-bit pixels, channels last."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        said: Tensor = self.network(images.permute(0, 3, 1, 2).float() / 255)
        return said


def vgg() -> Normalised:
    """Return the built-in vgg with its normalisation."""
    model: Any = load_model("vgg")
    network = Normalised(model.model, float(model.mean), float(model.std))
    network.eval()
    return network


def write_forms(folder: Path, network: Normalised) -> None:
    """Write the vgg in all forms."""
    copied("vgg", folder / "folder")
    weights = load_file(BUILTIN / "vgg" / "model.safetensors")
    save_file(weights, folder / "bare.safetensors")
    torch.save({f"module.{name}": tensor for name, tensor in weights.items()}, folder / "parallel.pt")
    (folder / "own.py").write_text(OWN)
    export(network, folder / "plain.onnx", 2, 1, 28, 28)
    export(Bytes(network), folder / "bytes.onnx", 2, 28, 28, 1, dtype=torch.uint8)
    with warnings.catch_warnings(action="ignore"):  # TorchScript is deprecated; weights are channels last
        for name, size in (("exported", 2), ("single", 1)):
            batch = None if size == 1 else ({0: torch.export.Dim("n")},)
            program = torch.export.export(network, (torch.zeros(size, 1, 28, 28),), dynamic_shapes=batch)
            torch.export.save(program, folder / f"{name}.pt2")
        torch.jit.save(torch.jit.trace(network, torch.zeros(2, 1, 28, 28)), folder / "scripted.pt")
        in_keras(network).save(folder / "net.keras")


def in_keras(network: Normalised) -> Any:
    """Return the same layers, with the same weights, as a model of Keras that ends in a softmax."""
    keras = package()
    layers = keras.layers
    made = [keras.Input((28, 28, 1)), layers.Rescaling(1 / network.std, -network.mean / network.std)]
    vgg: Any = network.network
    weights: list[list[Tensor]] = []
    for layer in (*vgg.features, vgg.head.fc):
        if isinstance(layer, nn.Conv2d):
            made.append(layers.Conv2D(layer.out_channels, 3, padding="same", use_bias=layer.bias is not None))
            weights.append([layer.weight.permute(2, 3, 1, 0), *([] if layer.bias is None else [layer.bias])])
        elif isinstance(layer, nn.BatchNorm2d):
            made.append(layers.BatchNormalization(epsilon=layer.eps))
            kept: Any = layer
            weights.append([kept.weight, kept.bias, kept.running_mean, kept.running_var])
        elif isinstance(layer, nn.ReLU):
            made.append(layers.ReLU())
        elif isinstance(layer, nn.MaxPool2d):
            made.append(layers.MaxPooling2D(2))
        else:
            made += [layers.GlobalAveragePooling2D(), layers.Dense(10, activation="softmax")]
            weights.append([layer.weight.T, layer.bias])
    model = keras.Sequential(made)
    for layer, values in zip((one for one in model.layers if one.weights), weights, strict=True):
        layer.set_weights([value.detach().numpy() for value in values])
    return model


def trained_transformers(folder: Path, known: Batch) -> tuple[Any, Any]:
    """Train a small ResNet of transformers for some seconds; write and return it and its image processor."""
    transformers: Any = import_module("transformers")
    transformers.utils.logging.disable_progress_bar()
    shape = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"}
    names = {"id2label": dict(enumerate(FASHION.classes))}
    processor = transformers.ViTImageProcessor(size={"height": 28, "width": 28})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.ResNetForImageClassification(transformers.ResNetConfig(**shape, **names))
        given = processor(images=list(known.images.expand(-1, 3, -1, -1)), return_tensors="pt")[
            "pixel_values"
        ]
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(8):
            for chosen in torch.randperm(len(known)).split(50):
                optimizer.zero_grad()
                logits = model(pixel_values=given[chosen]).logits
                nn.functional.cross_entropy(logits, known.labels[chosen]).backward()
                optimizer.step()
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor
