"""Records: the success of a surrogate and an attack against one target, and how visible it is."""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003  read when a record is checked
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from transferzoo.base.errors import DataError
from transferzoo.base.file_names import file_name
from transferzoo.base.foreign_files import parse_json
from transferzoo.base.frozen_model import fingerprint, first_fault
from transferzoo.results.statistics import wilson

T = TypeVar("T")

NOISE_SURROGATE = "random noise"
"""What stands for the surrogate of random noise: no model has such a name, which has a data set."""
NOISE_FIELDS: dict[str, Any] = {
    "surrogate": NOISE_SURROGATE,
    "surrogate_accuracy": 0.0,
    "surrogate_sha256": "",
    "steps": 0,
    "gradients": 0,
    "precision": "fp32",
}
"""What records of random noise say where others speak of a surrogate."""


def short(full_name: str) -> str:
    """Return a full name, or those of an ensemble, without the data set."""
    return " & ".join(name.partition("/")[2] or name for name in full_name.split(" & "))


@dataclass(frozen=True)
class SurrogateAttack:
    """What adversarial images are crafted by.

    Attributes:
        surrogate: full name; of an ensemble the names joined by " & ".
        attack: canonical form, budget included.
    """

    surrogate: str
    attack: str

    @property
    def folder(self) -> str:
        """Where its images lie, below `images`."""
        return f"{file_name(self.surrogate)}/{fingerprint(self.attack)[:12]}"


@dataclass(frozen=True)
class Record:
    """The success of the images of one surrogate and attack against one target: one cell of the results.

    Attributes:
        surrogate: full name; of an ensemble the names joined by " & ".
        target: full name.
        attack: canonical form, budget included.
        steps: steps after which the images were taken.
        targeted: how the target class was chosen; empty of an untargeted attack.
        dataset: name of the data set.
        split: its split.
        seed: of the run.
        selection: SHA-256 of the ids and labels of the attacked images; equal for the same images.
        n: images counted.
        successes: of them, those that the target misclassifies, or classifies as the target class.
        rate: successes / n.
        low: lower end of the 95 % Wilson interval of the rate.
        high: upper end.
        white_box: the target has the weights of the surrogate, or of one of the ensemble.
        surrogate_accuracy: clean accuracy on the candidates that were looked at; of an ensemble the mean.
        target_accuracy: likewise.
        gradients: gradient evaluations an image.
        precision: of the surrogate's weights while it is attacked, "fp32" or "bf16".
        surrogate_sha256: of the weight file; of an ensemble joined by " & ".
        target_sha256: likewise.
        outcomes: a character an attacked image in order of id: 1 fooled, 0 not, - not counted.
        versions: of the packages the result depends on.
        clean_images: candidates that the clean accuracies are of; 0 where that is not known.
        images_correct_for: which images are attacked, or counted: what all targets ("all") or this one
            ("target") classify correctly, or whatever comes ("none").
        protocol: what the run followed, as its configuration says it.
    """

    surrogate: str
    target: str
    attack: str
    steps: int
    targeted: str
    dataset: str
    split: str
    seed: int
    selection: str
    n: int
    successes: int
    rate: float
    low: float
    high: float
    white_box: bool
    surrogate_accuracy: float
    target_accuracy: float
    gradients: int
    precision: str
    surrogate_sha256: str
    target_sha256: str
    outcomes: str
    versions: Mapping[str, str]
    clean_images: int = 0
    images_correct_for: Annotated[str, Field(pattern=r"^(all|target|none)$")] = "all"
    protocol: str = ""

    @classmethod
    def of(cls, outcomes: str, **fields: Any) -> Record:
        """Return a record with the rate and its interval that outcomes give.

        Raises:
            DataError: no image counts.
        """
        successes, n = outcomes.count("1"), len(outcomes) - outcomes.count("-")
        if n == 0:
            raise DataError(f"'{fields['target']}' classifies none of the attacked images correctly")
        low, high = wilson(successes, n)
        return cls(
            **fields, outcomes=outcomes, n=n, successes=successes, rate=successes / n, low=low, high=high
        )

    @property
    def surrogate_name(self) -> str:
        """The surrogate's name without the data set; models of a program's own have none."""
        return short(self.surrogate) if self.dataset else self.surrogate

    @property
    def target_name(self) -> str:
        """The target's, likewise."""
        return short(self.target) if self.dataset else self.target

    @property
    def pair(self) -> SurrogateAttack:
        """What the images were crafted by."""
        return SurrogateAttack(self.surrogate, self.attack)


@dataclass(frozen=True)
class Visibility:
    """How visible the perturbations of one surrogate and attack are: means over the attacked images.

    Attributes:
        surrogate: full name.
        attack: canonical form.
        n: images.
        unchanged: of them, those without any perturbation; they are in the means of l0, l2, linf and mean.
        l0: share of the pixels that are changed, in [0, 1].
        l2: length of the perturbation, in [0, 1] pixels.
        linf: largest change of a value, in levels of 255.
        psnr: peak signal-to-noise ratio in dB; None if nothing is changed.
        ssim: structural similarity (Wang et al. 2004, Gaussian window of 1.5 pixels, by scikit-image, the
            extra `visibility`); None without it, if nothing is changed, or of images below the window of 11
            pixels.
        mean: absolute change of a value, in levels of 255; None of images that were measured before there
            was this field.
    """

    surrogate: str
    attack: str
    n: int
    unchanged: int
    l0: float
    l2: float
    linf: float
    psnr: float | None
    ssim: float | None
    mean: float | None = None

    @property
    def lacks_ssim(self) -> bool:
        """Whether something is changed, and yet nobody measured the structural similarity."""
        return self.psnr is not None and self.ssim is None


@dataclass(frozen=True)
class Timing:
    """How long a work unit took.

    Attributes:
        surrogate: full name.
        attack: canonical form, budget included.
        unit: its number.
        images: in it.
        seconds: of all of them.
    """

    surrogate: str
    attack: str
    unit: int
    images: int
    seconds: float


def read_line(kind: type[T], line: str) -> T:
    """Return the dataclass that a line of JSON holds, every field of its type.

    Raises:
        ValueError: it is no such line.
    """
    content = parse_json(line)
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if isinstance(content, dict) and (unknown := sorted(content.keys() - known)):
        raise ValueError(f"'{unknown[0]}' is unknown")
    try:
        found: T = _adapter(kind).validate_json(line, strict=True)  # type: ignore[arg-type]
    except ValidationError as error:
        raise first_fault(error, "a line") from None
    return found


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def read_record(line: str) -> Record:
    """Return the record that a line holds.

    Raises:
        ValueError: it is none, or says what cannot be.
    """
    record = read_line(Record, line)
    fooled, counted = record.outcomes.count("1"), len(record.outcomes) - record.outcomes.count("-")
    if not re.fullmatch("[01-]*[01][01-]*", record.outcomes):
        raise ValueError("'outcomes': expected 0, 1 and -, and an image that counts")
    if (record.successes, record.n, record.rate) != (fooled, counted, fooled / counted):
        raise ValueError(f"the rate of '{record.target}' is not that of its outcomes")
    for name in ("low", "high", "surrogate_accuracy", "target_accuracy"):
        if not 0 <= getattr(record, name) <= 1:
            raise ValueError(f"'{name}': expected 0 to 1")
    return record
