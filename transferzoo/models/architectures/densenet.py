"""A densely connected network with bottlenecks and compression (DenseNet-BC)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.models.architectures import architecture
from transferzoo.models.architectures.ends import stem_convolution

if TYPE_CHECKING:
    from torch import nn

    from transferzoo.models.architectures import Stem


@architecture(family="densenet", paper="Huang et al. 2017, arXiv 1608.06993")
def small_densenet(
    num_classes: int = 10, in_chans: int = 1, width: int = 12, stem: Stem = "strided"
) -> nn.Module:
    """Dense blocks [3, 6, 6] with growth rate `width` (Huang et al. 2017, arXiv 1608.06993)."""
    from timm.models.densenet import DenseNet
    from torch import nn

    model: Any = DenseNet(
        growth_rate=width, block_config=(3, 6, 6), num_classes=num_classes, in_chans=in_chans
    )
    model.features.conv0 = stem_convolution(in_chans, 2 * width, stem)
    model.features.pool0 = nn.Identity()
    densenet: nn.Module = model
    return densenet
