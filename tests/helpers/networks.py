"""Tiny networks for the techniques that change one, and the same networks written out by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    Change = Callable[[Tensor], Tensor]


def normed_cnn(seed: int = 0) -> nn.Module:
    """Return an untrained network of one convolution with batch norm, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 10),
        )
    return model.eval()


class Block(nn.Module):
    """A basic block as timm and torchvision write it, in-place sums and ReLUs included."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride)
        self.act2 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        x += shortcut
        found: Tensor = self.act2(x)
        return found


class ResidualCNN(nn.Module):
    """Three stages of basic blocks behind a max-pool, for any size; the middle of it is `layer2`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, 1, 1)
        self.bn1 = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Block(6, 6))
        self.layer2 = nn.Sequential(Block(6, 8))
        self.layer3 = nn.Sequential(Block(8, 8), Block(8, 10))
        self.fc = nn.Linear(10, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def residual_cnn(dtype: torch.dtype = torch.float64) -> ResidualCNN:
    """Return an untrained one in training mode, with one layer that was put in eval."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ResidualCNN()
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None:
                nn.init.normal_(part.running_mean, std=0.1)
    model.bn1.eval()
    model.conv1.weight.requires_grad_(False)
    return model.to(dtype)


def literal_cnn(
    model: Any,
    images: Tensor,
    *,
    late_relu: Change = functional.relu,
    pool: Change | None = None,
    join: Callable[[Tensor, Tensor], Tensor] = torch.add,
    features: Change = lambda x: x,
) -> Tensor:
    """Return a `ResidualCNN`'s logits in evaluation mode.

    Args:
        model: whose weights to take.
        images: (N, C, H, W).
        late_relu: for the ReLUs of the third stage.
        pool: for the max-pool.
        join: shortcut and branch → what enters a block's last ReLU.
        features: of the second stage.
    """

    def norm(part: Any, x: Tensor) -> Tensor:
        return functional.batch_norm(x, part.running_mean, part.running_var, part.weight, part.bias)

    def block(part: Any, x: Tensor, relu: Change) -> Tensor:
        shortcut = x if part.downsample is None else part.downsample(x)
        inner = relu(norm(part.bn1, part.conv1(x)))
        return relu(join(shortcut, norm(part.bn2, part.conv2(inner))))

    x = functional.relu(norm(model.bn1, model.conv1(images)))
    x = pool(x) if pool else functional.max_pool2d(x, 3, 2, 1)
    x = block(model.layer1[0], x, functional.relu)
    x = features(block(model.layer2[0], x, functional.relu))
    x = block(model.layer3[1], block(model.layer3[0], x, late_relu), late_relu)
    logits: Tensor = model.fc(x.mean((2, 3)))
    return logits


def tiny_vit(dtype: torch.dtype = torch.float64) -> Any:
    """Return a transformer of timm for any size, with its attention fused and far from uniform."""
    from timm.models.vision_transformer import VisionTransformer

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = VisionTransformer(
            img_size=16,
            patch_size=4,
            embed_dim=32,
            depth=2,
            num_heads=2,
            num_classes=10,
            dynamic_img_size=True,
        )
        for part in model.modules():
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=0.25)
    for block in model.blocks:
        block.attn.fused_attn = True
    model.norm.eval()
    return model.to(dtype)


def literal_vit(
    model: Any,
    images: Tensor,
    *,
    on_scores: Change = lambda a: a,
    on_map: Change = lambda a: a,
    on_qkv: Change = lambda a: a,
    on_mlp: Change = lambda a: a,
    join: Callable[[Tensor, Tensor], Tensor] = torch.add,
) -> Tensor:
    """Return a `tiny_vit`'s logits of images of its own size, with changes on the way.

    Args:
        model: whose weights to take.
        images: (N, 3, 16, 16).
        on_scores: for what the maps are the softmax of, (N, heads, T, T).
        on_map: for attention maps (N, heads, T, T).
        on_qkv: for queries, keys and values (N, T, 3·C).
        on_mlp: for the MLP's output (N, T, C).
        join: shortcut and branch → their sum.
    """
    embed = model.patch_embed.proj
    patches = functional.conv2d(images, embed.weight, embed.bias, stride=4).flatten(2).mT
    x = torch.cat([model.cls_token.expand(len(images), -1, -1), patches], 1) + model.pos_embed
    for block in model.blocks:
        qkv = on_qkv(block.attn.qkv(block.norm1(x)))
        q, k, v = (part.unflatten(2, (2, 16)).transpose(1, 2) for part in qkv.split(32, 2))
        attention = on_map(on_scores(q @ k.mT / 4).softmax(-1))
        x = join(x, block.attn.proj((attention @ v).transpose(1, 2).flatten(2)))
        x = join(x, on_mlp(block.mlp.fc2(functional.gelu(block.mlp.fc1(block.norm2(x))))))
    logits: Tensor = model.head(model.norm(x)[:, 0])
    return logits


def narrow(name: str) -> dict[str, int]:
    """Return the arguments that make one of our architectures cheap to run."""
    return {"width": 8} if name.startswith("cifar_") else {}
