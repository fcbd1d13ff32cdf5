"""The entries of a zoo file: data sets, models, attack presets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from transferzoo.base.budget import MOST_STEPS, Ball, PartialBudget, WrittenBudget, check_readable
from transferzoo.base.errors import UsageError
from transferzoo.base.frozen_model import FrozenModel
from transferzoo.zoo.model_source import ModelSource

Role = Literal["surrogate", "target", "validator"]
ROLES: tuple[Role, ...] = ("surrogate", "target", "validator")
HUB = "hub:"
"""What the place of images on the Hub begins with."""
PLACE = re.compile(
    r"builtin:.+ | local:.+ | hub:(?P<repo>[^/@*]+/[^/@*]+)/"
    r"((?P<file>[^@*]+)(@sha256:(?P<sha256>[0-9a-f]{64}))?"
    r" | (?P<start>[^@*]*-)\*(?P<end>-of-(?P<parts>(?!00000)\d{5})[^@*/]*))",
    re.VERBOSE,
)
"""Where the images of a split may lie; see `DatasetSpec.splits`."""
NAMED_ON_HUB = "hf-hub:"
"""What a user puts before a repository of the Hub where a model's name is expected, as timm has it."""


MOST_CLASSES = 100_000
MOST_PIXELS = 4096
"""Height and width of images."""


def assets() -> Path:
    """Return the folder of the built-in zoo."""
    return Path(__file__).parent.parent / "assets"


class AttackDefaults(WrittenBudget):
    """What an attack on a data set uses where the user and the preset say nothing.

    Attributes:
        split: the split whose images are attacked; empty, in an entry, for "test" or the first one.
        images: how many images are attacked at most.
        images_correct_for: which of them count, see `AttackConfig`.
        batch_size: images in a work unit.
    """

    norm: Ball = "linf"
    epsilon: str = "8/255"
    step: str = "eps/10"
    steps: int = Field(default=50, ge=1, le=MOST_STEPS)
    split: str = ""
    images: int = Field(default=1000, ge=1)
    images_correct_for: Literal["all", "target", "none"] = "all"
    batch_size: int = Field(default=100, ge=1)

    @model_validator(mode="after")
    def _of_a_ball(self) -> AttackDefaults:
        if self.norm == "l2" and "epsilon" not in self.model_fields_set:
            raise ValueError("an epsilon too, where the norm is l2")
        return self


