"""A surrogate made ready for many gradients: batch norm folded, fewer bits, quicker layers, compiled.

In evaluation mode batch norm is an affine map, and behind a convolution it becomes part of its weights:

    w′ = w·γ/√(σ² + ε),  b′ = (b − μ)·γ/√(σ² + ε) + β

The layers keep their names and places, so that techniques find them; what batch norm did is the identity.
"""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from contextlib import ExitStack
from copy import deepcopy
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from transferzoo.base.errors import ModelError
from transferzoo.base.fixed_math import fixed_math
from transferzoo.models.batches import device_memory
from transferzoo.models.classifier import frozen
from transferzoo.models.quick_layers import EXACT, quicken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from transferzoo.models.classifier import Classifier

Precision = Literal["fp32", "bf16"]

MOST_IMAGES = 512
"""Images attacked together with `--batch-size auto` at most; more make nothing faster."""


def best_precision(device: torch.device) -> Precision:
    """Return "bf16" where the processor multiplies in it, "fp32" where that is emulated, slowly."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type != "cpu":
        return "fp32"
    able = torch.cpu.get_capabilities()
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32"


def optimize(
    classifier: Classifier,
    example: Tensor,
    *,
    precision: Precision,
    fold: bool = True,
    compiled: bool = False,
) -> Classifier:
    """Return a copy of a surrogate that is faster and says the same.

    Weights that stay as they are lie in memory once. Of what is compiled already, TorchScript's modules
    among it, no layer can be seen or changed: it is returned itself, with fewer bits if they are wanted.

    Args:
        classifier: the surrogate; it is left as it is unless it is compiled.
        example: a few of the images, uint8 (N, C, H, W), on its device.
        precision: "bf16" rounds the weights to bfloat16; images, normalisation and logits keep their own.
        fold: fold batch norm and let layers take less time on a CPU, unless that changes a logit; not where
            the weights are changed afterwards.
        compiled: let torch.compile make it faster.

    Raises:
        ModelError: torch.compile fails.
    """
    pixels = example.to(classifier.mean) / 255
    if is_compiled(classifier):
        ready, compiled = classifier, False
    else:
        ready = folded(classifier, pixels) if fold else _twin(classifier)
        if fold and not compiled and pixels.device.type == "cpu":
            quicken(ready, pixels)
    if precision == "bf16":
        ready.model.to(torch.bfloat16)
    if compiled:
        ready.model.compile()
        try:
            with frozen(ready):
                ready(pixels)
        except RuntimeError as error:
            raise ModelError(
                f"torch.compile cannot compile the surrogate: {str(error).splitlines()[0]}",
                hint="leave --compile out; it needs a C++ compiler",
            ) from None
    return ready


def gradient_seconds(classifier: Classifier, images: Tensor) -> float:
    """Return the seconds that a gradient of an image takes, the median of three rounds after a first.

    Args:
        classifier: frozen here.
        images: attacked together, uint8 (N, C, H, W), on its device.
    """
    pixels = (images.to(classifier.mean) / 255).requires_grad_()
    seconds = []
    with fixed_math(images.device), frozen(classifier):
        for _ in range(4):
            started = time.perf_counter()
            float(torch.autograd.grad(classifier(pixels).sum(), pixels)[0].sum())  # a GPU is waited for
            seconds.append(time.perf_counter() - started)
    return median(seconds[1:]) / len(images)


def is_compiled(model: nn.Module) -> bool:
    """Return whether a part of a model is TorchScript or what torch.compile returns."""
    parts = model.modules()
    return any(isinstance(part, torch.jit.ScriptModule) or hasattr(part, "_orig_mod") for part in parts)


def largest_batch_size(surrogates: Sequence[nn.Module], images: Tensor) -> int:
    """Return how many images a gradient can be taken of at once: a power of 2, at most `MOST_IMAGES`.

    What a gradient keeps of the forward pass is measured on a few images; all memory of the device may hold
    eight times as much, so that the choice is the same at any time.

    Args:
        surrogates: attacked together, frozen here.
        images: a few, uint8 (N, C, H, W).
    """
    kept: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for model in surrogates for p in model.parameters()}

    def weigh(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with ExitStack() as block:
        for model in surrogates:
            block.enter_context(frozen(model))
        device = next((p.device for model in surrogates for p in model.parameters()), images.device)
        pixels = (images.to(device) / 255).requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(weigh, lambda tensor: tensor):
            outputs = [model(pixels) for model in surrogates]
    del outputs
    bytes_an_image = max(1, sum(kept.values()) // len(images))
    return int(
        2 ** min(math.log2(MOST_IMAGES), max(0, int(math.log2(device_memory(device) / 8 / bytes_an_image))))
    )


@torch.no_grad()
def folded(classifier: Classifier, pixels: Tensor) -> Classifier:
    """Return a copy with batch norm folded into the convolutions before it, where that changes no logit.

    Args:
        classifier: left as it is.
        pixels: a few images in [0, 1] (N, C, H, W); which layer feeds which is seen from them.
    """
    copy = _twin(classifier)
    with fixed_math(pixels.device), frozen(classifier), frozen(copy):
        before = classifier(pixels)
        names = {module: name for name, module in copy.named_modules()}
        for convolution, norm in _pairs(copy, pixels):
            _fold(convolution, norm)
            copy.set_submodule(names[norm], _rest(norm))
        after = copy(pixels)
    exact = bool((after - before).abs().max() <= EXACT * before.abs().max())
    return copy if exact else _twin(classifier)


def _twin(model: Classifier) -> Classifier:
    """Return a copy whose parameters and buffers are its own, and the numbers in them those of the model.

    They are replaced, not written to: large networks are not in memory twice.
    """
    parameters = {id(p): nn.Parameter(p.detach(), p.requires_grad) for p in model.parameters()}
    return deepcopy(model, {**parameters, **{id(buffer): buffer.detach() for buffer in model.buffers()}})


def _pairs(model: nn.Module, pixels: Tensor) -> list[tuple[nn.Conv2d, _BatchNorm]]:
    """Return the convolutions whose output goes into one batch norm and nowhere else, with it.

    What a function outside of any module does with the output stays unseen; `folded` compares the logits.
    """
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # holding the tensors keeps their ids unique
    readers: dict[int, list[nn.Module]] = {}
    calls: Counter[nn.Module] = Counter()

    def remember(module: nn.Module, _: Any, output: Any) -> None:
        if type(module) is nn.Conv2d and not torch.nn.utils.parametrize.is_parametrized(module):
            made[id(output)] = module, output

    def note(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        calls[module] += 1
        for argument in arguments:
            if id(argument) in made:
                readers.setdefault(id(argument), []).append(module)

    parts = [
        part
        for part in model.modules()
        if isinstance(part, _BatchNorm) or next(part.children(), None) is None
    ]
    hooks = [part.register_forward_pre_hook(note) for part in parts]
    hooks += [part.register_forward_hook(remember) for part in parts]
    try:
        model(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    pairs = []
    for key, (convolution, _) in made.items():
        norm, *others = readers.get(key, [None])
        once = not others and calls[convolution] == 1 and norm is not None and calls[norm] == 1
        if once and isinstance(norm, _BatchNorm) and norm.running_mean is not None:
            pairs.append((convolution, norm))
    return pairs


def _fold(convolution: nn.Conv2d, norm: _BatchNorm) -> None:
    """Give a convolution what the batch norm behind it does; computed in double precision."""
    assert norm.running_mean is not None and norm.running_var is not None, "see `_pairs`"
    bias = convolution.bias
    weight, shift = fuse_conv_bn_weights(
        convolution.weight.double(),
        None if bias is None else bias.double(),
        norm.running_mean.double(),
        norm.running_var.double(),
        norm.eps,
        None if norm.weight is None else norm.weight.double(),
        None if norm.bias is None else norm.bias.double(),
    )
    kept = convolution.weight
    like = (
        torch.channels_last
        if kept.is_contiguous(memory_format=torch.channels_last)
        else torch.contiguous_format
    )
    convolution.weight = nn.Parameter(
        weight.to(kept.dtype).contiguous(memory_format=like), requires_grad=False
    )
    convolution.bias = nn.Parameter(shift.to(kept.dtype), requires_grad=False)


class FoldedNorm(nn.Sequential):
    """What is left of a batch norm whose map is in the convolution before it; its output is the norm's."""


def _rest(norm: _BatchNorm) -> FoldedNorm:
    """Return what a batch norm of timm does besides: dropping and activating."""
    return FoldedNorm(OrderedDict(norm.named_children()))
