"""A MobileNetV2: inverted residuals around depthwise convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.models.architectures import STEM_STRIDES, architecture

if TYPE_CHECKING:
    from torch import nn

    from transferzoo.models.architectures import Stem


@architecture(family="mobilenet", paper="Sandler et al. 2018, arXiv 1801.04381")
def small_mobilenet(
    num_classes: int = 10, in_chans: int = 1, width: int = 16, stem: Stem = "strided"
) -> nn.Module:
    """Inverted residuals, expansion 4, of `width` × (1, 2, 4) channels.

    Stages have 1, 2 and 3 blocks; a 1×1 convolution to 16 × `width` precedes the classifier
    (Sandler et al. 2018, arXiv 1801.04381).
    """
    from timm.models import efficientnet
    from torch import nn

    parts: Any = efficientnet
    model = parts.EfficientNet(
        parts.decode_arch_def(
            [[f"ds_r1_k3_s1_c{width}"], [f"ir_r2_k3_s2_e4_c{2 * width}"], [f"ir_r3_k3_s2_e4_c{4 * width}"]]
        ),
        num_classes=num_classes,
        num_features=16 * width,
        in_chans=in_chans,
        stem_size=width,
        act_layer=nn.ReLU6,
        round_chs_fn=int,
    )
    model.conv_stem.stride = (STEM_STRIDES[stem],) * 2
    mobilenet: nn.Module = model
    return mobilenet
