"""A wide residual network: pre-activation, three stages, few layers with many channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.models.architectures import architecture
from transferzoo.models.architectures.ends import stem_convolution

if TYPE_CHECKING:
    from torch import nn

    from transferzoo.models.architectures import Stem

STEM_CHANNELS = 16


@architecture(family="wide-resnet", paper="Zagoruyko and Komodakis 2016, arXiv 1605.07146", width_step=8)
def small_wide_resnet(
    num_classes: int = 10, in_chans: int = 1, width: int = 24, stem: Stem = "strided"
) -> nn.Module:
    """WRN-10-k with k = width / 16: one block a stage (Zagoruyko and Komodakis 2016, arXiv 1605.07146).

    Stages have `width` × (1, 2, 4) channels behind a stem of 16.
    """
    from timm.layers.create_conv2d import create_conv2d
    from timm.layers.norm_act import BatchNormAct2d
    from timm.models.resnetv2 import ResNetV2
    from torch import nn

    model: Any = ResNetV2(
        layers=[1, 1, 1],
        channels=(width, 2 * width, 4 * width),
        num_classes=num_classes,
        in_chans=in_chans,
        stem_chs=STEM_CHANNELS,
        basic=True,
        bottle_ratio=1.0,
        norm_layer=BatchNormAct2d,
        conv_layer=create_conv2d,
    )
    model.stem = nn.Sequential()
    model.stem.add_module("conv", stem_convolution(in_chans, STEM_CHANNELS, stem))
    wide_resnet: nn.Module = model
    return wide_resnet
