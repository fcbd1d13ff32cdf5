"""What the cells, rows and captions of tables of records say."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from transferzoo.results.comparisons import attack_name, brief, mean_rate, p_value, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from transferzoo.results.attackers import Together
    from transferzoo.results.comparisons import Row
    from transferzoo.results.records import Record, SurrogateAttack

MOST_NAMED = 4
"""Attacks that a caption writes out at most; the records have them all."""
COUNTED = {
    "all": "",
    "target": ", those that a target classifies correctly",
    "none": ", whether or not they were classified correctly before",
}
"""What a caption says of the images that count, by the rule."""
TOGETHER = (
    "Any: images that one row at least fools. Held out: the row that is best on one half of the images, "
    "measured on the other half."
)
"""What a caption says of the rows of `together_rows`."""


def mean_text(cells: Mapping[str, Record]) -> str:
    """Return the mean rate of a row, records by target, with its interval below; "–" where there is none."""
    mean = mean_rate(cells)
    return rate_text(*mean) if mean else "–"


def rate_text(rate: float, low: float, high: float, mark: str = "") -> str:
    """Return a rate with a mark behind it and its interval below, in percent."""
    return f"{percent(rate)}{mark}\n{interval_text(low, high)}"


def interval_text(low: float, high: float) -> str:
    """Return an interval in percent."""
    return f"{100 * low:.1f}–{100 * high:.1f}"


def row_label(name: Row, rows: Mapping[Row, Mapping[str, Record]]) -> str:
    """Return the surrogate and, where there are several, what the attack does not share with all others."""
    surrogate = next(iter(rows[name].values())).surrogate_name
    return surrogate + told_apart(attack for _, attack in rows)[name[1]]


def told_apart(attacks: Iterable[str]) -> dict[str, str]:
    """Return attack → a line that says what it does not share with all others; nothing where there is one."""
    every = dict.fromkeys(attacks)
    if len(every) < 2:
        return dict.fromkeys(every, "")
    shared = set.intersection(*(set(_budget(attack)) for attack in every))
    own = {attack: ",".join(part for part in _budget(attack) if part not in shared) for attack in every}
    return {attack: f"\n{brief(attack)}{'@' if part else ''}{part}" for attack, part in own.items()}


def together_rows(found: Together, targets: Sequence[str]) -> list[tuple[str, ...]]:
    """Return a row of what all attackers do together, and one of the best; none unless all have as many.

    Args:
        found: what they do.
        targets: of the columns after that of the mean.
    """
    if len({one.tries for one in found.targets.values()}) != 1:
        return []
    tries = next(iter(found.targets.values())).tries
    every = [found.mean, *(found.targets.get(target) for target in targets)]
    shares = ((f"any of {tries}", "any_of"), (f"best of {tries},\nheld out", "best"))
    return [
        (label, *("–" if one is None else rate_text(*astuple(getattr(one, name))) for one in every))
        for label, name in shares
    ]


def fools(record: Record, targets: str, *, several: bool = False) -> str:
    """Return what surrogates do to targets, by a record of it."""
    ending = "" if several else "s"
    return (
        f"make{ending} {targets} predict the target class" if record.targeted else f"fool{ending} {targets}"
    )


def counted_text(record: Record) -> str:
    """Return what a sentence says of images that count although they were wrong before."""
    return ", whether or not classified correctly before" if record.images_correct_for == "none" else ""


def corrected_p(p: float, tests: int) -> str:
    """Return what follows "p" of one of several tests: "= 0.030 after Holm's correction"."""
    return p_value(p) + (" after Holm's correction" if tests > 1 else "")


def _budget(attack: str) -> list[str]:
    return attack.partition("@")[2].split(",")


def caption(records: Sequence[Record], seconds: Mapping[SurrogateAttack, float]) -> str:
    """Return what attacked which images at what cost; seconds an image took where they are known."""
    n = ends_text(sorted(r.n for r in records))
    names = list(dict.fromkeys(attack_name(r.attack) for r in records))
    attacks = " and ".join(names) if len(names) <= MOST_NAMED else f"{len(names)} attacks"
    gradients = ends_text(sorted(r.gradients for r in records))
    known = sorted({seconds[r.pair] for r in records if r.pair in seconds})
    time = f", {ends_text(known, lambda value: f'{value:.3f}')} s an image" if known else ""
    followed = " and ".join(dict.fromkeys(r.protocol for r in records if r.protocol))
    protocol = f"protocol {followed}: " if followed else ""
    targeted = f"targeted: {first}; " if (first := records[0].targeted) else ""
    seeds = " and ".join(str(s) for s in dict.fromkeys(r.seed for r in records))
    starred = " * white box, left out of the mean." if any(r.white_box for r in records) else ""
    fast = [r for r in records if r.precision != "fp32"]
    bits = f" in {fast[0].precision}" if fast else ""
    cost = f"{gradients} gradient evaluations an image{bits}{time}"
    if gradients == "0":
        cost = "images as they were given"
    rules = dict.fromkeys(r.images_correct_for for r in records)
    counted = COUNTED[records[0].images_correct_for]
    if len(rules) > 1:
        counted = f", counted by --images-correct-for {' and '.join(rules)}"
    by_target = {(r.pair, r.n) for r in records if not r.white_box}
    each = " A mean is over targets, each over the images that count for it."
    uneven = each if len(by_target) > len({pair for pair, _ in by_target}) else ""
    return f"{protocol}{attacks}; {targeted}{cost}; n = {n}{counted}; seed {seeds}.{starred}{uneven}"


def ends_text(values: Sequence[Any], show: Callable[[Any], str] = str) -> str:
    """Write sorted values, at least one, by their ends."""
    ends = dict.fromkeys([show(values[0]), show(values[-1])])
    return " to ".join(ends)
