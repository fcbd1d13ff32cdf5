"""Residual networks at their true depths and a fraction of their width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.models.architectures import architecture
from transferzoo.models.architectures.ends import stem_convolution

if TYPE_CHECKING:
    from torch import nn

    from transferzoo.models.architectures import Stem

PAPER = "He et al. 2016, arXiv 1512.03385"
NARROWEST = 8
"""Smallest width of a network of basic blocks: below, the 1×1 convolution with stride 2 of its second stage
reads fewer than eight channels, for the weight gradient of which torch 2.14.1 writes past the end of its
memory in the channels-last layout, on a CPU."""


@architecture(family="resnet", paper=PAPER, width_step=2, least_width=NARROWEST)
def small_resnet18(
    num_classes: int = 10, in_chans: int = 1, width: int = 8, stem: Stem = "strided"
) -> nn.Module:
    """Basic blocks [2, 2, 2, 2] of `width` × (1, 2, 4, 8) channels (He et al. 2016, arXiv 1512.03385)."""
    from timm.models.resnet import BasicBlock

    return residual_network(BasicBlock, (2, 2, 2, 2), num_classes, in_chans, width, stem)


@architecture(family="resnet", paper=PAPER, width_step=2)
def small_resnet50(
    num_classes: int = 10, in_chans: int = 1, width: int = 12, stem: Stem = "strided"
) -> nn.Module:
    """Bottlenecks [3, 4, 6, 3] of `width` × (4, 8, 16, 32) channels (He et al. 2016, arXiv 1512.03385)."""
    from timm.models.resnet import Bottleneck

    return residual_network(Bottleneck, (3, 4, 6, 3), num_classes, in_chans, width, stem)


def residual_network(
    block: Any, layers: tuple[int, ...], num_classes: int, in_chans: int, width: int, stem: Stem
) -> nn.Module:
    """Return timm's ResNet of four stages with a 3×3 stem: images (N, in_chans, H, W) → (N, num_classes).

    Args:
        block: timm's BasicBlock or Bottleneck.
        layers: blocks a stage.
        num_classes: number of logits.
        in_chans: channels of the images.
        width: channels of the first stage's blocks, even; each further stage has twice as many.
        stem: see `Stem`.
    """
    from timm.models.resnet import ResNet
    from torch import nn

    model: Any = ResNet(
        block,
        layers,
        num_classes=num_classes,
        in_chans=in_chans,
        channels=(width, 2 * width, 4 * width, 8 * width),
        stem_type="deep",  # only a deep stem ends in 2 * stem_width channels, any other in 64
        stem_width=width // 2,
    )
    model.conv1 = stem_convolution(in_chans, width, stem)
    model.maxpool = nn.Identity()
    resnet: nn.Module = model
    return resnet
