"""What a study is made of, as frozen models read from YAML. Nothing here imports torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from transferzoo.base.errors import UnknownNameError, UsageError
from transferzoo.base.frozen_model import FrozenModel
from transferzoo.base.train_config import TrainConfig
from transferzoo.base.yaml_file import read_yaml

Epoch = Annotated[int, Field(ge=1)]
SUCCESS = "success"
"""The measure of a claim where it names none: mean success rate over the targets, in [0, 1]."""


class Trained(FrozenModel):
    """A surrogate or target of a study: a training, or a model that exists, and which of its epochs count.

    In YAML the fields of a training stand beside the others: `sam: {minimizer: "sam:rho=0.05"}`.

    Attributes:
        model: name of an existing model, as `Zoo.select` takes it; empty for a training.
        train: fields of `TrainConfig`, laid over the study's own.
        data: one of the study's derived data sets that it is trained on; empty for the data set itself.
        epoch: which weights: the last, the selected, those of an epoch (from 1), or of "all" epochs.
        seeds: training seeds; the study's where none is given.
    """

    model: str = ""
    train: dict[str, Any] = Field(default_factory=dict)
    data: str = ""
    epoch: Epoch | Literal["last", "selected", "all"] = "last"
    seeds: tuple[int, ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: object) -> object:
        if not isinstance(value, dict) or "train" in value:
            return value
        own = {key: item for key, item in value.items() if key in cls.model_fields}
        return {**own, "train": {key: item for key, item in value.items() if key not in own}}

    @field_validator("seeds", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return value and distinct(value)

    @field_validator("train")
    @classmethod
    def _known(cls, value: dict[str, Any]) -> dict[str, Any]:
        return checked_fields(value)

    @model_validator(mode="after")
    def _either(self) -> Trained:
        if self.model and (self.train or self.data or self.seeds or self.epoch != "last"):
            raise ValueError("either a model that exists or a training")
        return self


class AttackEntry(FrozenModel):
    """An attack of a study; a bare string is its spec.

    Attributes:
        spec: presets and techniques, "mi+di:p=0.7".
        norm: ball of the perturbation; it and the next three are the preset's or the data set's where
            nothing is said.
        epsilon: budget in [0, 1] pixels, "8/255".
        step: step size.
        steps: number of steps.
    """

    spec: str
    norm: Literal["linf", "l2"] | None = None
    epsilon: str | None = None
    step: str | None = None
    steps: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        return {"spec": value} if isinstance(value, str) else value


class Sharpness(FrozenModel):
    """How sharpness is measured: as `transferzoo sharpness` does, on `images` training images.

    Attributes:
        images: how many.
        rho: radius of the neighbourhood.
        probes: random vectors of the trace.
        draws: of the average rise.
        only: surrogates it is measured of; all where none is given.
    """

    images: int = Field(default=500, ge=1)
    rho: float = Field(default=0.05, gt=0)
    probes: int = Field(default=10, ge=2)
    draws: int = Field(default=10, ge=2)
    only: tuple[str, ...] | None = None


class Derived(FrozenModel):
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
    steps: int = Field(default=100, ge=1)
    seed: int = Field(default=0, ge=0)


class Operand(FrozenModel):
    """One side of a claim.

    Attributes:
        surrogate: its name in the study.
        epoch: of its epochs; its own where none is given.
        attack: spec as the study writes it; the study's first where none is given.
        target: the target whose success it is; the mean over all where none is given.
        measure: "success", "accuracy", "robust", or one of sharpness, "sharpness.top".
    """

    surrogate: str
    epoch: Epoch | Literal["last", "selected"] | None = None
    attack: str | None = None
    target: str | None = None
    measure: str = SUCCESS

    @model_validator(mode="after")
    def _success(self) -> Operand:
        if self.target is not None and self.measure != SUCCESS:
            raise ValueError("a target for success alone")
        return self


class Claim(FrozenModel):
    """Something that the records decide: one operand is higher than another.

    Attributes:
        say: the claim in words.
        higher: the operand that is claimed to be higher.
        lower: the other one.
        by: by how much at least, in the unit of the measure.
    """

    say: str
    higher: Operand
    lower: Operand
    by: float = 0.0

    @model_validator(mode="after")
    def _alike(self) -> Claim:
        if self.higher.measure != self.lower.measure:
            raise ValueError("the same measure on both sides")
        if (self.higher.target is None) != (self.lower.target is None):
            raise ValueError("a target on both sides or on neither")
        return self


class Study(FrozenModel):
    """A study: trainings × seeds × epochs × attacks × targets, what is measured, and what is claimed.

    Attributes:
        name: the file's stem.
        about: the question, in a sentence.
        dataset: name in the zoo.
        split: whose images are attacked; the data set's own choice where none is given.
        images: how many at most; likewise.
        batch_size: images in a work unit; likewise.
        images_correct_for: as in `AttackConfig`.
        seeds: training seeds.
        training_images: how many of the training split are drawn, the same for all trainings; all of them
            where none is given.
        train: fields of `TrainConfig` that all trainings share.
        data: derived data sets.
        surrogates: what images are crafted on.
        others: models that are only targets, or that data are derived with.
        targets: names of the study's own models, at their first seed, or as `Zoo.select` takes them.
        attacks: each on every surrogate.
        robust: the attack on the surrogate itself that "robust" is the accuracy under; None for none.
        sharpness: how it is measured; None for not at all.
        claims: what the records decide.
    """

    name: str = ""
    about: str
    dataset: str
    split: str | None = None
    images: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    images_correct_for: Literal["all", "target", "none"] = "all"
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    training_images: int | None = Field(default=None, ge=2)
    train: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Derived] = Field(default_factory=dict)
    surrogates: dict[str, Trained] = Field(min_length=1)
    others: dict[str, Trained] = Field(default_factory=dict)
    targets: tuple[str, ...] = Field(default=("all",), min_length=1)
    attacks: tuple[AttackEntry, ...] = Field(default=(AttackEntry(spec="bim"),), min_length=1)
    robust: AttackEntry | None = None
    sharpness: Sharpness | None = None
    claims: tuple[Claim, ...] = ()

    @property
    def models(self) -> dict[str, Trained]:
        """The study's own models, by name."""
        return {**self.surrogates, **self.others}

    @field_validator("attacks")
    @classmethod
    def _distinct(cls, value: tuple[AttackEntry, ...]) -> tuple[AttackEntry, ...]:
        if len({entry.spec for entry in value}) < len(value):
            raise ValueError("attacks of different specs, which tables name them by")
        return value

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return distinct(value)

    @field_validator("train")
    @classmethod
    def _known(cls, value: dict[str, Any]) -> dict[str, Any]:
        return checked_fields(value)


def distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Return training seeds if they differ."""
    if len(set(seeds)) < len(seeds):
        raise ValueError("seeds that differ")
    return seeds


def checked_fields(value: dict[str, Any]) -> dict[str, Any]:
    """Return fields of a training if `TrainConfig` has them and the study does not set them itself."""
    for key in value:
        if key not in TrainConfig.model_fields or key in ("dataset", "seed"):
            raise ValueError(f"fields of a training, not '{key}'")
    return value


def read_study(path: Path) -> Study:
    """Read a study file.

    Raises:
        UsageError: it cannot be read or is wrong; the message names file, line and key.
    """
    file = read_yaml(path, "study", "name a study or its file")
    study = file.validated(Study).model_copy(update={"name": path.stem})
    for number, claim in enumerate(study.claims):
        for side in ("higher", "lower"):
            operand: Operand = getattr(claim, side)
            if operand.surrogate not in study.surrogates:
                key = ("claims", number, side, "surrogate")
                raise file.unknown(key, "surrogate", operand.surrogate, study.surrogates)
            if operand.attack is not None and operand.attack not in {a.spec for a in study.attacks}:
                key = ("claims", number, side, "attack")
                raise file.unknown(key, "attack", operand.attack, [a.spec for a in study.attacks])
    for section in ("surrogates", "others"):
        for name, entry in getattr(study, section).items():
            if entry.data and entry.data not in study.data:
                raise file.unknown((section, name, "data"), "derived data set", entry.data, study.data)
    for name in (study.sharpness and study.sharpness.only) or ():
        if name not in study.surrogates:
            raise file.unknown(("sharpness", "only"), "surrogate", name, study.surrogates)
    for name in study.surrogates.keys() & study.others.keys():
        raise file.error(("others", name), f"'{name}' is a surrogate already", expected="another name")
    for name, made in study.data.items():
        if made.model not in study.models:
            raise file.unknown(("data", name, "model"), "model", made.model, study.models)
        if study.models[made.model].data or study.models[made.model].model:
            raise file.error(("data", name, "model"), "wrong model", expected="one trained on the data set")
    return study


def built_in() -> dict[str, Path]:
    """Return name → file of the studies in the package."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "built_in").glob("*.yaml"))}


def find_study(name: str) -> Study:
    """Return a study of the package by name, or read one from a file.

    Raises:
        UnknownNameError: neither.
        UsageError: the file is wrong.
    """
    known = built_in()
    if name in known:
        return read_study(known[name])
    path = Path(name).expanduser()
    if not path.is_file():
        if path.suffix or os.sep in name:
            raise UsageError(
                f"there is no study file {name}", expected="a YAML file, or one of " + ", ".join(known)
            )
        raise UnknownNameError("study", name, [*known, "FILE.yaml"])
    return read_study(path)
