"""What a training minimises on the images of a pass: the cross-entropy, and what is added to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.base.train_config import TrainConfig
    from transferzoo.models.classifier import Classifier


def objective(
    config: TrainConfig, classifier: Classifier, images: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the loss of some images, a scalar with its graph, and their logits (B, K).

    Args:
        config: says what is added to the cross-entropy.
        classifier: in training mode.
        images: in [0, 1], (B, C, H, W).
        targets: classes int64 (B,), or probabilities (B, K).
    """
    if not config.input_gradient:
        return _cross_entropy(config, classifier, images, targets)
    images = images.detach().requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):  # the only attention that can be differentiated twice
        loss, logits = _cross_entropy(config, classifier, images, targets)
        return loss + config.input_gradient * mean_slope(loss, images), logits


def mean_slope(loss: Tensor, images: Tensor) -> Tensor:
    """Return the mean of ‖∇ᵢ Σⱼ ℓⱼ‖₂ over images i, a scalar with its graph.

    Without batch norm the loss ℓⱼ of another image does not depend on image i, and this is the mean length of
    the gradient of each image's own loss. With it there are cross terms through the statistics of the batch,
    in the authors' code as here.

    Args:
        loss: the mean of the losses of the images, a scalar with its graph.
        images: (B, C, H, W), requiring gradients.
    """
    (gradient,) = torch.autograd.grad(loss, images, create_graph=True)
    mean: Tensor = (gradient * len(images)).flatten(1).norm(dim=1).mean()
    return mean


def _cross_entropy(
    config: TrainConfig, classifier: Classifier, images: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    bf16 = config.precision == "bf16"
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        logits: Tensor = classifier(images)
    logits = logits.float() if bf16 else logits
    return F.cross_entropy(logits, targets, label_smoothing=config.label_smoothing), logits
