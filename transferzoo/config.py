"""What a run is made of, as frozen records.

Every configuration has one canonical form, and its fingerprint is the SHA-256 of it. Nothing here imports
torch.
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from transferzoo.errors import UsageError

Options = TypeVar("Options", bound="Record")


def canonical(content: object) -> str:
    """Return the one JSON text of what JSON can hold."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def fingerprint(content: object) -> str:
    """Return the SHA-256 of the canonical form, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()


class Record(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def of(cls: type[Options], **values: object) -> Options:
        """Make one from options a user gave.

        Raises:
            UsageError: a value is unknown, of the wrong type or out of range.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"]) or cls.__name__
            raise UsageError(
                f"option '{name}' is wrong", expected=wanted(first["msg"]), got=f"{first.get('input')!r}"
            ) from None

    def canonical(self) -> str:
        """Return the one JSON text of this configuration."""
        return canonical(self.model_dump(mode="json"))

    def fingerprint(self) -> str:
        """Return the SHA-256 of the canonical form, 64 hexadecimal digits."""
        return fingerprint(self.model_dump(mode="json"))


def wanted(message: str) -> str:
    """Return what Pydantic says of a wrong value as the end of "expected …"."""
    message = message.removeprefix("Value error, ").removeprefix("Input should be ")
    return message[:1].lower() + message[1:]


class AttackConfig(Record):
    """Everything the result of an attack run depends on, weights and images aside.

    Attributes:
        dataset: name in the zoo.
        split: which split's images.
        surrogates: models the images are crafted on, one run of the attack each.
        targets: models they are tried on.
        attack: canonical spec of the techniques, as `compose` reads it; empty for plain BIM.
        norm: ball of the perturbation.
        epsilon: budget in [0, 1] pixels, as a fraction.
        step: step size in [0, 1] pixels (L∞) or length (L2), as a fraction.
        steps: number of steps.
        images: how many images at most.
        images_correct_for: only images that all targets ("all"), the cell's own target ("target"), or no
            one in particular ("none") must classify correctly.
        seed: of the draw of images and of every random technique.
        batch_size: images in a work unit.
    """

    dataset: str
    split: str
    surrogates: tuple[str, ...] = Field(min_length=1)
    targets: tuple[str, ...] = Field(min_length=1)
    attack: str
    norm: Literal["linf", "l2"]
    epsilon: str
    step: str
    steps: int = Field(ge=1)
    images: int = Field(ge=1)
    images_correct_for: Literal["all", "target", "none"] = "all"
    seed: int = Field(default=0, ge=0)
    batch_size: int = Field(default=100, ge=1)


class TrainConfig(Record):
    """Everything a training run depends on, the data aside.

    Attributes:
        dataset: name in the zoo.
        architecture: spec of an architecture, "small_resnet50:width=12".
        minimizer: spec of a minimizer, "sam:rho=0.05".
        epochs: passes over the training set.
        batch_size: images a step.
        learning_rate: initial rate of the base optimizer.
        momentum: of SGD.
        weight_decay: applied by the base optimizer to every parameter.
        schedule: "step" multiplies the rate by `decay` at each of `decay_at`; "constant" never.
        decay_at: fractions of the training after which the rate decays.
        decay: factor of one decay.
        augment: "crop-flip" pads by 1/14 of the size, crops at random and flips half of the images;
            "crop" does not flip; "none".
        precision: "bf16" (autocast) or "fp32".
        storage: of the finished weights, "fp32" or "fp16"; what is measured is what is stored.
        seed: of the initial weights, the order of images and the augmentation.
    """

    dataset: str
    architecture: str
    minimizer: str = "sgd"
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=128, ge=2)
    learning_rate: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    schedule: Literal["step", "constant"] = "step"
    decay_at: tuple[float, ...] = (1 / 3, 2 / 3)
    decay: float = Field(default=0.1, gt=0, le=1)
    augment: Literal["crop-flip", "crop", "none"] = "crop-flip"
    precision: Literal["bf16", "fp32"] = "fp32"
    storage: Literal["fp32", "fp16"] = "fp32"
    seed: int = Field(default=0, ge=0)

    @field_validator("decay_at")
    @classmethod
    def _fractions(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < part < 1 for part in value):
            raise ValueError("fractions of the training, between 0 and 1")
        return value
