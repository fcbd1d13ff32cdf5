"""Networks that mix patches without attention: by depthwise convolutions or by an MLP across positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.models.architectures import architecture
from transferzoo.models.architectures.patches import PATCH, check_patches

if TYPE_CHECKING:
    from torch import nn


@architecture(family="mixer", paper="Trockman and Kolter 2022, arXiv 2201.09792")
def small_convmixer(num_classes: int = 10, in_chans: int = 1, width: int = 128) -> nn.Module:
    """ConvMixer-`width`/8 on 4×4 patches (Trockman and Kolter 2022, arXiv 2201.09792).

    Its depthwise convolutions are 3×3: images of 28 pixels leave a grid of 7×7, and 5×5 trains three
    times slower on CPU.
    """
    from timm.models.convmixer import ConvMixer

    convmixer: nn.Module = ConvMixer(
        dim=width, depth=8, kernel_size=3, patch_size=PATCH, in_chans=in_chans, num_classes=num_classes
    )
    return convmixer


@architecture(family="mixer", paper="Tolstikhin et al. 2021, arXiv 2105.01601", width_step=2)
def small_mlp_mixer(
    num_classes: int = 10, in_chans: int = 1, img_size: int = 28, width: int = 64
) -> nn.Module:
    """Four mixer blocks of dimension `width` on 4×4 patches (Tolstikhin et al. 2021, arXiv 2105.01601)."""
    from timm.models.mlp_mixer import MlpMixer

    check_patches(img_size)
    mixer: nn.Module = MlpMixer(
        num_classes=num_classes,
        img_size=img_size,
        in_chans=in_chans,
        patch_size=PATCH,
        num_blocks=4,
        embed_dim=width,
    )
    return mixer
