"""Networks of the usual width for images of 32×32 pixels, with the weight names of models on the Hub.

They are timm's networks for ImageNet with another stem or head, changed as in edadaltocg/detectors, so that
files such as `edadaltocg/resnet18_cifar10` fit. Those take three channels: `in_chans=3`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.models.architectures import architecture
from transferzoo.models.architectures.ends import stem_convolution
from transferzoo.models.architectures.resnet import NARROWEST, PAPER, residual_network

if TYPE_CHECKING:
    from torch import nn


@architecture(family="resnet", paper=PAPER, width_step=2, least_width=NARROWEST)
def cifar_resnet18(num_classes: int = 10, in_chans: int = 1, width: int = 64) -> nn.Module:
    """Basic blocks [2, 2, 2, 2] of `width` × (1, 2, 4, 8) channels (He et al. 2016, arXiv 1512.03385).

    The stem is a 3×3 convolution with stride 1, without a max-pool.
    """
    from timm.models.resnet import BasicBlock

    return residual_network(BasicBlock, (2, 2, 2, 2), num_classes, in_chans, width, "plain")


@architecture(family="resnet", paper=PAPER, width_step=2, least_width=NARROWEST)
def cifar_resnet34(num_classes: int = 10, in_chans: int = 1, width: int = 64) -> nn.Module:
    """Basic blocks [3, 4, 6, 3] of `width` × (1, 2, 4, 8) channels (He et al. 2016, arXiv 1512.03385).

    The stem is a 3×3 convolution with stride 1, without a max-pool.
    """
    from timm.models.resnet import BasicBlock

    return residual_network(BasicBlock, (3, 4, 6, 3), num_classes, in_chans, width, "plain")


@architecture(family="resnet", paper=PAPER, width_step=2)
def cifar_resnet50(num_classes: int = 10, in_chans: int = 1, width: int = 64) -> nn.Module:
    """Bottlenecks [3, 4, 6, 3] of `width` × (4, 8, 16, 32) channels (He et al. 2016, arXiv 1512.03385).

    The stem is a 3×3 convolution with stride 1, without a max-pool.
    """
    from timm.models.resnet import Bottleneck

    return residual_network(Bottleneck, (3, 4, 6, 3), num_classes, in_chans, width, "plain")


@architecture(family="vgg", paper="Simonyan and Zisserman 2015, arXiv 1409.1556")
def cifar_vgg16_bn(num_classes: int = 10, in_chans: int = 1, width: int = 64) -> nn.Module:
    """Thirteen convolutions of `width` × (1, 2, 4, 8, 8) channels with batch norm.

    Mean pooling and one linear layer replace VGG's three (Simonyan and Zisserman 2015, arXiv 1409.1556).
    The max-pools round up, which matters only to images that 32 does not divide.
    """
    from timm.layers.classifier import ClassifierHead
    from timm.models.vgg import VGG, cfgs
    from torch import nn

    pattern = [part * width // 64 if isinstance(part, int) else part for part in cfgs["vgg16"]]
    model: Any = VGG(
        pattern,
        num_classes=num_classes,
        in_chans=in_chans,
        mlp_ratio=1 / 4096,  # of layers that are replaced: one channel instead of 4096 in the middle
        norm_layer=nn.BatchNorm2d,
    )
    model.pre_logits = nn.Identity()
    model.head = ClassifierHead(model.num_features, num_classes)
    model.head_hidden_size = model.num_features
    for part in model.features:
        if isinstance(part, nn.MaxPool2d):
            part.ceil_mode = True
    vgg: nn.Module = model
    return vgg


@architecture(family="densenet", paper="Huang et al. 2017, arXiv 1608.06993")
def cifar_densenet121(num_classes: int = 10, in_chans: int = 1, width: int = 12) -> nn.Module:
    """Dense blocks [6, 12, 24, 16] with growth rate `width` (Huang et al. 2017, arXiv 1608.06993).

    The stem is a 3×3 convolution with stride 1, without batch norm and max-pool.
    """
    from timm.models.densenet import DenseNet
    from torch import nn

    model: Any = DenseNet(
        growth_rate=width, block_config=(6, 12, 24, 16), num_classes=num_classes, in_chans=in_chans
    )
    model.features.conv0 = stem_convolution(in_chans, 2 * width, "plain")
    model.features.norm0 = nn.Identity()
    model.features.pool0 = nn.Identity()
    densenet: nn.Module = model
    return densenet
