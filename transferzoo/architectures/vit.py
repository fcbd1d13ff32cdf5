"""A vision transformer on 4×4 patches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.architectures import architecture
from transferzoo.architectures.patches import PATCH, check_patches

if TYPE_CHECKING:
    from torch import nn

HEAD_WIDTH = 16


@architecture(family="vit", paper="Dosovitskiy et al. 2021, arXiv 2010.11929", width_step=HEAD_WIDTH)
def small_vit(num_classes: int = 10, in_chans: int = 1, img_size: int = 28, width: int = 64) -> nn.Module:
    """Four blocks of dimension `width`, 16 to a head, MLP ratio 2.

    Classifies the mean token; there is no class token (Dosovitskiy et al. 2021, arXiv 2010.11929).
    """
    from timm.models.vision_transformer import VisionTransformer

    check_patches(img_size)
    model: Any = VisionTransformer(
        img_size=img_size,
        patch_size=PATCH,
        in_chans=in_chans,
        num_classes=num_classes,
        embed_dim=width,
        depth=4,
        num_heads=width // HEAD_WIDTH,
        mlp_ratio=2.0,
        class_token=False,
        global_pool="avg",
    )
    for block in model.blocks:
        # With heads this narrow the fused kernel about halves training speed on CPU.
        block.attn.fused_attn = False
    vit: nn.Module = model
    return vit
