"""Views that scale pixel values (SI) and mix in other images (Admix)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferzoo.attacks.techniques import TECHNIQUES, View
from transferzoo.attacks.techniques.oracles import mean
from transferzoo.attacks.techniques.ranges import Count, Few, Weight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from transferzoo.attacks.techniques import Oracle
    from transferzoo.attacks.techniques.work_unit import WorkUnit


@TECHNIQUES.register("si")
@dataclass(frozen=True)
class ScaleInvariance(View):
    """Scale invariance (SI): the mean gradient over darker copies of the image, J(x / 2^i).

    i goes from 0 to scales − 1. By the chain rule the gradient of a copy counts 2^−i. Pixels are scaled in
    [0, 1], before the model's normalisation.

    Attributes:
        scales: copies, 1..16; at 1 the image itself is left.
    """

    paper: ClassVar[str] = "Lin et al. 2020, https://arxiv.org/abs/1908.06281"

    scales: Few = 5

    @property
    def cost(self) -> int:
        """See `Technique.cost`."""
        return self.scales

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""
        return lambda images: mean(_darker(oracle, images, self.scales))


@TECHNIQUES.register("admix")
@dataclass(frozen=True)
class Admix(View):
    """Admix: scale invariance of the image with a little of others, J((x + mix·x′) / 2^i).

    The mean goes over `partners` clean images x′ and i = 0 … scales − 1; by the chain rule a gradient counts
    2^−i. Each image draws partners of another class from the pool, new ones at every step. Nothing is
    clipped, as in the paper: a copy may reach 1 + mix.

    TransferAttack and others take the partners from the batch as it is perturbed so far, the image itself and
    its own class included: the result then depends on the batch size, and alone an image has no partner.

    Attributes:
        mix: weight of a partner, 0..1.
        partners: images to mix with, from 1.
        scales: copies of each mixture, 1..16.
    """

    paper: ClassVar[str] = "Wang et al. 2021, https://arxiv.org/abs/2102.00436"

    mix: Weight = 0.2
    partners: Count = 3
    scales: Few = 5

    @property
    def cost(self) -> int:
        """See `Technique.cost`."""
        return self.partners * self.scales

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""

        def directions(images: Tensor) -> Iterator[Tensor]:
            for _ in range(self.partners):
                yield from _darker(oracle, images + self.mix * unit.partners(), self.scales)

        return lambda images: mean(directions(images))


def _darker(oracle: Oracle, images: Tensor, scales: int) -> Iterator[Tensor]:
    """Give the directions at images / 2^i, brought back to the images."""
    return (oracle(images / 2**i) / 2**i for i in range(scales))
