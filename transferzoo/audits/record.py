"""What an audit found, as `audit.json` has it. Nothing here imports torch.

`audit.schema.json`, which the package holds, is the JSON schema of it; `schema_version` rises with it.
"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from transferzoo.base.atomic import write_text
from transferzoo.base.errors import DataError, reason, refusal
from transferzoo.base.foreign_files import read_text
from transferzoo.base.frozen_model import FrozenModel, wanted

SCHEMA_FILE = Path(__file__).parent / "audit.schema.json"
OUTCOMES = r"^[01-]*$"
"""A character an image: 1 fooled, 0 not, - not counted, as the model gets it wrong without an attack."""


class Verdict(StrEnum):
    """What an audit says."""

    PASS = "pass"
    FAIL = "fail"
    CANNOT_TELL = "cannot tell"

    @property
    def exit_code(self) -> int:
        """What the command ends with; 1 and 2 stand for what could not be measured or was wrongly asked."""
        return {Verdict.PASS: 0, Verdict.FAIL: 3, Verdict.CANNOT_TELL: 4}[self]


class Share(FrozenModel):
    """A share of the counted images, and the bounds of it, each wrong in at most 2.5 % of cases."""

    rate: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)


class AuditedModel(FrozenModel):
    """The model that is audited: name, place, digest of its weights, share of the drawn images it gets right.

    `place` is what the command names; a relative path is relative to where the command was given.
    """

    name: str
    place: str
    sha256: str
    accuracy: float = Field(ge=0, le=1)


class Image(FrozenModel):
    """An image that was drawn: id and label in the data, file if it has one, SHA-256 of its pixels."""

    id: int
    label: int
    name: str = ""
    sha256: str


class Attacker(FrozenModel):
    """An attacker: models, and an attack on them.

    Attributes:
        kind: where its models come from: models that anybody can have ("public"), models that were trained on
            images that are not audited ("adapted"), on the audited model's answers to such images
            ("replica"), or whatever made the images of a pack ("pack").
        surrogate: full name; of an ensemble the names joined by " & ".
        attack: canonical form, budget included.
        gradients: gradient evaluations an image.
        surrogate_accuracy: on the images that were looked at; of an ensemble the mean.
        surrogate_sha256: of the weights; of an ensemble joined by " & ".
        agreement: how often a replica answers as the audited model does, on images that it was not trained
            on; of an ensemble the mean. None of others.
        outcomes: a character an image, in the order of `AuditRecord.images`.
        share: fooled images, of those that count.
        upper: the lowest limit that this one is shown to be within where all are held to the same, by Holm's
            correction for their number. Whatever that limit, anything wrong is said of it in at most 2.5 % of
            cases; that one of several attackers is above its own `upper` can be more frequent.
        lower: the highest limit that it is shown to be above, likewise.
        standing: "within" the limit where `upper` is. "above" it where the verdict by the limit is fail, and
            `lower` is above or it is an attacker that was chosen on one half of the images and shown to be on
            the other. Else "cannot tell".
    """

    kind: Literal["public", "adapted", "replica", "pack"]
    surrogate: str
    attack: str
    gradients: int = Field(ge=0)
    surrogate_accuracy: float = Field(ge=0, le=1)
    surrogate_sha256: str
    agreement: float | None = Field(default=None, ge=0, le=1)
    outcomes: str = Field(pattern=OUTCOMES)
    share: Share
    upper: float = Field(ge=0, le=1)
    lower: float = Field(ge=0, le=1)
    standing: Literal["within", "above", "cannot tell"]


class HeldOut(FrozenModel):
    """The best single attacker: chosen on either half of the images, measured on the other.

    Attributes:
        rate: over both halves.
        low: lower bound of the best attacker's rate: the higher of those of the halves, each wrong in at most
            1.25 % of cases.
        chosen: numbers of the attackers chosen on the first, third, … counted image, and on those between.
        lows: lower bounds of these two, on the images that they were not chosen on.
    """

    rate: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    chosen: tuple[int, int]
    lows: tuple[float, float]


class Reference(FrozenModel):
    """A model of the zoo under the attackers that count: the rate of the best one, held out."""

    name: str
    rate: float = Field(ge=0, le=1)


class Controls(FrozenModel):
    """What the rates are to be held against.

    Attributes:
        noise: random noise of the same size, which takes no knowledge; None where it was not shown to a model
            that says labels alone.
        noise_outcomes: a character an image; empty then.
        references: models of the zoo, the least fooled first.
        rank: 1 plus the number of references that are fooled less often; None without any.
    """

    noise: Share | None
    noise_outcomes: str = Field(pattern=OUTCOMES)
    references: tuple[Reference, ...]
    rank: int | None


class Change(FrozenModel):
    """An attacker's rate less that on the baseline, on images that both models get right; p of a worsening.

    `p` is one-sided, of McNemar's exact test; `adjusted` is corrected for the attackers by Holm's method.
    Without such images (`n` 0) the difference is 0, and p 1.
    """

    attacker: int
    n: int = Field(ge=0)
    difference: float = Field(ge=-1, le=1)
    p: float = Field(ge=0, le=1)
    adjusted: float = Field(ge=0, le=1)


class Comparison(FrozenModel):
    """The audit against an earlier one, of another release of the model."""

    model: str
    sha256: str
    verdict: Verdict
    changes: tuple[Change, ...] = Field(min_length=1)


class PackFile(FrozenModel):
    """The pack that an audit tried: what the command names, and the SHA-256 of it."""

    name: str
    sha256: str


class Times(FrozenModel):
    """When the audit was written, and minutes: forecast before, and taken by the command that ended it."""

    created: str
    forecast_minutes: float = Field(ge=0)
    minutes: float = Field(ge=0)


class AuditRecord(FrozenModel):
    """All of an audit. Only `times` differ between two audits by the same command on the same machine.

    Attributes:
        schema_version: of this format.
        model: what was audited.
        dataset: what the images are of.
        split: which part.
        seed: of the draw of images.
        norm: of the budget, "linf" or "l2".
        epsilon: how far images may be changed, as it was written, in [0, 1] pixels.
        images: those that were drawn.
        counted: how many the model gets right without an attack: shares are of these.
        max_rate: the limit that is judged by; None where only the baseline judges.
        attackers: at least one.
        any_of: images that one attacker at least fools; it is not judged.
        held_out: the best single attacker.
        controls: noise and reference models.
        limit_verdict: by the limit; None where there is none.
        images_to_settle: how many would settle it at these rates; None where the verdict is clear, or where
            no number up to a million would.
        comparison: with the baseline, if there is one.
        verdict: the worse of both.
        pack: the images that were tried, where they existed before.
        gradients: evaluations in all.
        queries: images that the audited model classified, those of `answers` among them; behind a defence
            each view counts.
        answers: what it said of images that are not audited, which its replicas were trained on.
        left_out: attackers that have the audited model's own weights.
        cautions: what is doubtful about the model on these images, in sentences; none as a rule.
        command: as it was written.
        versions: of the packages that the result depends on.
        times: see `Times`.
    """

    schema_version: Literal[1] = 1
    model: AuditedModel
    dataset: str
    split: str
    seed: int
    norm: str
    epsilon: str
    images: tuple[Image, ...] = Field(min_length=1)
    counted: int = Field(ge=1)
    max_rate: float | None = Field(ge=0, le=1)
    attackers: tuple[Attacker, ...] = Field(min_length=1)
    any_of: Share
    held_out: HeldOut
    controls: Controls
    limit_verdict: Verdict | None
    images_to_settle: int | None
    comparison: Comparison | None
    verdict: Verdict
    pack: PackFile | None = None
    gradients: int
    queries: int
    answers: int = 0
    left_out: tuple[str, ...]
    cautions: tuple[str, ...] = ()
    command: str
    versions: dict[str, str]
    times: Times

    @model_validator(mode="after")
    def _whole(self) -> AuditRecord:
        texts = [each.outcomes for each in self.attackers]
        texts += [self.controls.noise_outcomes] if self.controls.noise else []
        if any(len(text) != len(self.images) for text in texts):
            raise ValueError("an outcome for every image")
        return self

    def write(self, path: Path) -> None:
        """Write it as JSON.

        Raises:
            TransferZooError: the file cannot be written.
        """
        content = json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)
        write_text(path, content + "\n")


def read_audit(path: Path) -> AuditRecord:
    """Read an `audit.json`.

    Raises:
        DataError: it is none, or of another version of the format.
    """
    try:
        return AuditRecord.model_validate_json(read_text(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its content"
        problem = f"{place}: expected {wanted(first['msg'])}"
        if first["type"] == "json_invalid":
            problem = "it is no JSON"
    except OSError as error:
        problem = refusal(error)
    except ValueError as error:
        problem = reason(error)
    raise DataError(
        f"cannot read the audit {path}: {problem}", hint="name the audit.json that `transferzoo audit` wrote"
    )


def json_schema() -> str:
    """Return the JSON schema of `audit.json`."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **AuditRecord.model_json_schema()}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
