"""Layers that say the same in less time on a CPU, by the same weights.

A convolution meets nothing but padding with some of its weights where a map is small: of a kernel of 3×3 one
weight meets the only pixel of a map. And a linear layer of tokens is a convolution of 1×1 pixels, for which
oneDNN is faster on some processors than the library that PyTorch multiplies matrices with. A layer changes
its class and nothing else: its name, its weights and what hangs on it stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from transferzoo.models.classifier import frozen

if TYPE_CHECKING:
    from torch import Tensor

    Kept = tuple[slice, int]

EXACT = 1e-4
"""Largest change of a logit by what makes a surrogate faster, relative to the largest logit."""


class Tokens(nn.Linear):
    """A linear layer that multiplies the tokens of images as if they were pixels."""

    def forward(self, input: Tensor) -> Tensor:
        """Return (N, …, D) of tokens (N, …, C); vectors and other numbers take the usual way."""
        if input.ndim < 3 or input.dtype is not torch.float32 or self.weight.requires_grad:
            return super().forward(input)
        # (N, C, T, 1), with channels last as they are in memory
        pixels = input.flatten(1, -2).unsqueeze(2).permute(0, 3, 1, 2)
        made: Tensor = _Product.apply(pixels, self.weight, self.bias)
        return made.permute(0, 2, 3, 1).reshape(*input.shape[:-1], -1)


class _Product(torch.autograd.Function):
    """Pixels (N, C, T, 1) times a matrix (D, C), plus a bias (D,).

    The gradient to the pixels is such a product too, which takes less time than a convolution's gradient.
    """

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        ctx.matrix = matrix
        kernel = matrix[..., None, None].contiguous(memory_format=torch.channels_last)
        # One pixel has nothing to dilate; but what is dilated PyTorch leaves to oneDNN in small batches too.
        return functional.conv2d(pixels, kernel, bias, dilation=2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        return _Product.apply(gradient, ctx.matrix.t(), None), None, None


class Cropped(nn.Conv2d):
    """A convolution without the rows and columns of its kernel that meet padding alone.

    Attributes:
        map_size: height and width of the maps that this is so for.
        kept: what is left of the kernel along either axis, and the padding that goes with it.
    """

    map_size: tuple[int, ...]
    kept: tuple[Kept, Kept]

    def forward(self, input: Tensor) -> Tensor:
        """Return what the convolution does; of maps of another size with its whole kernel."""
        if input.shape[-2:] != self.map_size:
            return super().forward(input)
        (rows, above), (columns, beside) = self.kept
        kernel = self.weight[:, :, rows, columns]
        return functional.conv2d(
            input, kernel, self.bias, self.stride, (above, beside), self.dilation, self.groups
        )


@torch.no_grad()
def quicken(model: nn.Module, images: Tensor) -> None:
    """Let layers of a model take less time, where that changes no logit.

    Args:
        model: on a CPU.
        images: a few, as the model takes them; the sizes of its maps are those of these.
    """
    seen: dict[nn.Module, tuple[torch.Size, torch.Size]] = {}

    def see(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if len(inputs) == 1:
            seen[layer] = inputs[0].shape, output.shape

    plain = [part for part in model.modules() if type(part) in (nn.Conv2d, nn.Linear)]
    hooks = [part.register_forward_hook(see) for part in plain if "forward" not in vars(part)]
    with frozen(model):
        try:
            before = model(images)
        finally:
            for hook in hooks:
                hook.remove()
        for layer, (read, made) in seen.items():
            if isinstance(layer, nn.Linear) and len(read) > 2:
                layer.__class__ = Tokens
            elif isinstance(layer, nn.Conv2d) and len(read) == 4:
                _crop(layer, read[2:], made[2:])
        quick: list[nn.Module] = [layer for layer in seen if isinstance(layer, Tokens | Cropped)]
        if quick and (model(images) - before).abs().max() > EXACT * before.abs().max():
            for layer in quick:
                layer.__class__ = nn.Linear if isinstance(layer, nn.Linear) else nn.Conv2d


def _crop(layer: nn.Conv2d, size: tuple[int, ...], made: tuple[int, ...]) -> None:
    """Crop a convolution's kernel, if a part of it meets padding alone on maps of a size."""
    rows, columns = (_kept(layer, axis, size[axis], made[axis]) for axis in (0, 1))
    whole = tuple(slice(0, length) for length in layer.kernel_size)
    if rows and columns and (rows[0], columns[0]) != whole:
        layer.__class__ = Cropped
        layer.map_size, layer.kept = size, (rows, columns)  # type: ignore[assignment]


def _kept(layer: nn.Conv2d, axis: int, size: int, made: int) -> Kept | None:
    """Return what of a kernel meets one of `size` pixels along an axis, and the padding that goes with it.

    None where another padding cannot say it. Weight i meets pixel o·stride − padding + i·dilation, for each
    o of the `made` pixels of the output.
    """
    padding, step, apart = layer.padding[axis], layer.stride[axis], layer.dilation[axis]
    if isinstance(padding, str) or layer.padding_mode != "zeros":
        return None
    places = range(layer.kernel_size[axis])
    met = [i for i in places if any(0 <= o * step - padding + i * apart < size for o in range(made))]
    if not met:
        return None
    less = padding - met[0] * apart
    says = (size + 2 * less - apart * (met[-1] - met[0]) - 1) // step + 1
    return (slice(met[0], met[-1] + 1), less) if less >= 0 and says == made else None
