"""Studies as frozen records, and the files that they are read from. Nothing here imports torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from transferzoo.base.errors import UnknownNameError, UsageError
from transferzoo.base.frozen_model import FrozenModel
from transferzoo.base.yaml_file import read_yaml
from transferzoo.studies.entries import (
    AttackEntry,
    ChosenBy,
    Claim,
    DerivedDatasetEntry,
    ModelEntry,
    Operand,
    SharpnessEntry,
    check_distinct_seeds,
    check_train_fields,
)


class Study(FrozenModel):
    """A study: trainings × seeds × epochs × attacks × targets, measurements, and claims.

    Attributes:
        name: the file's stem.
        about: the question, in a sentence.
        dataset: name in the zoo.
        split: whose images are attacked; the data set's by default.
        images: how many at most; likewise.
        batch_size: images in a work unit; likewise.
        images_correct_for, from_end: as in `AttackConfig`.
        seeds: training seeds.
        training_images: how many of the training split are sampled, the same for all trainings; all of them
            by default.
        train: fields of `TrainConfig` that all trainings share.
        data: derived data sets.
        surrogates: models that images are crafted on.
        others: models that are only targets, or that data are derived with.
        targets: names of the study's own models, at their first seed, or of others, see `models.resolve`;
            "itself" for each surrogate too, a white box, which is in no mean.
        attacks: each on every surrogate.
        chosen_by: what their step sizes were chosen by; None where they were not.
        robust: the attack on the surrogate itself that "robust" is the accuracy under; None for none.
        sharpness: how it is measured; None for not at all.
        claims: the records decide them.
        earlier: studies of the package whose records tell, before any of this one, how much trainings differ.
    """

    name: str = ""
    about: str
    dataset: str
    split: str | None = None
    images: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    images_correct_for: Literal["all", "target", "none"] = "all"
    from_end: bool = False
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    training_images: int | None = Field(default=None, ge=2)
    train: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, DerivedDatasetEntry] = Field(default_factory=dict)
    surrogates: dict[str, ModelEntry] = Field(min_length=1)
    others: dict[str, ModelEntry] = Field(default_factory=dict)
    targets: tuple[str, ...] = Field(default=("all",), min_length=1)
    attacks: tuple[AttackEntry, ...] = Field(default=(AttackEntry(spec="bim"),), min_length=1)
    chosen_by: ChosenBy | None = None
    robust: AttackEntry | None = None
    sharpness: SharpnessEntry | None = None
    claims: tuple[Claim, ...] = ()
    earlier: tuple[str, ...] = ()

    @property
    def models(self) -> dict[str, ModelEntry]:
        """The study's own models, by name."""
        return {**self.surrogates, **self.others}

    @property
    def trains(self) -> bool:
        """Whether any surrogate is trained, so that there are training seeds to take means over."""
        return not all(entry.model for entry in self.surrogates.values())

    @property
    def drawn(self) -> str:
        """What intervals are over, as captions say it."""
        return "training seeds and images" if self.trains else "images"

    @field_validator("attacks")
    @classmethod
    def _distinct(cls, value: tuple[AttackEntry, ...]) -> tuple[AttackEntry, ...]:
        if len({entry.label for entry in value}) < len(value):
            raise ValueError("attacks of different names, or specs where they have none")
        return value

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return check_distinct_seeds(value)

    @field_validator("train")
    @classmethod
    def _known(cls, value: dict[str, Any]) -> dict[str, Any]:
        return check_train_fields(value)


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
            if operand.attack is not None and operand.attack not in {a.label for a in study.attacks}:
                key = ("claims", number, side, "attack")
                raise file.unknown(key, "attack", operand.attack, [a.label for a in study.attacks])
    for section in ("surrogates", "others"):
        for name, entry in getattr(study, section).items():
            if entry.data and entry.data not in study.data:
                raise file.unknown((section, name, "data"), "derived data set", entry.data, study.data)
    for name in (study.sharpness and study.sharpness.only) or ():
        if name not in study.surrogates:
            raise file.unknown(("sharpness", "only"), "surrogate", name, study.surrogates)
    seeds = {*study.seeds}.union(*(entry.seeds or () for entry in study.surrogates.values()))
    if strange := {*((study.sharpness and study.sharpness.seeds) or ())} - seeds:
        raise file.error(
            ("sharpness", "seeds"),
            f"{min(strange)} is no training seed",
            expected=", ".join(map(str, sorted(seeds))),
        )
    for name in study.surrogates.keys() & study.others.keys():
        raise file.error(("others", name), f"'{name}' is a surrogate already", expected="another name")
    for number, name in enumerate(study.earlier):
        if name not in built_in():
            raise file.unknown(("earlier", number), "study", name, built_in())
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
