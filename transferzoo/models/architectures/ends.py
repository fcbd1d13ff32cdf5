"""The two ends that convolutional families share: a 3×3 stem, and mean pooling before a linear classifier."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from transferzoo.models.architectures import STEM_STRIDES

if TYPE_CHECKING:
    from torch import nn

    from transferzoo.models.architectures import Stem


def stem_convolution(in_chans: int, channels: int, stem: Stem) -> nn.Conv2d:
    """Return a 3×3 convolution (N, in_chans, H, W) → (N, channels, H/stride, W/stride), He-initialised."""
    from torch import nn

    convolution = nn.Conv2d(in_chans, channels, 3, stride=STEM_STRIDES[stem], padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


def pooled_classifier(features: nn.Module, channels: int, num_classes: int, in_chans: int) -> nn.Module:
    """Return `features` (images → (N, channels, h, w)), then the mean over h and w, then a linear layer.

    The module carries the attributes timm expects of a classifier.
    """
    from timm.layers.classifier import ClassifierHead
    from torch import nn

    head = ClassifierHead(channels, num_classes)
    model: Any = nn.Sequential(OrderedDict(features=features, head=head))
    model.num_classes, model.num_features, model.in_chans = num_classes, channels, in_chans
    classifier: nn.Module = model
    return classifier
