"""Several surrogates at once: what is maximised of them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from transferzoo.attacks.techniques import TECHNIQUES, Features, Fusion
from transferzoo.base.spec_strings import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from transferzoo.attacks.composition import Composition
    from transferzoo.attacks.techniques import Logits, Objective
    from transferzoo.attacks.techniques.work_unit import WorkUnit
    from transferzoo.base.budget import Budget


@TECHNIQUES.register("ens")
@dataclass(frozen=True)
class Together(Fusion):
    """All surrogates at every step; the default where there are several. With one it changes nothing.

    * fuse=logits: J of the mean logits, mean_k z_k. The model with the largest logits says most.
    * fuse=probabilities: J of log mean_k softmax(z_k).
    * fuse=losses: mean_k J(z_k); its gradient is the mean of the models' gradients.

    Attributes:
        fuse: what the mean is taken of.
    """

    paper: ClassVar[str] = "Liu et al. 2017, https://arxiv.org/abs/1611.02770"

    fuse: Literal["logits", "probabilities", "losses"] = "logits"

    def check(self, composition: Composition, budget: Budget, *, targeted: bool) -> None:
        """See `Technique.check`: features have no probabilities."""
        require(
            self.fuse != "probabilities" or not composition.of(Features),
            "features have no probabilities",
            expected="fuse=logits or fuse=losses",
            got=f"fuse={self.fuse}",
        )

    def evaluations(self, models: int) -> int:
        """See `Fusion.evaluations`."""
        return models

    def join(self, models: Sequence[Logits], value: Objective, unit: WorkUnit) -> Objective:
        """See `Fusion.join`."""
        import torch

        def logits(images: Tensor) -> Tensor:
            return torch.stack([model(images) for model in models])

        def probabilities(images: Tensor) -> Tensor:
            return (
                logits(images).log_softmax(2).logsumexp(0)
            )  # log K more than the mean's: the losses do not see it

        def losses(images: Tensor) -> Tensor:
            return torch.stack([value(model(images)) for model in models]).mean(0)

        return {
            "logits": lambda images: value(logits(images).mean(0)),
            "probabilities": lambda images: value(probabilities(images)),
            "losses": losses,
        }[self.fuse]


DEFAULT_FUSION = Together()


@TECHNIQUES.register("long")
@dataclass(frozen=True)
class Longitudinal(Fusion):
    """One surrogate a step, in turn: as dear as one, however many there are.

    The order is drawn once for the run, the same for every image; step t uses the model at place t mod K. An
    attack of fewer steps than models does not see them all. With one it changes nothing.

    Attributes:
        order: "shuffled" or "given".
    """

    paper: ClassVar[str] = "Li et al. 2020, https://arxiv.org/abs/1812.03413"

    order: Literal["shuffled", "given"] = "shuffled"

    def evaluations(self, models: int) -> int:
        """See `Fusion.evaluations`."""
        return 1

    def join(self, models: Sequence[Logits], value: Objective, unit: WorkUnit) -> Objective:
        """See `Fusion.join`."""
        import torch

        places = list(range(len(models)))
        if self.order == "shuffled":
            places = torch.randperm(len(models), generator=unit.shared).tolist()
        return lambda images: value(models[places[unit.done % len(places)]](images))


@TECHNIQUES.register("sub")
@dataclass(frozen=True)
class Subset(Fusion):
    """A random subset of the surrogates at every step, their logits averaged; the same one for every image.

    With one surrogate it changes nothing.

    Attributes:
        size: how many at once, ≥ 1; all where there are fewer.
    """

    paper: ClassVar[str] = "Gubri et al. 2022, https://arxiv.org/abs/2207.13129"

    size: Annotated[int, Field(ge=1)] = 2

    def evaluations(self, models: int) -> int:
        """See `Fusion.evaluations`."""
        return min(self.size, models)

    def join(self, models: Sequence[Logits], value: Objective, unit: WorkUnit) -> Objective:
        """See `Fusion.join`."""
        import torch

        chosen: dict[int, list[int]] = {}

        def joined(images: Tensor) -> Tensor:
            if unit.done not in chosen:
                order = torch.randperm(len(models), generator=unit.shared).tolist()
                chosen[unit.done] = order[: self.size]
            return value(torch.stack([models[k](images) for k in chosen[unit.done]]).mean(0))

        return joined
