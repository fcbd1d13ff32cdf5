"""The records of a zoo file: data sets, models, attack presets."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from transferzoo.config import Record
from transferzoo.errors import UsageError
from transferzoo.notation import parse_epsilon, parse_step

Role = Literal["surrogate", "target", "validator"]
ROLES: tuple[Role, ...] = ("surrogate", "target", "validator")
HUB = "hub:"
"""What the source of a model on the Hub begins with."""
NAMED_ON_HUB = "hf-hub:"
"""What a user puts before a repository of the Hub where a model's name is expected, as timm has it."""


def assets() -> Path:
    """Return the folder of the built-in zoo."""
    return Path(__file__).parent / "assets"


class AttackDefaults(Record):
    """What an attack on a data set uses where the user and the preset say nothing.

    Attributes:
        split: the split whose images are attacked.
        norm: "linf" or "l2".
        epsilon: budget in [0, 1] pixels, "8/255" or a decimal.
        step: step size, "eps/10" or a number.
        steps: number of steps.
        images: how many images are attacked at most.
        batch_size: images in a work unit.
    """

    split: str
    norm: Literal["linf", "l2"] = "linf"
    epsilon: str
    step: str = "eps/10"
    steps: int = Field(default=50, ge=1)
    images: int = Field(default=1000, ge=1)
    batch_size: int = Field(default=100, ge=1)

    @model_validator(mode="after")
    def _readable(self) -> AttackDefaults:
        _check_budget(self.norm, self.epsilon, self.step)
        return self


class DatasetSpec(Record):
    """A data set.

    Attributes:
        name: its name in the zoo.
        classes: class names in label order; a number stands for that many nameless classes "0", "1", ….
        channels: 1 (grey) or 3 (RGB).
        size: height and width of the images in pixels.
        mean: a value a channel, of the [0, 1] training pixels, for models trained here.
        std: likewise the standard deviation.
        splits: split → where it may lie, tried in order: "builtin:FOLDER", "local:PATH",
            "hub:OWNER/NAME/FILE".
        attack: defaults of an attack on this data set.
        licence: licence of the images.
        origin: where they come from.
    """

    name: str = ""
    classes: tuple[str, ...] = Field(min_length=2)
    channels: Literal[1, 3]
    size: int = Field(ge=4)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    splits: dict[str, tuple[str, ...]]
    attack: AttackDefaults
    licence: str
    origin: str

    @field_validator("classes", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        if type(value) is int:
            return tuple(str(label) for label in range(value))
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _consistent(self) -> DatasetSpec:
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError(f"one mean and one std for each of the {self.channels} channels")
        if self.attack.split not in self.splits:
            raise ValueError(f"attack.split to be one of the splits ({', '.join(self.splits)})")
        for place in (place for places in self.splits.values() for place in places):
            if place.partition(":")[0] not in ("builtin", "local", "hub"):
                raise ValueError(f"a split's place as builtin:, local: or hub:, not '{place}'")
        return self


class ModelSpec(Record):
    """A model: where its checkpoint folder lies and what it may serve as.

    Attributes:
        name: its name within the data set.
        dataset: the data set it classifies.
        roles: "surrogate", "target", and "validator" for what epochs and radii are chosen by, never reported.
        source: "builtin:FOLDER" (in the package), "local:PATH" (a checkpoint folder, design section 3) or
            "hub:OWNER/NAME[@REVISION]" (one on the Hub).
        defence: what it does to images first, as `read_defence` reads it; empty for nothing.
        recipe: name of the training recipe that makes it, if known.
        licence: licence of the weights.
        origin: where they come from.
    """

    name: str = ""
    dataset: str = ""
    roles: tuple[Role, ...] = Field(min_length=1)
    source: str = Field(pattern=r"^(builtin:.+|local:.+|hub:[^/@]+/[^/@]+(@.+)?)$")
    defence: str = ""
    recipe: str | None = None
    licence: str = "unknown"
    origin: str = "unknown"

    @property
    def full_name(self) -> str:
        """`dataset/name`."""
        return f"{self.dataset}/{self.name}"

    @property
    def on_hub(self) -> bool:
        """Whether its folder has to come from the Hub; see `pulling.located`."""
        return self.source.startswith(HUB)

    @property
    def folder(self) -> Path:
        """The checkpoint folder of a model that is on this machine."""
        assert not self.on_hub, f"{self.full_name} has to be located first"
        kind, _, place = self.source.partition(":")
        return assets() / place if kind == "builtin" else Path(place).expanduser()


class Preset(Record):
    """A named attack: a spec string of techniques and, where it has its own, a budget.

    Attributes:
        spec: techniques, "rs+mi"; empty for plain BIM.
        about: one line, with the paper.
        norm: overrides the data set's default, as do `epsilon`, `step` and `steps`.
    """

    spec: str = ""
    about: str
    norm: Literal["linf", "l2"] | None = None
    epsilon: str | None = None
    step: str | None = None
    steps: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _readable(self) -> Preset:
        _check_budget(self.norm or "linf", self.epsilon or "1", self.step or "eps")
        return self


def _check_budget(norm: str, epsilon: str, step: str) -> None:
    try:
        parse_step(step, parse_epsilon(epsilon, norm))
    except UsageError as error:
        raise ValueError(f"a readable budget ({str(error).removesuffix('.')})") from None
