"""Small models of other libraries that know some images, made without a training."""

from __future__ import annotations

import hashlib
import io
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from helpers.fitted import fit
from transferzoo import load_images
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from torchvision.transforms._presets import ImageClassification

FASHION = load_zoo().dataset("fashion-mnist")
REVERSED = {"id2label": dict(enumerate(reversed(FASHION.classes)))}
"""Classes of a model of transformers in another order than the data's."""
SMALL_VIT = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 64, "intermediate_size": 64}


class TinyNet(nn.Module):
    """Colours to ten classes, for torchvision."""

    def __init__(self) -> None:
        super().__init__()
        layers = nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten()
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(200, 10)

    def forward(self, images: Tensor) -> Tensor:
        said: Tensor = self.head(self.features(images))
        return said


def fitted_tiny(few: Path, reads: ImageClassification) -> bytes:
    """Return a file of weights of a `TinyNet` whose classes stand in reverse; `reads` are its transforms."""
    torch.manual_seed(0)
    known, network = load_images(root=few), TinyNet().eval()
    fit(network.head, network.features(reads(known.images.expand(-1, 3, -1, -1))), 9 - known.labels)
    return saved(network.state_dict())


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def hashed_name(content: bytes) -> str:
    """Return the name that torchvision would give to a file of weights."""
    return f"tiny-{hashlib.sha256(content).hexdigest()[:8]}.pth"


def small_vit(size: int) -> Any:
    transformers: Any = import_module("transformers")
    config = transformers.ViTConfig(image_size=size, patch_size=7, **SMALL_VIT, **REVERSED)
    return transformers.ViTForImageClassification(config)


@torch.no_grad()
def fit_transformers(model: Any, processor: Any, few: Path) -> None:
    """Let a random model of transformers know some images: its last layer is fitted to its own features."""
    known, caught = load_images(root=few), list[Any]()
    *_, head = (part for part in model.classifier.modules() if isinstance(part, nn.Linear))
    hook = head.register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    images = list(known.images.expand(-1, 3, -1, -1))
    model.eval()(processor(images=images, return_tensors="pt")["pixel_values"])
    hook.remove()
    fit(head, caught[0], 9 - known.labels)


def fitted_keras(keras: Any, few: Path, *, scale: float, end: str | None, channels: int = 1) -> Any:
    """Return a model of Keras that reads pixels of 1 / `scale`, with the activation `end`."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    body = [
        keras.Input((28, 28, channels)),
        layers.Rescaling(scale),
        layers.Conv2D(8, 3, 2, activation="relu"),
        layers.BatchNormalization(),
        layers.AveragePooling2D(3),
        layers.Flatten(),
    ]
    known = load_images(root=few)
    pixels = known.images.expand(-1, channels, -1, -1).permute(0, 2, 3, 1) / (255 * scale)
    with torch.no_grad():
        features = keras.Sequential(body)(pixels, training=False).cpu()
    head = nn.Linear(features.shape[1], 10)
    fit(head, features, known.labels)
    dense = layers.Dense(10, activation=end)
    model = keras.Sequential([*body, dense])
    dense.set_weights([head.weight.detach().numpy().T, head.bias.detach().numpy()])
    return model
