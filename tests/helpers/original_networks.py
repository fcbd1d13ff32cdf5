"""Networks of other people's repositories, built as those build them, and the files they are stored in.

Each is a network for normalised images. Nothing here uses the code under test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import timm
import torch
from timm.models.densenet import DenseNet
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable


def alive(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """Return a network in evaluation mode, all of its weights and running averages drawn, in no time."""
    with torch.device("meta"):
        model = build()
    model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            tensor.zero_()
        elif tensor.ndim == 1:  # norms
            low = 0.5 if name.endswith(("weight", "running_var")) else -0.5
            tensor.uniform_(low, low + 1, generator=generator)
        else:
            tensor.uniform_(-1, 1, generator=generator).mul_((3 / tensor[0].numel()) ** 0.5)
    return model.eval()


def detectors_resnet(depth: int) -> nn.Module:
    """A ResNet of edadaltocg/detectors: timm's for ImageNet, with another stem and head."""
    model: Any = timm.create_model(f"resnet{depth}")
    model.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    model.maxpool = nn.Identity()
    model.fc = nn.Linear(model.num_features, 10)
    resnet: nn.Module = model
    return resnet


def detectors_vgg() -> nn.Module:
    """Their VGG: without the two large layers before the last."""
    model: Any = timm.create_model("vgg16_bn")
    model.pre_logits = nn.Identity()
    model.head.fc = nn.Linear(512, 10)
    vgg: nn.Module = model
    return vgg


def detectors_densenet() -> nn.Module:
    """Their DenseNet: narrow, without norm and pool in the stem."""
    model: Any = DenseNet(growth_rate=12, block_config=(6, 12, 24, 16), num_classes=10)
    model.features.conv0 = nn.Conv2d(3, 24, kernel_size=3, stride=1, padding=1, bias=False)
    model.features.norm0 = nn.Identity()
    model.features.pool0 = nn.Identity()
    densenet: nn.Module = model
    return densenet


def detectors_vit(**arguments: Any) -> nn.Module:
    """Their vision transformer: only the head is another."""
    model: Any = timm.create_model("vit_base_patch16_224", **arguments)
    model.head = nn.Linear(model.num_features, 10)
    vit: nn.Module = model
    return vit


class Robust(nn.Module):
    """What the robustness package trains: normalisation, network, and an attacker that holds both again."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.normalizer = nn.Module()
        self.normalizer.register_buffer("new_mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        self.normalizer.register_buffer("new_std", torch.tensor([0.229, 0.224, 0.225])[:, None, None])
        self.model = network
        self.attacker = nn.Module()
        self.attacker.normalize, self.attacker.model = self.normalizer, network


def robust_file(network: nn.Module) -> dict[str, Any]:
    """The content of one of its files: everything under `module`, behind it the optimizer's state."""
    whole = nn.ModuleDict({"module": Robust(network)})
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for parameter in network.parameters():
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    state: dict[str, Any] = {"model": whole.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 90}
    assert {name.split(".")[1] for name in state["model"]} == {"normalizer", "model", "attacker"}
    return state


def logits(model: nn.Module, normalised: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.as_tensor(model(normalised))


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return (x − mean) / std a channel, of images (N, 3, H, W)."""
    return (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def enlarged(images: Tensor, size: int) -> Tensor:
    """Return images scaled to another size, as PyTorch does with antialiasing."""
    resize: Callable[..., Tensor] = nn.functional.interpolate
    return resize(images, (size, size), mode="bilinear", antialias=True)
