"""What is asked of an audit, by the command line or by a program. Nothing here imports torch."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from pathlib import Path

from transferzoo.base.errors import UnknownNameError, UsageError
from transferzoo.datasets.hf_datasets import NO_COLUMNS, Columns
from transferzoo.models.unlisted_options import NO_OPTIONS, UnlistedOptions

KINDS = ("public", "adapted", "replica")
"""Whose models attackers have: see `AuditRequest.attackers`."""
LIMIT, IMAGES, GRADIENTS = 0.2, 300, 50
"""The highest rate that passes, images that are drawn, and gradient evaluations an image and attacker, where
the user says nothing."""
LEAST_RATE = 0.001
"""Lowest rate that an audit is judged by: some six thousand images, none of them fooled, would pass."""
OF_PACKS = (
    "data",
    "split",
    "seed",
    "epsilon",
    "surrogates",
    "attacks",
    "attackers",
    "max_gradients",
    "classes",
)
"""What a pack says itself."""
FLAGS = {"surrogates": "surrogate", "attacks": "attack"}
"""Names of fields → those of their flags, where these are others."""


@dataclass(frozen=True, kw_only=True)
class AuditRequest:
    """What is asked; None and nothing stand for what is usual.

    Attributes:
        model: as a target of `attack`.
        dataset: whose images it classifies.
        data: the user's own place of images.
        columns: of a data set of the library `datasets`.
        split: which of them.
        images: how many are drawn; `IMAGES`, or all of a pack.
        seed: of the draw of images and of random techniques; 0.
        classes: file that says which classes models have that name none.
        surrogates: models that an attacker can have.
        attacks: spec strings of what is done on them.
        attackers: one of `KINDS`: models of the zoo or of the Hub, models that are trained on images that are
            not audited, or models that are trained on the audited one's answers to these.
        queries: answers, at most, that replicas are trained on.
        pack: adversarial images that exist, by name or path, pinned or not: NAME@SHA256.
        epsilon: how far images may be changed, in [0, 1] pixels, "8/255".
        max_gradients: evaluations an image and attacker; `GRADIENTS`.
        max_rate: the highest rate that passes, in [0, 1]; None where only the baseline judges.
        baseline: `audit.json` of an earlier audit.
        time_limit: seconds.
        options: what the user states about models that no zoo lists.
        noise: show random noise to a model that says labels alone too.
        allow_inaccurate: take models too whose clean accuracy is near chance.
        zoo: a zoo file, read over the built-in one.
        runs: where run folders are kept.
    """

    model: str
    dataset: str | None = None
    data: Path | None = None
    columns: Columns = NO_COLUMNS
    split: str | None = None
    images: int | None = None
    seed: int | None = None
    classes: Path | None = None
    surrogates: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ()
    attackers: str | None = None
    queries: int | None = None
    pack: str | None = None
    epsilon: str | None = None
    max_gradients: int | None = None
    max_rate: float | None = LIMIT
    baseline: Path | None = None
    time_limit: float | None = None
    options: UnlistedOptions = NO_OPTIONS
    noise: bool = False
    allow_inaccurate: bool = False
    zoo: Path | None = None
    runs: Path = Path("runs")

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            UsageError: it does, or a number is out of range.
        """
        if self.attackers not in (None, *KINDS):
            raise UnknownNameError("kind of attackers", str(self.attackers), KINDS)
        if self.max_rate is not None and not 0 <= self.max_rate <= 1:
            raise UsageError("the limit is out of range", expected="0 to 1", got=f"{self.max_rate:g}")
        if self.max_rate is not None and self.max_rate < LEAST_RATE:
            raise UsageError(
                f"no audit can show that attackers fool {100 * self.max_rate:g}% of the images at most",
                expected="a --max-rate of 0.1% or more",
                hint="give one, as 5%, which takes some 150 images",
            )
        if self.time_limit is not None and not self.time_limit > 0:
            raise UsageError(
                "the time limit is out of range", expected="above 0 s", got=f"{self.time_limit:g}"
            )
        for name in ("images", "queries", "max_gradients"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UsageError(f"'{name}' is out of range", expected="1 or more", got=str(value))
        if self.queries is not None and self.attackers != "replica":
            raise UsageError("only replicas take queries", expected="--queries with --attackers replica")
        if self.attackers in ("adapted", "replica") and self.surrogates:
            raise UsageError(
                f"--attackers {self.attackers} trains surrogates of its own",
                expected="it or --surrogate",
                got="both",
            )
        if self.pack and (said := [name for name in OF_PACKS if getattr(self, name) not in (None, ())]):
            raise UsageError(
                f"the pack {self.pack} has images, surrogates, attacks, budget and seed of its own",
                expected="none given",
                got=", ".join(f"--{FLAGS.get(name, name).replace('_', '-')}" for name in said),
            )

    def command(self, folder: Path | None, jobs: int | None) -> str:
        """Return the command that asks the same, for a shell in the same folder; baseline and all.

        Args:
            folder: where its files go; None for the command's own choice.
            jobs: processes; None for one a processor.
        """
        words = ["transferzoo", "audit", self.model]
        plain = {
            **{field.name: getattr(self, field.name) for field in fields(self) if field.name != "options"},
            **{field.name: getattr(self.options, field.name) for field in fields(self.options)},
            "time_limit": None if self.time_limit is None else _seconds(self.time_limit),
            "max_rate": None if self.max_rate is None else f"{self.max_rate!r}",
            "columns": None,
            "image_column": self.columns.image,
            "label_column": self.columns.label,
            "folder": folder,
            "jobs": jobs,
        }
        for name, value in plain.items():
            if name == "model" or value in (None, "", (), False):
                continue
            flag = f"--{FLAGS.get(name, name).replace('_', '-')}"
            if value is True:
                words.append(flag)
            elif name in ("mean", "std"):
                words += [flag, ",".join(map(repr, value))]
            else:
                for each in value if isinstance(value, tuple) else (value,):
                    words += [flag, str(each)]
        return shlex.join(words)


def _seconds(time: float) -> str:
    """Return a time as `--time-limit` reads it, "90.5s"."""
    return f"{time:.3f}".rstrip("0").rstrip(".") + "s"
