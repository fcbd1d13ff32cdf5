"""Weights that are drawn: one surrogate becomes many."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferzoo.attacks.techniques import TECHNIQUES, Draw
from transferzoo.base.errors import ModelError
from transferzoo.base.on_device import carried
from transferzoo.base.options import NonNegative

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor, nn
    from torch.nn.modules.batchnorm import _BatchNorm

    from transferzoo.attacks.techniques.work_unit import WorkUnit

STATISTICS = 200
"""Images of the pool that the batch statistics of drawn weights are taken from, at most."""


@TECHNIQUES.register("mba")
@dataclass(frozen=True)
class Bayesian(Draw):
    """More Bayesian (MBA): models with weights drawn from a Gaussian, attacked together.

    * A surrogate with several weights (LGV's): w = mean + scale·deviation·N(0, 1), number by number, the
      diagonal Gaussian that SWAG fits; the deviation is that of the population, √(E w² − (E w)²).
    * With one: w + sigma·rms(w)·N(0, 1) for every weight of two dimensions or more, rms of the whole tensor.

    The draws are the same for every image. Batch norm takes its statistics anew for each of them, from images
    of the pool (Maddox et al. 2019, https://arxiv.org/abs/1902.02476, demand it). `ens` is the mean of the
    logits, and costs n gradients a step; `long` takes one draw a step.

    The authors draw again for every step and from weights they fine-tune themselves; the draws here are made
    once, and their absolute sigma for single weights is relative here, so that it fits any network.

    Attributes:
        n: how many, ≥ 1.
        scale: of the deviation of several weights, ≥ 0.
        sigma: of the noise on single weights, relative to their root mean square, ≥ 0.
    """

    paper: ClassVar[str] = "Li et al. 2023, https://arxiv.org/abs/2302.05086"

    revision: ClassVar[int] = 2

    n: Annotated[int, Field(ge=1)] = 20
    scale: NonNegative = 1.5
    sigma: NonNegative = 0.1

    def draw(self, models: Sequence[nn.Module], unit: WorkUnit) -> list[nn.Module]:
        """See `Draw.draw`."""
        mean, deviation = self._gaussian(models)
        drawn = [deepcopy(models[0]) for _ in range(self.n)]
        for model in drawn:
            for name, weight in model.named_parameters():
                weight.data.copy_(mean[name] + deviation[name] * _noise(weight, unit.shared))
        if _norms(models[0]):
            images = unit.clean_images(STATISTICS, self.name)
            for model in drawn:
                _take_statistics(model, images)
        return drawn

    def _gaussian(self, models: Sequence[nn.Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return mean and deviation of every weight, in double precision.

        Raises:
            ModelError: the models are no weights of one network.
        """
        import torch

        first, *others = ({name: w.detach().double() for name, w in m.named_parameters()} for m in models)
        shapes = {name: weight.shape for name, weight in first.items()}
        if any({name: weight.shape for name, weight in other.items()} != shapes for other in others):
            raise ModelError(
                "'mba' fits a Gaussian to weights",
                expected="those of one network",
                got="surrogates of different architectures",
            )
        if not others:
            return first, {
                name: self.sigma * weight.square().mean().sqrt() * (weight.ndim > 1)
                for name, weight in first.items()
            }
        stacked = {name: torch.stack([first[name], *(other[name] for other in others)]) for name in first}
        return (
            {name: weights.mean(0) for name, weights in stacked.items()},
            {name: self.scale * weights.std(0, correction=0) for name, weights in stacked.items()},
        )


def _noise(weight: Tensor, generator: torch.Generator) -> Tensor:
    import torch

    return carried(torch.randn(weight.shape, generator=generator, dtype=torch.float64), weight.device)


def _norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms of a model that have running averages."""
    from torch.nn.modules.batchnorm import _BatchNorm

    return [p for p in model.modules() if isinstance(p, _BatchNorm) and p.track_running_stats]


def _take_statistics(model: nn.Module, images: Tensor) -> None:
    """Replace the running averages of a model's batch norms by those of images (M, C, H, W) in [0, 1]."""
    import torch

    norms = _norms(model)
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = 1.0  # of one batch: its own statistics
        norm.train()
    with torch.no_grad():
        model(images)
    model.eval()
