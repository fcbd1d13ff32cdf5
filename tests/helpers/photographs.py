"""What a newcomer has: five classes of colour images, and a network trained on others like them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import timm
import torch

from helpers.data_layouts import picture

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

KINDS = ("brick", "fence", "sand", "shelf", "tiles")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def draw(count: int, seed: int, size: int = 16) -> tuple[Tensor, Tensor]:
    """Draw faint patterns in noise, each kind of a faint tint: uint8 (count, 3, size, size), and labels."""
    generator = torch.Generator().manual_seed(seed)

    def some(most: int, *shape: int) -> Tensor:
        return torch.randint(0, most, (count, *shape), generator=generator)

    labels = torch.arange(count) % len(KINDS)
    band = (torch.arange(size) + some(8, 1, 1)) // 2 % 2
    wide = (torch.arange(size) + some(8, 1, 1)) // 4 % 2
    down, right = band.transpose(1, 2).expand(-1, -1, size), band.expand(-1, size, -1)
    chequered = wide.transpose(1, 2) ^ wide
    patterns = torch.stack([down | right, right, torch.zeros_like(chequered), down, chequered], 1)
    pattern = patterns[torch.arange(count), labels]
    tints = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]])[labels, :, None, None]
    images = 80 + some(20, 1, 1, 1) + some(40, 3, size, size) + 20 * pattern[:, None] + 16 * tints
    return images.to(torch.uint8), labels


def class_folders(home: Path, images: Tensor, labels: Tensor) -> Path:
    """Write images as PNGs, a folder a class."""
    for place, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        folder = home / KINDS[label]
        folder.mkdir(parents=True, exist_ok=True)
        picture(image).save(folder / f"{place:04}.png")
    return home


def finetuned(file: Path, images: Tensor, labels: Tensor, epochs: int, network: str = "resnet18") -> Path:
    """Train a network of timm's as a script elsewhere does, and save its weights with `torch.save`."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    inputs = (images / 255 - mean) / std
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(network, num_classes=len(KINDS))
        steps = epochs * (len(inputs) // 32)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=steps)
        for _ in range(epochs):
            for chosen in torch.randperm(len(inputs))[: len(inputs) // 32 * 32].split(32):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(inputs[chosen]), labels[chosen]).backward()
                optimizer.step()
                schedule.step()
    torch.save({"state_dict": model.state_dict(), "epoch": epochs}, file)
    return file
