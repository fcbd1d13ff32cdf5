"""A network in memory with what it expects of its images, against the same done by hand."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn
from torchvision.transforms.v2 import functional

from transferzoo import wrap
from transferzoo.base.errors import ModelError, UsageError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_it_is_what_torchvision_and_the_network_do() -> None:
    """Equal to normalising, and to resizing with antialiasing, by torchvision; gradients reach the pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model("resnet10t", num_classes=4).eval()
        images = torch.rand(3, 3, 40, 40, requires_grad=True)
    same = functional.normalize(images, MEAN, STD)
    assert torch.allclose(wrap(network, mean=MEAN, std=STD)(images), network(same), atol=1e-5)
    smaller = functional.normalize(functional.resize(images, [32, 32], antialias=True), MEAN, STD)
    found = wrap(network, mean=MEAN, std=STD, size=32)(images)
    assert torch.allclose(found, network(smaller), atol=1e-4)
    (gradient,) = torch.autograd.grad(found.sum(), images)
    assert gradient.abs().sum() > 0


def test_a_model_of_transformers_is_asked_for_its_logits() -> None:
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(image_size=16, patch_size=8, num_labels=5, **shape)
    model = transformers.ViTForImageClassification(config).eval()
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        expected = model(pixel_values=(images - 0.5) / 0.5).logits
        found = wrap(model, mean=(0.5,) * 3, std=(0.5,) * 3)(images)
    assert torch.allclose(found, expected, atol=1e-5)


def test_an_image_processor_states_all_three() -> None:
    transformers: Any = pytest.importorskip("transformers")
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model("resnet10t", num_classes=4).eval()
    images = torch.randint(0, 256, (3, 3, 40, 40), dtype=torch.uint8)
    read = wrap(network, processor=processor).read(images / 255)
    given = processor(images=list(images), return_tensors="pt")["pixel_values"]
    assert ((read - given) * 0.5 * 255).abs().max() < 1.5


def test_what_is_wrapped_wrongly_is_a_sentence() -> None:
    with pytest.raises(
        UsageError, match=r"an ONNX session or a function of images, got str; load_model\('vgg'\)"
    ):
        wrap("vgg", mean=MEAN, std=STD)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"got Identity"):
        wrap(nn.Identity, mean=MEAN, std=STD)
    with pytest.raises(UsageError, match="nothing says how images of a Identity are normalised"):
        wrap(nn.Identity())
    with pytest.raises(UsageError, match="the image processor states mean, std and size; leave them out"):
        wrap(nn.Identity(), mean=MEAN, processor=object())
    with pytest.raises(ModelError, match="does not fit its 3 channel"):
        wrap(nn.Identity(), mean=MEAN, std=(1.0,))
