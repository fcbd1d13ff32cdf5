"""Vision transformers with a token for every 4×4 pixels: cut out as patches, or made by convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.models.architectures import architecture
from transferzoo.models.architectures.patches import PATCH, check_patches

if TYPE_CHECKING:
    from torch import nn

HEAD_WIDTH = 16


@architecture(family="vit", paper="Dosovitskiy et al. 2021, arXiv 2010.11929", width_step=HEAD_WIDTH)
def small_vit(num_classes: int = 10, in_chans: int = 1, img_size: int = 28, width: int = 64) -> nn.Module:
    """Four blocks of dimension `width`, 16 to a head, MLP ratio 2.

    Classifies the mean token; there is no class token (Dosovitskiy et al. 2021, arXiv 2010.11929).
    """
    return _transformer(num_classes, in_chans, img_size, width)


@architecture(family="hybrid-vit", paper="Xiao et al. 2021, arXiv 2106.14881", width_step=HEAD_WIDTH)
def small_hybrid_vit(
    num_classes: int = 10, in_chans: int = 1, img_size: int = 28, width: int = 64
) -> nn.Module:
    """The same transformer behind three 3×3 convolutions, two of them with stride 2.

    With early convolutions a transformer needs far fewer epochs (Xiao et al. 2021, arXiv 2106.14881).
    """
    from timm.layers.hybrid_embed import HybridEmbed
    from timm.models.vision_transformer_hybrid import ConvStem

    def embed(**settings: Any) -> nn.Module:
        stem = ConvStem(in_chans, depth=3, channels=(width // 2, width // 2, width), stride=(2, 1, 2))
        return HybridEmbed(stem, proj=False, **settings | {"patch_size": 1})

    return _transformer(num_classes, in_chans, img_size, width, embed_layer=embed)


def _transformer(num_classes: int, in_chans: int, img_size: int, width: int, **settings: Any) -> nn.Module:
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
        **settings,
    )
    for block in model.blocks:
        # With heads this narrow the fused kernel about halves training speed on CPU.
        block.attn.fused_attn = False
    vit: nn.Module = model
    return vit