class DatasetSpec(FrozenModel):
    """A data set. Its entry in a zoo file needs only `classes` and `splits`.

    Attributes:
        name: its name in the zoo.
        classes: class names in label order; a number stands for that many nameless classes "0", "1", ….
        channels: 1 (grey) or 3 (RGB); 0 for those of its images: see `datasets.sources.measured`.
        size: height and width of the images in pixels; 0 likewise.
        mean: a value a channel, of the [0, 1] training pixels, for models trained here; 0.5 where not given.
        std: likewise the standard deviation.
        splits: split → where it may lie, tried in order: "builtin:FOLDER", "local:PATH", or a file of a data
            set of the Hub, "hub:OWNER/NAME/FILE", pinned as in "…/data.zip@sha256:HASH" or in numbered parts
            as in "…/test-*-of-00014.parquet". A file may be an archive (.zip, .tar, .tar.gz, .tgz).
        at_most: split → how many of its images are read into memory where it has more, always the same ones.
        shares: split → from where to where it goes in a draw of the images in its place, 0 to 1, where some
            splits share one: see `datasets.shares`.
        notes: split → a sentence that whoever measures on its images should know.
        fit: what is done with images of another size in class folders, lists and Parquet files: "squash"
            scales both sides (and refuses them in Parquet files), "crop" scales the shorter side to 8/7 of
            `size` and cuts out the centre.
        attack: defaults of an attack on this data set.
        recipe: the training recipe that is used where nothing else is said; None for none.
        surrogate: name of the model that images are crafted on where none is named; None for none.
        auditors: models, of different architectures, that an audit crafts on: the first five that are not the
            audited one; where there are none, surrogates that fit.
        licence: licence of the images.
        origin: where they come from.
    """

    name: str = ""
    classes: tuple[str, ...] = Field(min_length=2)
    channels: Literal[0, 1, 3] = 0
    size: int = Field(default=0, ge=0, le=MOST_PIXELS)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    splits: dict[str, tuple[str, ...]] = Field(min_length=1)
    at_most: dict[str, int] = Field(default_factory=dict)
    shares: dict[str, tuple[float, float]] = Field(default_factory=dict)
    notes: dict[str, str] = Field(default_factory=dict)
    fit: Literal["squash", "crop"] = "squash"
    attack: AttackDefaults = Field(default_factory=AttackDefaults)
    recipe: str | None = None
    surrogate: str | None = None
    auditors: tuple[str, ...] = ()
    licence: str = "unknown"
    origin: str = "unknown"

    @field_validator("classes", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        if type(value) is int:
            if value > MOST_CLASSES:
                raise ValueError(f"at most {MOST_CLASSES:,} classes")
            return tuple(str(label) for label in range(value))
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _consistent(self) -> DatasetSpec:
        known = [count for count in (self.channels, len(self.mean), len(self.std)) if count]
        if len(set(known)) > 1:
            raise ValueError(f"one mean and one std for each of the {known[0]} channels")
        if 0 < self.size < 4:
            raise ValueError("a size of at least 4 pixels")
        if self.attack.split and self.attack.split not in self.splits:
            raise ValueError(f"attack.split to be one of the splits ({', '.join(self.splits)})")
        if strays := self.notes.keys() - self.splits.keys():
            raise ValueError(f"notes on splits ({', '.join(self.splits)}), not on '{strays.pop()}'")
        for split, (start, end) in self.shares.items():
            if split not in self.splits or not 0 <= start < end <= 1:
                raise ValueError(f"shares of splits ({', '.join(self.splits)}), each as [0.7, 1]")
        for split, most in self.at_most.items():
            if split not in self.splits or most < 1:
                raise ValueError(f"at_most with a split ({', '.join(self.splits)}) and a number above 0")
        for place in (place for places in self.splits.values() for place in places):
            if not PLACE.fullmatch(place):
                raise ValueError(
                    "a split's place as builtin:NAME, local:PATH or hub:OWNER/NAME/FILE[@sha256:HASH], "
                    f"not '{place}'"
                )
        return self

    @property
    def non_commercial(self) -> bool:
        """Whether the licence of the images forbids commercial use."""
        return _forbids_commerce(self.licence)


class WeightFile(FrozenModel):
    """Weights that are no checkpoint folder yet: what their file does not say of itself.

    A pickle, a state dict inside another, other names, or a `config.json` that does not fit its weights.

    Attributes:
        file: its path within the repository or folder.
        architecture: spec of the model it fits, "resnet18" or "cifar_resnet18:width=64".
        pickle: whether it is a pickle, which is read as tensors only; safetensors otherwise.
        under: keys to follow from the outside to the state dict; as many as there are of these.
        prefix: what the names of the model's own weights begin with; others are left out, and it is cut off.
            Where neither this nor `under` is given, both are found out, see `models.wrapped_weights`.
        arguments: further arguments of the architecture.
        input_size: channels, height and width it reads.
        mean: subtracted from [0, 1] pixels, a value a channel; the architecture's own where not given.
        std: divides them then; likewise.
        sha256: of the file, where it is pinned.
    """

    file: str = Field(min_length=1)
    architecture: str = Field(min_length=1)
    pickle: bool = False
    under: tuple[str, ...] = ()
    prefix: str = ""
    arguments: dict[str, int | float | str | bool] = Field(default_factory=dict)
    input_size: tuple[int, int, int]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _consistent(self) -> WeightFile:
        channels = self.input_size[0]
        counts = {len(values) for values in (self.mean, self.std) if values}
        if channels not in (1, 3) or counts - {channels}:
            raise ValueError("one mean and one std for each of 1 or 3 channels of input_size")
        return self


class ModelSpec(FrozenModel):
    """A model: where its checkpoint folder lies and what it may serve as.

    Attributes:
        name: its name within the data set.
        dataset: the data set it classifies.
        roles: "surrogate", "target", and "validator" for what epochs and radii are chosen by, never reported.
        source: where it comes from; in a zoo file "form:place", as in "builtin:FOLDER" (in the package),
            "local:PATH" (a checkpoint folder), "hub:OWNER/NAME[@REVISION]" (one on the Hub), "onnx:PATH" (an
            exported model, target only), "python:PACKAGE.MODULE:FUNCTION" (what a function returns), or
            "train" (nobody has published it: `recipe` makes it).
        weights: of a "local:" or "hub:" place that is no checkpoint folder.
        extra: whether "all" leaves it out; its name and patterns of names reach it.
        classes: names of its classes in the order of its logits, where its files do not say.
        defence: what it does to images first, as `read_defence` reads it; empty for nothing.
        recipe: name of the training recipe that makes it, if known.
        claimed: top-1 accuracy in percent on the data set's usual images, as its source states it.
        licence: licence of the weights.
        origin: where they come from.
    """

    name: str = ""
    dataset: str = ""
    roles: tuple[Role, ...] = Field(min_length=1)
    source: ModelSource
    weights: WeightFile | None = None
    extra: bool = False
    classes: tuple[str, ...] = ()
    defence: str = ""
    recipe: str | None = None
    claimed: float | None = Field(default=None, gt=0, le=100)
    licence: str = "unknown"
    origin: str = "unknown"

    @model_validator(mode="after")
    def _makeable(self) -> ModelSpec:
        if not self.is_published and self.recipe is None:
            raise ValueError("a recipe, where the source is 'train'")
        return self

    @property
    def full_name(self) -> str:
        """`dataset/name`; of a model in memory its name."""
        return f"{self.dataset}/{self.name}" if self.dataset else self.name

    @property
    def is_published(self) -> bool:
        """Whether it has weights somewhere."""
        return self.source.state != "train"

    @property
    def non_commercial(self) -> bool:
        """Whether its licence forbids commercial use."""
        return _forbids_commerce(self.licence)

    @property
    def folder(self) -> Path:
        """The checkpoint folder of a model that is on this machine; see `download.download_model`.

        Raises:
            UsageError: it is none that has a folder.
        """
        if self.source.folder is None:
            raise UsageError(
                f"'{self.full_name}' is no checkpoint folder",
                expected="weights that can be trained",
                got=str(self.source),
            )
        return self.source.folder

    @property
    def place(self) -> str:
        """Where it lies, for a user to read."""
        if self.source.folder is None:
            return str(self.source)
        return str(self.folder / self.weights.file if self.weights else self.folder)


class Preset(PartialBudget):
    """A named attack: a spec string of techniques and, where it has its own, a budget.

    Attributes:
        spec: techniques, "rs+mi"; empty for plain BIM.
        about: one line, with the paper.
    """

    spec: str = ""
    about: str

    @model_validator(mode="after")
    def _readable(self) -> Preset:
        check_readable(self.norm or "linf", self.epsilon or "1", self.step or "eps")
        return self


def _forbids_commerce(licence: str) -> bool:
    return "-nc" in licence.lower() or "non-commercial" in licence.lower()
