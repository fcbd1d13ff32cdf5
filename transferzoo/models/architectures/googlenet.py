"""A GoogLeNet: Inception modules, whose branches see several kernel sizes at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.models.architectures import architecture
from transferzoo.models.architectures.ends import pooled_classifier, stem_convolution

if TYPE_CHECKING:
    from torch import nn

    from transferzoo.models.architectures import Stem


@architecture(family="googlenet", paper="Szegedy et al. 2015, arXiv 1409.4842", width_step=16)
def small_googlenet(
    num_classes: int = 10, in_chans: int = 1, width: int = 48, stem: Stem = "strided"
) -> nn.Module:
    """Inception modules of `width` × (1 | 2, 2 | 3, 4) channels, "|" a max-pool.

    Without auxiliary classifiers (Szegedy et al. 2015, arXiv 1409.4842).
    """
    from torch import nn

    features = nn.Sequential(
        stem_convolution(in_chans, width, stem),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        _inception(width, width),
        nn.MaxPool2d(3, stride=2, padding=1),
        _inception(width, 2 * width),
        _inception(2 * width, 2 * width),
        nn.MaxPool2d(3, stride=2, padding=1),
        _inception(2 * width, 3 * width),
        _inception(3 * width, 4 * width),
    )
    return pooled_classifier(features, 4 * width, num_classes, in_chans)


def _inception(in_channels: int, channels: int) -> nn.Module:
    """Return a module whose four branches share the output as module 3a's do, 2 : 4 : 1 : 1."""
    from torchvision.models.googlenet import Inception

    eighth = channels // 8
    inception: nn.Module = Inception(
        in_channels,
        ch1x1=2 * eighth,
        ch3x3red=3 * eighth,
        ch3x3=4 * eighth,
        ch5x5red=eighth // 2,
        ch5x5=eighth,
        pool_proj=eighth,
    )
    return inception
