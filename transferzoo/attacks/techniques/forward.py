"""Changed surrogates: the model says something else of an image, and its gradient follows."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferzoo.attacks.techniques import TECHNIQUES, Patch
from transferzoo.attacks.techniques.layers import MIDDLE, Branch, branches, find_layer, hooked, on_output
from transferzoo.attacks.techniques.ranges import Dropped
from transferzoo.attacks.techniques.work_unit import sent
from transferzoo.base.errors import ModelError
from transferzoo.base.options import NonNegative

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

    from transferzoo.attacks.techniques.work_unit import WorkUnit


@TECHNIQUES.register("ghost")
@dataclass(frozen=True)
class GhostNetworks(Patch):
    """Ghost networks: every forward pass goes through another network, made of the surrogate at random.

    In a residual network skip connections are scaled, x + f(x) → λx + f(x), with λ ~ U(1 − scale, 1 + scale)
    for each block. Other networks drop outputs of their layers: each value of a batch norm, or of a ReLU
    where there is no batch norm, is 0 with probability `drop`, else divided by 1 − drop. Every image has
    draws of its own, new ones at every forward pass, so also at every step.

    The paper's `scale` is 0.22 for a ResNet-50, 0.16 and 0.12 for depths 101 and 152; it uses both changes
    in an Inception-ResNet. Some code draws λ for every channel.

    Attributes:
        scale: half the width of λ's range, 0..1; for residual networks.
        drop: probability that a value is dropped, from 0 and below 1; for other networks.
    """

    revision: ClassVar[int] = 2
    paper: ClassVar[str] = "Li et al. 2020, https://arxiv.org/abs/1812.03413"

    scale: Annotated[float, Field(ge=0, le=1)] = 0.16
    drop: Dropped = 0.006

    @contextmanager
    def patch(self, model: nn.Module, unit: WorkUnit) -> Iterator[Callable[[], int]]:
        """See `Patch.patch`.

        Raises:
            ModelError: the model has neither skip connections from the input of a block nor layers to drop.
        """
        acts: Counter[str] = Counter()

        def factor() -> Tensor:
            acts["skip"] += 1
            return 1 + self.scale * (2 * unit.uniform(1) - 1)

        def kept(output: Tensor) -> Tensor:
            acts["layer"] += 1
            draws = unit.uniform(*output.shape[1:])
            return output * sent(draws >= self.drop, output) / (1 - self.drop)

        skips = [branch for branch in branches(model) if branch.skips]
        dropping = [] if skips else _droppable(model)
        if not skips and not dropping:
            raise ModelError(
                "'ghost' finds nothing to vary in the surrogate",
                expected="residual blocks of convolutions, or batch norms or ReLUs that are modules",
                hint="choose a convolutional network",
            )
        scaled = (handle for branch in skips for handle in _scaled(branch, factor))
        with hooked(scaled), hooked(on_output(part, kept) for part in dropping):
            yield acts.total


def _scaled(branch: Branch, factor: Callable[[], Tensor]) -> Iterator[RemovableHandle]:
    """Scale a skip connection, x or s(x), by a factor (N, 1) at every pass."""

    def shaped(like: Tensor) -> Tensor:
        return sent(factor(), like).view(-1, *[1] * (like.ndim - 1))

    if branch.skip is not None:
        yield on_output(branch.skip, lambda output: shaped(output) * output)
        return
    entered: list[Tensor] = []

    def remember(_: nn.Module, inputs: tuple[Tensor]) -> None:
        entered[:] = inputs[:1]

    def add(output: Tensor) -> Tensor:
        (x,) = entered
        entered.clear()
        return output + (shaped(x) - 1) * x

    yield branch.block.register_forward_pre_hook(remember)
    yield on_output(branch.end, add)


def _droppable(model: nn.Module) -> list[nn.Module]:
    """Return the batch norms of a model, folded ones too, or where it has none its ReLUs."""
    from torch import nn

    from transferzoo.models.optimize import FoldedNorm

    parts = list(model.modules())
    norms: list[nn.Module] = [part for part in parts if isinstance(part, (nn.BatchNorm2d, FoldedNorm))]
    return norms or [part for part in parts if isinstance(part, nn.ReLU)]


@TECHNIQUES.register("ilpd")
@dataclass(frozen=True)
class PerturbationDecay(Patch):
    """Intermediate-level perturbation decay (ILPD): at a layer, F ← γ F(z) + (1 − γ) F(x + σn), n ~ N(0, 1).

    The perturbation loses a factor γ there, so that the rest of the network, and its gradient, is that of
    almost the clean image. x has new noise at every forward pass, which costs another one, without gradient.
    Techniques that transform the image transform z, not x.

    The paper takes 100 steps of 1/255.

    Attributes:
        gamma: γ, above 0, at most 1; at 1 nothing changes.
        sigma: σ in [0, 1] pixels, at least 0.
        layer: path of the layer, or "middle"; the paper's for a ResNet-50 is layer2.3, its middle.
    """

    paper: ClassVar[str] = "Li et al. 2023, https://arxiv.org/abs/2304.13410"

    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    sigma: NonNegative = 0.05
    layer: str = MIDDLE

    @contextmanager
    def patch(self, model: nn.Module, unit: WorkUnit) -> Iterator[Callable[[], int]]:
        """See `Patch.patch`.

        Raises:
            UnknownNameError: no such layer.
        """
        import torch

        _, layer = find_layer(model, self.layer)
        acts: Counter[str] = Counter()
        looking = False
        clean: list[Tensor] = []

        def look(_: nn.Module, inputs: tuple[Tensor]) -> None:
            nonlocal looking
            if looking:
                return
            clean.clear()
            looking = True
            try:
                with torch.no_grad():
                    model(unit.images + self.sigma * sent(unit.normal(*unit.images.shape[1:]), unit.images))
            finally:
                looking = False

        def mix(output: Tensor) -> Tensor | None:
            if looking:
                clean.append(output.clone())
                return None
            acts["layer"] += 1
            return self.gamma * output + (1 - self.gamma) * clean.pop(0)

        with hooked([model.register_forward_pre_hook(look)]), hooked([on_output(layer, mix)]):
            yield acts.total
