"""Views that scale pixel values (SI) and mix in other images (Admix)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferzoo.attacks.techniques import TECHNIQUES, Stage
from transferzoo.attacks.techniques.checks import require_count
from transferzoo.attacks.techniques.oracles import mean
from transferzoo.base.spec_strings import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from transferzoo.attacks.techniques import Oracle
    from transferzoo.attacks.techniques.work_unit import WorkUnit


@TECHNIQUES.register("si")
@dataclass(frozen=True)
class ScaleInvariance:
    """Scale invariance (SI): the mean gradient over darker copies of the image, J(x / 2^i).

    i goes from 0 to scales − 1. By the chain rule the gradient of a copy counts 2^−i. Pixels are scaled in
    [0, 1], before the model's normalisation.

    Attributes:
        scales: copies, 1..16; at 1 the image itself is left.
    """

    stage: ClassVar[Stage] = Stage.VIEWS
    paper: ClassVar[str] = "Lin et al. 2020, https://arxiv.org/abs/1908.06281"

    scales: int = 5

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            UsageError: one is out of range.
        """
        _require_scales("si", self.scales)

    @property
    def cost(self) -> int:
        """See `Technique.cost`."""
        return self.scales

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""
        return lambda images: mean(_darker(oracle, images, self.scales))


@TECHNIQUES.register("admix")
@dataclass(frozen=True)
class Admix:
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

    stage: ClassVar[Stage] = Stage.VIEWS
    paper: ClassVar[str] = "Wang et al. 2021, https://arxiv.org/abs/2102.00436"

    mix: float = 0.2
    partners: int = 3
    scales: int = 5

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            UsageError: one is out of range.
        """
        require(0 <= self.mix <= 1, "option 'mix' of 'admix' is a weight", expected="0 to 1", got=self.mix)
        require_count("admix", "partners", self.partners)
        _require_scales("admix", self.scales)

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


def _require_scales(name: str, scales: int) -> None:
    require(1 <= scales <= 16, f"option 'scales' of '{name}' is out of range", expected="1 to 16", got=scales)
