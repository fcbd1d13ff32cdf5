"""Layers that say the same in less time on a CPU, for a model whose weights stay as they are.

A convolution meets nothing but padding with some of its weights where a map is small: of a kernel of 3×3 one
weight meets the only pixel of a map. And a linear layer of tokens is a convolution of 1×1 pixels, for which
oneDNN is faster on some processors than the library that PyTorch multiplies matrices with. The layers keep
their names, places and weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrize import is_parametrized

if TYPE_CHECKING:
    from torch import Tensor

    Kept = tuple[slice, int]


class Tokens(nn.Linear):
    """A linear layer that multiplies the tokens of images as if they were pixels."""

    def __init__(self, whole: nn.Linear) -> None:
        super().__init__(whole.in_features, whole.out_features, whole.bias is not None, device="meta")
        self.weight, self.bias = whole.weight, whole.bias

    def forward(self, input: Tensor) -> Tensor:
        """Return (N, …, D) of tokens (N, …, C); vectors and other numbers take the usual way."""
        if input.ndim < 3 or input.dtype is not torch.float32 or self.weight.requires_grad:
            return super().forward(input)
        product: Tensor = _Product.apply(input.flatten(1, -2), self.weight, self.bias)
        made: Tensor = product.unflatten(1, input.shape[1:-1])
        return made


class _Product(torch.autograd.Function):
    """Tokens (N, T, C) times a matrix (D, C), plus a bias (D,).

    The gradient to the tokens is such a product too, which takes less time than a convolution's gradient.
    """

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        ctx.matrix = matrix
        pixels = tokens.unsqueeze(2).permute(0, 3, 1, 2)  # (N, C, T, 1), channels last as they are in memory
        kernel = matrix[..., None, None].contiguous(memory_format=torch.channels_last)
        # One pixel has nothing to dilate; but what is dilated PyTorch leaves to oneDNN in small batches too.
        return functional.conv2d(pixels, kernel, bias, dilation=2).permute(0, 2, 3, 1).flatten(1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        return _Product.apply(gradient.contiguous(), ctx.matrix.t(), None), None, None


class Cropped(nn.Conv2d):
    """A convolution without the rows and columns of its kernel that meet padding alone.

    Args:
        whole: the convolution; padded by numbers, with zeros.
        size: height and width of the maps that this is so for.
        rows, columns: what is left of the kernel, and the padding that goes with it.
    """

    cut: Tensor

    def __init__(self, whole: nn.Conv2d, size: torch.Size, rows: Kept, columns: Kept) -> None:
        channels, kernel = (whole.in_channels, whole.out_channels), whole.kernel_size
        says: dict[str, Any] = {
            key: getattr(whole, key) for key in ("stride", "padding", "dilation", "groups")
        }
        says |= {"bias": whole.bias is not None, "device": "meta"}
        super().__init__(*channels, kernel, **says)  # type: ignore[arg-type]
        self.weight, self.bias, self.size = whole.weight, whole.bias, size
        self.less = (rows[1], columns[1])
        like = torch.channels_last if whole.weight.stride(1) == 1 else torch.contiguous_format
        cut = whole.weight.detach()[:, :, rows[0], columns[0]].clone(memory_format=like)
        self.register_buffer("cut", cut, persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """Return what the convolution does; of maps of another size with its whole kernel."""
        if input.shape[2:] != self.size or self.weight.requires_grad:
            return super().forward(input)
        return functional.conv2d(
            input, self.cut, self.bias, self.stride, self.less, self.dilation, self.groups
        )


@torch.no_grad()
def quicken(model: nn.Module, images: Tensor) -> None:
    """Put quicker layers in the places of a model's, whose weights must not change afterwards.

    Args:
        model: on a CPU, in float32.
        images: a few, as the model takes them; the sizes of its maps are those of these.
    """
    seen: dict[nn.Module, tuple[torch.Size, torch.Size]] = {}

    def see(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen[layer] = inputs[0].shape, output.shape

    names = {part: name for name, part in model.named_modules() if not is_parametrized(part)}
    hooks = [part.register_forward_hook(see) for part in names if type(part) in (nn.Conv2d, nn.Linear)]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    for layer, (read, made) in seen.items():
        quick: nn.Module | None = None
        if isinstance(layer, nn.Conv2d):
            rows, columns = (_kept(layer, axis, read[2 + axis], made[2 + axis]) for axis in (0, 1))
            whole = tuple(slice(0, length) for length in layer.kernel_size)
            if rows and columns and (rows[0], columns[0]) != whole:
                quick = Cropped(layer, read[2:], rows, columns)
        elif isinstance(layer, nn.Linear) and len(read) > 2:
            quick = Tokens(layer)
        if quick is not None:
            model.set_submodule(names[layer], quick.train(layer.training))


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
