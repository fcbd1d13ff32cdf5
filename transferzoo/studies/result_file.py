"""Results of a study outside its store: outcomes of images and measured values, in one compact file.

A result file is gzipped JSON, one line each: the study first, then outcomes and values. It holds all that
claims, tables and figures need, so that studies can be reported again without weights and images. Each line
has the key of the cell that found it: what a file holds need not be computed again (`recorded`).
Nothing here imports torch.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferzoo.base.atomic import write_bytes
from transferzoo.base.errors import DataError, UsageError
from transferzoo.base.foreign_files import parse_json, unpack_gzip
from transferzoo.results.writers import check_file
from transferzoo.studies.entries import OF_ATTACK, SUCCESS
from transferzoo.studies.schema import Study

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHARPNESS = "sharpness"
SUFFIX = ".jsonl.gz"
RESULTS = Path(__file__).parent / "results"
"""Results of the package's own studies, a file each."""
SCHEMA = 1
"""Version of the format; files before there was one are of the first."""
CURVE = ("learning_rate", "loss", "train_accuracy", "validation_accuracy")
"""Measures of every epoch from the curve of a training."""


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of one attack on one surrogate, evaluated on one target.

    Attributes:
        surrogate: its name in the study.
        seed: of its training.
        epoch: 1..E, "last" or "selected".
        attack: spec as the study writes it.
        target: name.
        white_box: the target has the surrogate's weights.
        outcomes: a character an image: 1 fooled, 0 not, - not counted.
        cell: key of the cell that found them; empty where that is not known.
    """

    surrogate: str
    seed: int
    epoch: int | str
    attack: str
    target: str
    white_box: bool
    outcomes: str
    cell: str = ""

    @property
    def n(self) -> int:
        """How many images count."""
        return len(self.outcomes) - self.outcomes.count("-")

    @property
    def rate(self) -> float:
        """The success rate, in [0, 1]."""
        return self.outcomes.count("1") / self.n


@dataclass(frozen=True)
class Value:
    """A measurement of one surrogate.

    Attributes:
        surrogate: its name in the study.
        seed: of its training.
        epoch: 1..E, "last" or "selected".
        measure: "accuracy", "robust", "sharpness.top", "learning_rate", …; those of `OF_ATTACK` are of the
            attack whose outcomes have the same cell.
        value: the number.
        cell: key of the cell that found it; empty where that is not known.
    """

    surrogate: str
    seed: int
    epoch: int | str
    measure: str
    value: float
    cell: str = ""


@dataclass(frozen=True)
class Training:
    """A training of a study; studies that share trainings have equal cells.

    Attributes:
        surrogate: its name in the study.
        seed: of the training.
        training: key of its cell.
    """

    surrogate: str
    seed: int
    training: str


@dataclass(frozen=True)
class Results:
    """All results of a study, or what is finished of them.

    Attributes:
        study: the study.
        outcomes: of images.
        values: of surrogates.
        versions: of the packages that they were computed with; several of one are separated by commas.
        trainings: of the surrogates that were measured; none in files from before there were keys.
        shared: study of the package → surrogates of this one whose trainings it has as well; in no file.
    """

    study: Study
    outcomes: tuple[Outcomes, ...]
    values: tuple[Value, ...]
    versions: Mapping[str, str]
    trainings: tuple[Training, ...] = ()
    shared: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def lines(self) -> tuple[Outcomes | Value, ...]:
        """All outcomes and values."""
        return (*self.outcomes, *self.values)

    @property
    def attacks_by_cell(self) -> dict[str, str]:
        """Key of a cell → the attack whose outcomes it found, the last of those that share it."""
        return {one.cell: one.attack for one in self.outcomes if one.cell}

    def own_epoch(self, surrogate: str) -> int | str:
        """Return the epoch that stands for a surrogate: the last that the study names, or was measured."""
        own = self.study.surrogates[surrogate].epoch
        if own != "all":
            return own[-1] if isinstance(own, tuple) else own
        measured = (one.epoch for one in self.lines if one.surrogate == surrogate)
        return max((epoch for epoch in measured if isinstance(epoch, int)), default="last")


def write_results(results: Results, path: Path) -> None:
    """Write a result file; equal results are equal bytes."""
    lines: list[Any] = [
        {
            "schema": SCHEMA,
            "study": results.study.model_dump(mode="json"),
            "versions": dict(results.versions),
        },
        *(asdict(one) for one in results.trainings),
        *({**asdict(one), "outcomes": _pack(one.outcomes)} for one in results.outcomes),
        *(asdict(one) for one in results.values),
    ]
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    write_bytes(path, gzip.compress(text.encode(), compresslevel=9, mtime=0))


def check_results(path: Path) -> Path:
    """Return `path` if a result file can be written there, as far as can be checked in advance.

    Raises:
        UsageError: the name has another ending.
        TransferZooError: it is a folder, or its folder cannot be written.
    """
    if not path.name.endswith(SUFFIX):
        raise UsageError(f"cannot write the results to {path}", expected=f"a name in {SUFFIX}")
    return check_file(path, "--results")


def read_results(path: Path) -> Results:
    """Read a result file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        lines = [parse_json(line, finite=False) for line in unpack_gzip(path).decode().splitlines()]
        if lines[0].get("schema", 1) != SCHEMA:
            raise ValueError(f"schema {lines[0]['schema']} instead of {SCHEMA}")
        study = Study(**lines[0]["study"])
        outcomes = tuple(
            Outcomes(**{**line, "outcomes": _unpack(line["outcomes"])})
            for line in lines[1:]
            if "outcomes" in line
        )
        values = tuple(Value(**line) for line in lines[1:] if not {"outcomes", "training"} & line.keys())
        trainings = tuple(Training(**line) for line in lines[1:] if "training" in line)
        return Results(study, outcomes, values, dict(lines[0]["versions"]), trainings)
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise DataError(
            f"cannot read the results {path}",
            expected="what `transferzoo study --results` wrote",
            got=f"{type(error).__name__}: {error}",
        ) from None


