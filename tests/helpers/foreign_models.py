"""Small models of other libraries that know some images, made without a training."""

from __future__ import annotations

import hashlib
import io
import json
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
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
    """Return a model of Keras that reads pixels of 1 / `scale`, with the activation `end` or a "layer"."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    body = [
        keras.Input((28, 28, channels)),
        layers.Rescaling(scale),
        layers.Conv2D(8, 3, 2, activation="relu"),
        layers.BatchNormalization(),
        layers.AveragePooling2D(3),
        layers.Dropout(0.25),
        layers.Flatten(),
    ]
    known = load_images(root=few)
    pixels = known.images.expand(-1, channels, -1, -1).permute(0, 2, 3, 1) / (255 * scale)
    with torch.no_grad():
        features = keras.Sequential(body)(pixels, training=False).cpu()
    head = nn.Linear(features.shape[1], 10)
    fit(head, features, known.labels)
    dense = layers.Dense(10, activation=None if end == "layer" else end)
    model = keras.Sequential([*body, dense, *([layers.Softmax()] if end == "layer" else [])])
    dense.set_weights([head.weight.detach().numpy().T, head.bias.detach().numpy()])
    return model


CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 28, "layers": 1, "width": 64, "patch_size": 7, "head_width": 32},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
"""A small model of open_clip, whose tokens are the usual ones."""


@torch.no_grad()
def save_clip(folder: Path, few: Path) -> None:
    """Write a small model of open_clip that knows some images by "a photo of a CLASS.".

    Its text tower is random. Image features are projected to where their class's text is: what a linear layer
    says of them, by the pseudo-inverse of the text features. One feature is constant, for the layer's bias.
    """
    open_clip: Any = import_module("open_clip")
    torch.manual_seed(0)
    model = open_clip.model.CLIP(**CLIP).eval()
    known, visual = load_images(root=few), model.visual
    visual.ln_post.weight[0], visual.ln_post.bias[0] = 0, 1
    projection, visual.proj = visual.proj, None
    pixels = known.images.expand(-1, 3, -1, -1) / 255 - 0.5
    features, head = visual(pixels), nn.Linear(64, 10)
    fit(head, features, known.labels)
    head.weight[:, 0] += head.bias
    prompts = open_clip.tokenize([f"a photo of a {name}." for name in FASHION.classes], context_length=16)
    texts = model.encode_text(prompts, normalize=True)
    projection.copy_(torch.linalg.pinv(texts).matmul(head.weight).T)
    visual.proj = projection
    reads = {"mean": [0.5] * 3, "std": [1.0] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    folder.mkdir()
    config = {"model_cfg": CLIP, "preprocess_cfg": reads}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
