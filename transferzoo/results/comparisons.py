"""What runs found, by source and target, and the tests between sources; pure functions, without torch."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from transferzoo.attacks.composition import compose
from transferzoo.attacks.technique import SMALL
from transferzoo.attacks.techniques import TECHNIQUES
from transferzoo.base.errors import UsageError
from transferzoo.base.spec_strings import parse_terms
from transferzoo.results import statistics
from transferzoo.zoo.reader import read_zoo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transferzoo.results.records import Record, SurrogateAttack, Visibility

SIGNIFICANT = 0.05
"""p below which a difference is called one."""
Row = tuple[str, str]
"""What a row of the matrix stands for: surrogate and attack."""
Mean = tuple[float, float, float]
"""A mean and the ends of its interval."""


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
        if not comparable(rows[baseline], rows[row]):
            continue
        first, second = (per_image(rows[name]) for name in (baseline, row))
        result.append(
            {
                "surrogate": row[0],
                "attack": row[1],
                "baseline": {"surrogate": baseline[0], "attack": baseline[1]},
                "mean_difference": asdict(statistics.paired_difference(first, second)),
                "mcnemar_p": {
                    target: mcnemar_p(rows[baseline][target], r)
                    for target, r in rows[row].items()
                    if not r.white_box
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
                    f"two runs of {record.surrogate_name} with {record.attack} differ in images, seed, "
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
        record.images_correct_for,
    )


def per_image(cells: Mapping[str, Record]) -> list[float]:
    """Return what each counted image contributes to the mean over transfer targets, in order of id.

    That is the share of targets that it fools where it counts for all; else see `contributions`.
    """
    outcomes = [r.outcomes for r in cells.values() if not r.white_box]
    if not any("-" in each for each in outcomes):
        return [image.count("1") / len(image) for image in zip(*outcomes, strict=True)]
    import numpy as np

    from transferzoo.results.target_means import contributions

    codes = np.array([[*each] for each in outcomes])
    counts = codes != "-"
    values = np.where(counts, codes == "1", np.nan)
    found: list[float] = contributions(values[:, None])[0].tolist() if counts.any() else []
    return found


def mean_rate(cells: Mapping[str, Record]) -> Mean | None:
    """Return the mean rate over images and targets that are not white-box, and its 95 % interval.

    The interval is Wilson's where there is one such target, else the t interval over images. None where there
    is no such target.
    """
    transfer = [record for record in cells.values() if not record.white_box]
    if len(transfer) == 1:
        return transfer[0].rate, transfer[0].low, transfer[0].high
    shares = per_image(cells)
    return (sum(shares) / len(shares), *statistics.mean_interval(shares)) if shares else None


def noise_beside(noise: Sequence[Record], record: Record) -> Record | None:
    """Return the record of random noise of a record's budget, on the same images and target."""
    for other in noise:
        if other.seed == record.seed and has_budget(other.attack, record.attack) and paired(other, record):
            return other
    return None


def noise_mean(noise: Sequence[Record], cells: Mapping[str, Record]) -> float | None:
    """Return the mean rate of noise on the images and targets of a row, white-box ones aside."""
    found = {name: noise_beside(noise, r) for name, r in cells.items() if not r.white_box}
    known = {name: record for name, record in found.items() if record is not None}
    mean = mean_rate(known) if len(known) == len(found) else None
    return mean and mean[0]


def same_weights(records: Sequence[Record]) -> list[list[str]]:
    """Return the names of targets of the means that are one, by weights and defence."""
    alike: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for record in records:
        if not record.white_box:
            alike[_weights(record)][record.target_name] = None
    return [list(names) for names in alike.values() if len(names) > 1]


def has_budget(noise: str, attack: str) -> bool:
    """Return whether random noise, as records name it, has the norm and radius of an attack."""
    return noise.partition("@")[2] == budget_of(attack)


def budget_of(attack: str) -> str:
    """Return norm and radius of an attack's canonical form, "linf,eps=16/255"."""
    return ",".join(attack.partition("@")[2].split(",")[:2])


def budget_text(attack: str) -> str:
    """Return norm and radius of an attack's canonical form for people, "linf, ε = 16/255"."""
    norm, _, radius = budget_of(attack).partition(",eps=")
    return f"{norm}, ε = {radius}"


def paired(first: Record, second: Record) -> bool:
    """Return whether two records speak of the same images, counted alike, and of the same target."""
    images = [(r.dataset, r.split, r.selection, r.targeted) for r in (first, second)]
    counted = [[c == "-" for c in r.outcomes] for r in (first, second)]
    return images[0] == images[1] and _weights(first) == _weights(second) and counted[0] == counted[1]


def _weights(record: Record) -> tuple[str, str]:
    """Return the digest of a target's weights, and the defence before them, "" for none."""
    return record.target_sha256, record.target.partition("|")[2]


def comparable(first: Mapping[str, Record], second: Mapping[str, Record]) -> bool:
    """Return whether two rows have the same images and targets, white-box ones aside."""
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


@cache
def _presets() -> dict[tuple[str, str], str]:
    """Return the package's presets of techniques: canonical techniques, step size and steps if any → name."""
    told = {name: preset for name, preset in read_zoo(None).presets.items() if preset.spec}
    ends = {frozenset(): "", frozenset({"step", "steps"}): ",step={step},steps={steps}"}
    sizes = (SMALL - 1, SMALL)  # techniques have other defaults on small images
    return {
        (compose(one.spec, size).canonical, ends[said].format_map(one.said)): name
        for name, one in reversed(told.items())
        for size in sizes
        if (said := frozenset(one.said)) in ends
    }


def _preset(attack: str) -> str | None:
    """Return the preset that an attack is, or whose techniques it has; None for none."""
    techniques, _, budget = attack.partition("@")
    _, comma, steps = budget.partition(",step=")
    presets = _presets()
    return presets.get((techniques, comma + steps)) or presets.get((techniques, ""))


def attack_name(attack: str) -> str:
    """Return an attack's canonical form, a preset's name for its techniques: "pgd@linf,eps=16/255"."""
    techniques, at, budget = attack.partition("@")
    return (_preset(attack) or techniques) + at + budget


def brief(attack: str) -> str:
    """Return an attack without its budget: a preset's name, or techniques and what is not their default."""
    if (preset := _preset(attack)) is not None:
        return preset
    spec = attack.partition("@")[0]
    parts = []
    for term in parse_terms(spec):
        usual: list[str] = []
        if term.name in TECHNIQUES:
            usual = TECHNIQUES[term.name]().spec.partition(":")[2].split(",")
        options = [f"{key}={value}" for key, value in term.options.items()]
        changed = ",".join(option for option in options if option not in usual)
        parts.append(f"{term.name}:{changed}" if changed else term.name)
    return "+".join(parts)
