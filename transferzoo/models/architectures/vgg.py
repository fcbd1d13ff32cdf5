"""A VGG: plain 3×3 convolutions with batch norm and max-pools between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.models.architectures import architecture
from transferzoo.models.architectures.ends import pooled_classifier, stem_convolution

if TYPE_CHECKING:
    from torch import nn


@architecture(family="vgg", paper="Simonyan and Zisserman 2015, arXiv 1409.1556")
def small_vgg(num_classes: int = 10, in_chans: int = 1, width: int = 16) -> nn.Module:
    """Five convolutions of `width` × (1, 2, 4, 4, 8) channels (Simonyan and Zisserman 2015, arXiv 1409.1556).

    A max-pool follows all but the third and last; mean pooling and one linear layer replace VGG's three.
    """
    from torchvision.models.vgg import make_layers

    pattern = [width, "M", 2 * width, "M", 4 * width, 4 * width, "M", 8 * width]
    features = make_layers(pattern, batch_norm=True)
    features[0] = stem_convolution(in_chans, width, "plain")
    return pooled_classifier(features, 8 * width, num_classes, in_chans)
