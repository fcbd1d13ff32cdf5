"""What runs found, by source and target, and the tests between sources; pure functions, without torch."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from transferzoo.attacks.techniques import TECHNIQUES
from transferzoo.base.errors import UsageError
from transferzoo.base.spec_strings import parse_terms, show_term
from transferzoo.results import statistics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transferzoo.results.records import Record, SurrogateAttack, Visibility

SIGNIFICANT = 0.05
"""p below which a difference is called one."""
Row = tuple[str, str]
"""What a row of the matrix stands for: surrogate and attack."""


@dataclass(frozen=True)
class Findings:
    """What one or several runs found.

    Attributes:
        records: at least one; all on one data set.
        curve: records after fewer steps.
        seconds: an image took, by source.
        visibility: one for each surrogate and attack.
        noise: records of random noise of the same budgets on the same images.
    """

    records: Sequence[Record]
    curve: Sequence[Record] = ()
    seconds: Mapping[SurrogateAttack, float] = field(default_factory=dict)
    visibility: Sequence[Visibility] = ()
    noise: Sequence[Record] = ()


def paired_tests(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return each row's tests against the first: the difference of means, and McNemar's p a target.

    A row that shares no images with the first, or has other targets, is left out.
    """
    rows = rows_of(records)
    baseline, *others = rows
    result = []
    for row in others:
        if not _comparable(rows[baseline], rows[row]):
            continue
        first, second = (per_image(rows[name]) for name in (baseline, row))
        result.append(
            {
                "surrogate": row[0],
                "attack": row[1],
                "baseline": {"surrogate": baseline[0], "attack": baseline[1]},
                "mean_difference": asdict(statistics.paired_difference(first, second)),
                "mcnemar_p": {
                    target: mcnemar_p(rows[baseline][target], r) for target, r in rows[row].items()
                },
            }
        )
    return result


def rows_of(records: Sequence[Record]) -> dict[Row, dict[str, Record]]:
    """Return the records by row of the matrix and by target.

    Raises:
        UsageError: two records of one row speak of different images, seeds, weights or precisions.
    """
    rows: dict[Row, dict[str, Record]] = defaultdict(dict)
    for record in records:
        row = rows[record.surrogate, record.attack]
        for other in row.values():
            if _origin(other) != _origin(record) or row.get(record.target, record) != record:
                raise UsageError(
                    f"two runs of {short(record.surrogate)} with {record.attack} differ in images, seed, "
                    "weights or precision and cannot share a row",
                    hint="report them one by one",
                )
        row[record.target] = record
    return dict(rows)


def _origin(record: Record) -> tuple[object, ...]:
    """Return what the records of a row have in common, surrogate and attack aside."""
    return (
        record.split,
        record.selection,
        record.seed,
        record.targeted,
        record.surrogate_sha256,
        record.precision,
    )


def per_image(cells: Mapping[str, Record]) -> list[float]:
    """Return the share of transfer targets that each counted image fools, in order of id."""
    outcomes = [r.outcomes for r in cells.values() if not r.white_box]
    images = ("".join(image).replace("-", "") for image in zip(*outcomes, strict=True))
    return [image.count("1") / len(image) for image in images if image]


def paired(first: Record, second: Record) -> bool:
    """Return whether two records speak of the same images, counted alike, and of the same target."""
    images = [(r.dataset, r.split, r.selection, r.targeted) for r in (first, second)]
    counted = [[c == "-" for c in r.outcomes] for r in (first, second)]
    return images[0] == images[1] and first.target_sha256 == second.target_sha256 and counted[0] == counted[1]


def _comparable(first: Mapping[str, Record], second: Mapping[str, Record]) -> bool:
    kept = [{t: r for t, r in cells.items() if not r.white_box} for cells in (first, second)]
    return (
        bool(kept[0])
        and kept[0].keys() == kept[1].keys()
        and all(paired(r, kept[1][t]) for t, r in kept[0].items())
    )


def mcnemar_p(first: Record, second: Record) -> float:
    """Return the p-value of McNemar's exact test between two paired records."""
    pairs = [(a == "1", b == "1") for a, b in zip(first.outcomes, second.outcomes, strict=True) if a != "-"]
    return statistics.mcnemar([a for a, _ in pairs], [b for _, b in pairs])


def percent(share: float) -> str:
    """Return a share in percent, "35.5"."""
    return f"{100 * share:.1f}"


def p_value(p: float) -> str:
    """Return what follows "p": "= 0.030" or "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def short(full_name: str) -> str:
    """Return a name without its data set."""
    return full_name.rpartition("/")[2]


def brief(spec: str) -> str:
    """Return a spec string of techniques without the options that have their default values."""
    parts = []
    for term in parse_terms(spec):
        usual: list[str] = []
        if term.name in TECHNIQUES:
            usual = show_term(term.name, TECHNIQUES[term.name]()).partition(":")[2].split(",")
        options = [f"{key}={value}" for key, value in term.options.items()]
        changed = ",".join(option for option in options if option not in usual)
        parts.append(f"{term.name}:{changed}" if changed else term.name)
    return "+".join(parts)
