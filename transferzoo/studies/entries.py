"""Entries of a study file: models, attacks, derived data sets, claims. Nothing here imports torch."""

from __future__ import annotations

from math import log1p
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from transferzoo.base.budget import MOST_STEPS, PartialBudget
from transferzoo.base.frozen_model import FrozenModel
from transferzoo.base.train_config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

Epoch = Annotated[int, Field(ge=1)] | Literal["last", "selected"]
"""Which weights of a training: after an epoch, from 1, the last, or the selected."""
SUCCESS = "success"
"""The default measure of a claim: mean success rate over the targets, in [0, 1]."""
ITSELF = "itself"
"""Among targets: the surrogate."""
ACCURACY, ROBUST = "accuracy", "robust"
GRADIENTS, MOVED, NOISE = "gradients", "moved", "noise"
"""Measures of one attack on a surrogate: gradient evaluations an image; mean |δ| / ε in the L∞ ball; mean
success rate of random noise of the same budget over the targets, white-box ones aside."""
OF_ATTACK = (GRADIENTS, MOVED, NOISE)
SHARES = {SUCCESS, ACCURACY, ROBUST, MOVED, NOISE}
"""Measures that are shares, and written in percent."""


class ModelEntry(FrozenModel):
    """A surrogate or target of a study: a training or an existing model, and the epochs that are evaluated.

    In YAML the fields of a training are beside the others: `sam: {minimizer: "sam:rho=0.05"}`.

    Attributes:
        model: name of an existing model, see `models.resolve`; empty for a training.
        train: fields of `TrainConfig`, laid over the study's own; of an existing model only `architecture`,
            where it is a bare weight file.
        data: one of the study's derived data sets that it is trained on; empty for the data set itself.
        epoch: which weights: the last, the selected, those of an epoch (from 1), of several in a list, or of
            "all" epochs. Of several the last that is named stands for the model where a claim names none.
        seeds: training seeds; the study's by default.
    """

    model: str = ""
    train: dict[str, Any] = Field(default_factory=dict)
    data: str = ""
    epoch: Epoch | tuple[Epoch, ...] | Literal["all"] = "last"
    seeds: tuple[int, ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: object) -> object:
        if not isinstance(value, dict) or "train" in value:
            return value
        own = {key: item for key, item in value.items() if key in cls.model_fields}
        return {**own, "train": {key: item for key, item in value.items() if key not in own}}

    @field_validator("epoch", "seeds", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return value and check_distinct_seeds(value)

    @field_validator("epoch")
    @classmethod
    def _distinct(cls, value: object) -> object:
        return check_distinct_epochs(value) if isinstance(value, tuple) else value

    @field_validator("train")
    @classmethod
    def _known(cls, value: dict[str, Any]) -> dict[str, Any]:
        return check_train_fields(value)

    def epochs(self, last: int) -> tuple[int | str, ...]:
        """Return the epochs that are evaluated, of a training of `last` epochs."""
        if self.epoch == "all":
            return tuple(range(1, last + 1))
        return self.epoch if isinstance(self.epoch, tuple) else (self.epoch,)

    @model_validator(mode="after")
    def _either(self) -> ModelEntry:
        training = self.train.keys() - {"architecture"}
        if self.model and (training or self.data or self.seeds or self.epoch != "last"):
            raise ValueError("either a model that exists or a training")
        return self


class AttackEntry(PartialBudget):
    """An attack of a study; a bare string is its spec. The rest of its budget is the data set's.

    Attributes:
        spec: presets and techniques, "mi+di:p=0.7".
        name: what tables and claims call it, for one spec with several budgets; its spec by default.
    """

    spec: str
    name: str = ""

    @property
    def label(self) -> str:
        """What records, tables and claims call it."""
        return self.name or self.spec

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        return {"spec": value} if isinstance(value, str) else value


class SharpnessEntry(FrozenModel):
    """How sharpness is measured: as `transferzoo sharpness` does, on `images` training images.

    Attributes:
        images: how many.
        rho: radius of the neighbourhood.
        probes: random vectors of the trace.
        draws: of the average rise.
        only: surrogates it is measured of; all by default.
        epochs: of trainings, whether they are attacked there or not; by default those that are attacked.
        seeds: training seeds it is measured of; all by default.
    """

    images: int = Field(default=500, ge=1)
    rho: float = Field(default=0.05, gt=0)
    probes: int = Field(default=10, ge=2)
    draws: int = Field(default=10, ge=2)
    only: tuple[str, ...] | None = None
    epochs: tuple[Epoch, ...] | None = None
    seeds: tuple[int, ...] | None = Field(default=None, min_length=1)

    @field_validator("epochs")
    @classmethod
    def _epochs(cls, value: tuple[Epoch, ...] | None) -> tuple[Epoch, ...] | None:
        return None if value is None else check_distinct_epochs(value)

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return value and check_distinct_seeds(value)

    def measures(self, surrogate: str, seed: int) -> bool:
        """Return whether it is measured of a training of a surrogate."""
        return (self.only is None or surrogate in self.only) and (self.seeds is None or seed in self.seeds)

    def options(self) -> dict[str, Any]:
        """Return how it is measured, in cells, which leave out what is at its default."""
        return {name: value for name, value in self.key().items() if name in ("rho", "probes", "draws")}

    @classmethod
    def of_cell(cls, inputs: Mapping[str, Any]) -> SharpnessEntry:
        """Return the options in the inputs of a cell, which leave out those at their default."""
        return cls(**{key: inputs[key] for key in ("rho", "probes", "draws") if key in inputs})


class DerivedDatasetEntry(FrozenModel):
    """A data set made with a model, after Ilyas et al. 2019 (arXiv 1905.02175).

    Attributes:
        features: "robust": images whose last features in `model` are those of a training image, from a start
            drawn at random; "non-robust": the same with an ordinary `model`; "deterministic" and "random":
            adversarial images of `model` towards the next, or a random, class, with that class as label.
        model: one of the study's own models, at its first seed.
        images: how many training images it is made of.
        epsilon: L2 budget of adversarial images.
        step: length of a step, in L2.
        steps: number of steps.
        seed: of starts and classes.
    """

    features: Literal["robust", "non-robust", "deterministic", "random"]
    model: str
    images: int = Field(ge=2)
    epsilon: float = Field(default=0.5, gt=0)
    step: float = Field(default=0.1, gt=0)
    steps: int = Field(default=100, ge=1, le=MOST_STEPS)
    seed: int = Field(default=0, ge=0)

    @classmethod
    def of_cell(cls, inputs: Mapping[str, Any]) -> DerivedDatasetEntry:
        """Return the options in the inputs of a cell, which leave out those at their default."""
        given = {
            key: inputs[key] for key in cls.model_fields if key in inputs and key not in ("model", "images")
        }
        return cls(model="", images=inputs["count"], **given)


class Operand(FrozenModel):
    """One side of a claim.

    Attributes:
        surrogate: its name in the study.
        epoch: of its epochs; its own by default.
        attack: spec as the study writes it; the study's first by default.
        target: the target whose success it is; the mean over all by default.
        measure: "success", "accuracy", "robust", or one of sharpness, "sharpness.top".
    """

    surrogate: str
    epoch: Epoch | None = None
    attack: str | None = None
    target: str | None = None
    measure: str = SUCCESS

    @model_validator(mode="after")
    def _success(self) -> Operand:
        if self.target is not None and self.measure != SUCCESS:
            raise ValueError("a target for success alone")
        return self


class ChosenBy(FrozenModel):
    """What the step sizes of a study's attacks were chosen by, from its first surrogate.

    Attributes:
        images: how many, from the end of the seed's order.
        validators: names of the models; they are no targets of the study.
    """

    images: int = Field(ge=1)
    validators: tuple[str, ...] = Field(min_length=1)


class Claim(FrozenModel):
    """A claim that the records decide: one operand is higher than another.

    Attributes:
        say: the claim in words.
        higher: the operand that is claimed to be higher.
        lower: the other one.
        scale: "linear" for the difference of means; "log" for the ratio of geometric means, of a measure that
            has one positive value a training, such as sharpness.
        by: by how much at least, in the unit of the measure; on the log scale 0.1 is a factor of 1.1.
        bound: what a difference is too small to matter within, likewise; by default 0.05, 5 points, of shares
            on the linear scale, and none otherwise.
    """

    say: str
    higher: Operand
    lower: Operand
    scale: Literal["linear", "log"] = "linear"
    by: float = 0.0
    bound: float | None = Field(default=None, gt=0)

    @property
    def measure(self) -> str:
        """What both sides are compared by."""
        return self.higher.measure

    @property
    def margin(self) -> float:
        """What is taken off the difference, on the scale of the claim."""
        return log1p(self.by) if self.scale == "log" else self.by

    @property
    def limit(self) -> float | None:
        """What a difference is too small to matter within, on the scale of the claim."""
        if self.scale == "log":
            return None if self.bound is None else log1p(self.bound)
        return self.bound or (0.05 if self.measure in SHARES else None)

    @model_validator(mode="after")
    def _alike(self) -> Claim:
        if self.higher.measure != self.lower.measure:
            raise ValueError("the same measure on both sides")
        if (self.higher.target is None) != (self.lower.target is None):
            raise ValueError("a target on both sides or on neither")
        if self.scale == "log" and (self.measure == SUCCESS or self.by <= -1):
            raise ValueError("a log scale for a measure with one value a training, and `by` above -1")
        return self


def check_distinct_seeds(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Return training seeds if they are distinct."""
    if len(set(seeds)) < len(seeds):
        raise ValueError("seeds that differ")
    return seeds


def check_distinct_epochs(epochs: tuple[Epoch, ...]) -> tuple[Epoch, ...]:
    """Return a list of epochs if there are any, and they are distinct."""
    if not epochs or len(set(epochs)) < len(epochs):
        raise ValueError("epochs that differ, at least one")
    return epochs


def check_train_fields(value: dict[str, Any]) -> dict[str, Any]:
    """Return fields of a training if `TrainConfig` has them and the study does not set them itself."""
    for key in value:
        if key not in TrainConfig.model_fields or key in ("dataset", "seed"):
            raise ValueError(f"fields of a training, not '{key}'")
    return value