def with_shared(results: Results) -> Results:
    """Return results that know which of their trainings other studies of the package have as well.

    Raises:
        DataError: results of the package cannot be read.
    """
    shared = {}
    for path in sorted(RESULTS.glob(f"*{SUFFIX}")) if results.trainings else ():
        other = read_results(path)
        keys = {one.training for one in other.trainings}
        names = dict.fromkeys(one.surrogate for one in results.trainings if one.training in keys)
        if names and other.study.name != results.study.name:
            shared[other.study.name] = tuple(names)
    return replace(results, shared=shared)


def csv_rows(results: Results) -> list[dict[str, object]]:
    """Return a row for each success rate, then one for each value, for CSV."""
    rates = [
        {
            "surrogate": one.surrogate,
            "seed": one.seed,
            "epoch": one.epoch,
            "attack": one.attack,
            "target": one.target,
            "white_box": one.white_box,
            "measure": SUCCESS,
            "value": one.rate,
            "n": one.n,
        }
        for one in results.outcomes
    ]
    attacks = results.attacks_by_cell
    values = [
        {
            **asdict(one),
            "attack": attacks[one.cell] if one.measure in OF_ATTACK else "",
            "target": "",
            "white_box": "",
            "n": "",
        }
        for one in results.values
    ]
    return [*rates, *({key: line[key] for key in rates[0]} if rates else line for line in values)]


def _pack(outcomes: str) -> str:
    """Return outcomes as their number and hexadecimal digits if all images count, else as they are."""
    return outcomes if "-" in outcomes else f"{len(outcomes)}:{int(outcomes, 2):x}"


def _unpack(packed: str) -> str:
    length, colon, digits = packed.partition(":")
    return f"{int(digits, 16):0{length}b}" if colon else packed
