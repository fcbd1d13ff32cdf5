"""Features mixed with those of clean images, inside the surrogate, while it is attacked."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from transferzoo.attacks.techniques import TECHNIQUES, Patch
from transferzoo.attacks.techniques.layers import hooked, on_output, unhooked
from transferzoo.attacks.techniques.ranges import Weight
from transferzoo.base.errors import ModelError
from transferzoo.base.on_device import carried
from transferzoo.base.options import NonNegative

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from transferzoo.attacks.techniques.work_unit import WorkUnit

    Before = Callable[[nn.Module, Tensor, Tensor], Tensor]

DIVISOR = 4
"""Convolutions mix whose output is at most this many times narrower than what the first of them sees."""
TINY = 1e-7


@TECHNIQUES.register("cfm")
@dataclass(frozen=True)
class CleanFeatureMixup(Patch):
    """Clean feature mixup (CFM): outputs of layers are mixed with those that clean images have there.

    At every forward pass, for each image and each layer, with probability p: F ← (1 − a) F + a F′, with F′
    the layer's output for one of `partners` clean images, at random, and a ~ U(0, largest) for every channel
    (every token, where tokens come before channels). Layers are the linear ones, the head included, and the
    convolutions whose output is at most a quarter as wide as the input of the first. The partners' features
    come from one forward pass without gradients, and stay in memory.

    The paper attacks a target class, with `logit+mi+ti:kernel=5` and `di:p=1,ratio=1.14`. In the authors'
    code a layer mixes for all images of the batch or for none, and partners are the batch, so that results
    depend on it; here they are drawn from the pool, once for all images. Their layers are of exactly the
    types Conv2d and Linear; here also of types derived from them. Batch norm that was folded into a
    convolution comes before the mixing and not after, which changes nothing for a ≤ 1 but rounding: it is
    affine.

    Attributes:
        p: probability that a layer mixes, 0..1.
        largest: upper end of the weight of clean features, 0..1.
        partners: how many clean images there are to mix with, at least 1.
    """

    revision: ClassVar[int] = 2
    place: ClassVar[str] = "the outputs of late layers"
    paper: ClassVar[str] = "Byun et al. 2023, https://arxiv.org/abs/2305.14846"

    p: Annotated[float, Field(ge=0, le=1, description="a probability")] = 0.1
    largest: Weight = 0.75
    partners: Annotated[int, Field(ge=1, le=1000)] = 20

    @contextmanager
    def patch(self, model: nn.Module, unit: WorkUnit) -> Iterator[Callable[[], int]]:
        """See `Patch.patch`.

        Raises:
            ModelError: the model has no such layer.
            UsageError: there is no pool.
        """
        with self._mixed(model, unit, lambda layer, output, chosen: output) as acted:
            yield acted

    @contextmanager
    def _mixed(self, model: nn.Module, unit: WorkUnit, before: Before) -> Iterator[Callable[[], int]]:
        """Mix inside the block, after what `before` makes of an output.

        Args:
            model: the surrogate.
            unit: what is attacked.
            before: layer, its output (N, …), whether each image mixes, bool (N, 1, …) → output.
        """
        clean = _record(model, unit.clean_images(self.partners, self.name))
        acts: Counter[str] = Counter()

        def mix(layer: nn.Module, output: Tensor) -> Tensor:
            acts["layer"] += 1
            bank, ones = clean[layer], [1] * (output.ndim - 2)
            draws = carried(unit.uniform(2 + output.shape[1]), output.device)
            chosen = (draws[:, 0] < self.p).view(-1, 1, *ones)
            features = bank[(draws[:, 1] * len(bank)).long()]
            weight = chosen * (self.largest * draws[:, 2:]).to(output).view(*output.shape[:2], *ones)
            return (1 - weight) * before(layer, output, chosen) + weight * features

        with hooked(on_output(layer, lambda output, layer=layer: mix(layer, output)) for layer in clean):  # type: ignore[misc]
            yield acts.total


@TECHNIQUES.register("ftm")
@dataclass(frozen=True)
class FeatureTuningMixup(CleanFeatureMixup):
    """Feature tuning mixup (FTM): CFM, with a perturbation of features that works against the attack.

    Each layer of `cfm` has a perturbation P for every image, 0 at first. At every forward pass
    F ← F + s P, with s = beta ‖F‖₂ / (‖P‖₂ + 10⁻⁷) held constant, and then mixes as in `cfm`; where it mixes,
    P ← P − ∂J/∂P follows from the gradient of the attack's own objective J. It costs no further gradient.

    s makes the first gradient 10⁷ times as large as the later ones, so a layer's P keeps the direction of
    its first, in float32 to the last bit. The formula is that of TransferAttack's code; there the gradient of
    P is never asked for, so P stays 0 and FTM is CFM. The authors' own code could not be read.

    Attributes:
        p: probability that a layer mixes and learns, 0..1.
        largest: upper end of the weight of clean features, 0..1.
        partners: how many clean images there are to mix with, at least 1.
        beta: length of the perturbation over that of the features, at least 0.
    """

    paper: ClassVar[str] = "Liang et al. 2025, https://arxiv.org/abs/2411.15553"

    beta: NonNegative = 0.01

    @contextmanager
    def patch(self, model: nn.Module, unit: WorkUnit) -> Iterator[Callable[[], int]]:
        """See `Patch.patch`.

        Raises:
            ModelError: the model has no layer that mixes.
            UsageError: there is no pool.
        """
        import torch

        tuning: dict[nn.Module, Tensor] = {}

        def perturb(layer: nn.Module, output: Tensor, chosen: Tensor) -> Tensor:
            past = tuning.setdefault(layer, torch.zeros_like(output))
            scale = self.beta * _length(output.detach()) / (_length(past) + TINY)
            moved = output + past * scale

            def learn(gradient: Tensor) -> None:
                tuning[layer] = torch.where(chosen, tuning[layer] - scale * gradient, tuning[layer])

            if moved.requires_grad:
                moved.register_hook(learn)
            return moved

        with self._mixed(model, unit, perturb) as acted:
            yield acted


def _length(features: Tensor) -> Tensor:
    """Return ‖F‖₂ of every image, (N, 1, …)."""
    length: Tensor = features.flatten(1).norm(dim=1)
    return length.view(-1, *[1] * (features.ndim - 1))


def _record(model: nn.Module, images: Tensor) -> dict[nn.Module, Tensor]:
    """Return the layers that mix, in no order, and what each gives for some images, (M, …).

    Raises:
        ModelError: there is no such layer.
    """
    import torch
    from torch import nn

    seen: dict[nn.Module, Tensor] = {}
    width: list[int] = []

    def look(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        linear = isinstance(layer, nn.Linear)
        if not linear:
            width.append(inputs[0].shape[-1])
        if len(output) == len(images) and (linear or output.shape[-1] <= width[0] // DIVISOR):
            seen[layer] = output.clone()  # what comes next may work in place

    layers = [part for part in model.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    with unhooked(model), hooked(layer.register_forward_hook(look) for layer in layers), torch.no_grad():
        model(images)
    if not seen:
        raise ModelError(
            "the surrogate has no layer whose features could be mixed",
            expected="linear layers, or convolutions that make the image a quarter as wide",
            hint="choose another surrogate",
        )
    return seen
