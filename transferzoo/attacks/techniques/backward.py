"""Backward rules: the model says the same of an image, and its gradient is another."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferzoo.attacks.techniques import TECHNIQUES, Patch
from transferzoo.attacks.techniques.layers import (
    MIDDLE,
    branches,
    find_layer,
    holding,
    hooked,
    on_gradient,
    with_gradient_of,
)
from transferzoo.attacks.techniques.ranges import Factor
from transferzoo.base.errors import ModelError
from transferzoo.base.options import Positive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from transferzoo.attacks.techniques.work_unit import WorkUnit


@TECHNIQUES.register("sgm")
@dataclass(frozen=True)
class SkipGradient(Patch):
    """Skip gradients (SGM): the gradient through every residual branch shrinks, ∂(x + f(x)) → I + γ ∂f.

    What comes back through skip connections counts for more. Branches are found by what a block looks like:
    residual networks of every kind, transformers, mixers, and the layers of a DenseNet, whose skip is the
    concatenation. The paper takes γ = 0.2 for residual networks and 0.5 for DenseNets.

    The authors' code scales at the ReLUs of a branch, by √γ where it has two, and divides the gradient of
    every block by its standard deviation over the batch. It takes ReLUs by name, and so scales the one before
    the first stage, which is in no branch, and none of each stage's first block (nor of its eleventh). Here γ
    acts once, at the end of every branch, and nothing is divided.

    Attributes:
        gamma: γ, 0..1; at 1 nothing changes.
    """

    place: ClassVar[str] = "the ReLUs of residual branches"
    paper: ClassVar[str] = "Wu et al. 2020, https://arxiv.org/abs/2002.05990"

    gamma: Factor = 0.2

    @contextmanager
    def patch(self, model: nn.Module, unit: WorkUnit) -> Iterator[Callable[[], int]]:
        """See `Patch.patch`.

        Raises:
            ModelError: the model has no residual branch.
        """
        ends = [branch.end for branch in branches(model)]
        if not ends:
            raise ModelError(
                "'sgm' finds no residual branch in the surrogate",
                expected="blocks with skip connections",
                hint="choose a residual network or a transformer",
            )
        acts: Counter[str] = Counter()

        def shrink(gradient: Tensor) -> Tensor:
            acts["branch"] += 1
            return self.gamma * gradient

        with hooked(on_gradient(end, shrink) for end in ends):
            yield acts.total


@TECHNIQUES.register("bpa")
@dataclass(frozen=True)
class SmoothBackward(Patch):
    """Backward propagation attack (BPA): ReLUs and max-pools keep no gradient from flowing.

    Backward, ReLU'(u) = 1[u > 0] becomes the derivative of SiLU(u) = u·σ(u), for the ReLUs that are defined
    after `layer`, and every max-pool passes its gradient to the whole window, by softmax(temperature · u)
    over it. The softmax subtracts the maximum, so it cannot overflow, and padding gets no share; in the
    authors' code it does.

    ReLUs and max-pools count that are modules; those called as functions cannot be seen. The paper's place
    for a ResNet-50 is `layer=layer3.0`.

    Attributes:
        layer: path of the module after which ReLUs change, or "middle".
        temperature: of the softmax, above 0.
    """

    place: ClassVar[str] = "the ReLUs of residual branches"
    paper: ClassVar[str] = "Wang et al. 2023, https://arxiv.org/abs/2306.12685"

    layer: str = MIDDLE
    temperature: Positive = 10.0

    @contextmanager
    def patch(self, model: nn.Module, unit: WorkUnit) -> Iterator[Callable[[], int]]:
        """See `Patch.patch`.

        Raises:
            ModelError: no ReLU is defined after the layer.
            UnknownNameError: no such layer.
        """
        from torch import nn
        from torch.nn.functional import relu, silu

        path, layer = find_layer(model, self.layer)
        parts = list(model.modules())
        last = max(parts.index(part) for part in layer.modules())
        relus = [part for part in parts[last + 1 :] if isinstance(part, nn.ReLU)]
        pools = [part for part in parts if isinstance(part, nn.MaxPool2d)]
        if not relus:
            raise ModelError(
                "'bpa' finds no ReLU to smooth in the surrogate",
                expected=f"a module nn.ReLU after '{path}'",
                hint="choose a convolutional network, or an earlier layer by the option 'layer'",
            )
        acts: Counter[str] = Counter()

        def smooth(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            acts["relu"] += 1
            return with_gradient_of(relu(inputs[0]), silu(inputs[0]))

        def spread(pool: nn.MaxPool2d, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            return with_gradient_of(output, _soft_pool(pool, inputs[0], output, self.temperature))

        with ExitStack() as block:
            block.enter_context(holding(relus, "inplace", False))  # a ReLU in place forgets its input
            block.enter_context(hooked(part.register_forward_hook(smooth, prepend=True) for part in relus))
            block.enter_context(hooked(part.register_forward_hook(spread, prepend=True) for part in pools))
            yield acts.total


def _soft_pool(pool: nn.MaxPool2d, inputs: Tensor, output: Tensor, temperature: float) -> Tensor:
    """Return Σ_i w_i u_i over every window of a max-pool, w = softmax(temperature · u) held constant.

    Args:
        pool: an `nn.MaxPool2d`.
        inputs: u, (N, C, H, W).
        output: what the pool makes of it, (N, C, h, w).
        temperature: of the softmax.
    """
    import torch
    from torch.nn.functional import pad, unfold

    kernel, stride, padding, dilation = (
        (value, value) if isinstance(value, int) else tuple(value)
        for value in (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    )
    frame: list[int] = []
    for axis in (1, 0):  # `pad` starts with the last
        reach = (output.shape[2 + axis] - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1
        frame += [padding[axis], reach - inputs.shape[2 + axis] - padding[axis]]

    def windows(of: Tensor, fill: float) -> Tensor:
        found = unfold(pad(of, frame, value=fill), kernel, dilation=dilation, stride=stride)
        return found.view(*output.shape[:2], -1, *output.shape[2:])

    with torch.no_grad():
        lowest = torch.finfo(inputs.dtype).min / (2 * max(temperature, 1))
        weights = (temperature * windows(inputs, lowest)).softmax(2)
    return (weights * windows(inputs, 0.0)).sum(2)
