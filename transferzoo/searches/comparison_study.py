"""The study that reports techniques compared: its claims, its file, and further attacks for it.

Nothing here imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from transferzoo.base.errors import UsageError
from transferzoo.searches import comparison
from transferzoo.studies.entries import ITSELF, ChosenBy, Claim, ModelEntry, Operand
from transferzoo.studies.schema import Study

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from transferzoo.searches.comparison import Row


def claims(surrogates: Iterable[str], pairs: Iterable[tuple[str, str]]) -> tuple[Claim, ...]:
    """Return the claims that an attack beats another, from each surrogate; pairs of labels, higher first."""
    pairs = list(pairs)
    return tuple(
        Claim(
            say=f"{higher} beat {lower}, from {name}",
            higher=Operand(surrogate=name, attack=higher),
            lower=Operand(surrogate=name, attack=lower),
        )
        for name in surrogates
        for higher, lower in pairs
    )


def preset_pairs(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Return the labels of each preset and of the first leader, wherever both have the same gradients."""
    rows = list(rows)
    found = []
    for one, gradients, _ in rows:
        rivals = [other for other, number, _ in rows if number == gradients and other.leads]
        if one.preset and rivals:
            found.append((one.label(gradients), rivals[0].label(gradients)))
    return found


def leader_pairs(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Return labels at `REPORTED_AT`: the first leader and each other one, each leader and momentum alone."""
    rows = [row for row in rows if row[1] == comparison.REPORTED_AT]
    leaders = [one.label(comparison.REPORTED_AT) for one, _, _ in rows if one.leads]
    plain = comparison.Contender((comparison.MOMENTUM,)).label(comparison.REPORTED_AT)
    rivals = [plain] if plain in {one.label(comparison.REPORTED_AT) for one, _, _ in rows} else []
    best = [(leaders[0], other) for other in leaders[1:]]
    return [*best, *((leader, rival) for leader in leaders for rival in rivals)]


def study_of(
    rows: Sequence[Row],
    *,
    name: str,
    dataset: str,
    split: str | None,
    surrogates: Sequence[str],
    images: int,
    chosen_by: ChosenBy,
) -> Study:
    """Return the study that reports attacks: on all targets, and on the surrogates themselves.

    Its claims are that presets beat the leaders or, without presets, that leaders beat one another and
    momentum by itself.

    Args:
        rows: as of `reported`.
        name: of the study.
        dataset: name in the zoo.
        split: whose images are attacked; None for the data set's default.
        surrogates: names of the models that images are crafted on, one after the other.
        images: how many, from the beginning of the seed's order.
        chosen_by: what chose the step sizes.
    """
    return Study(
        name=name,
        about="Which technique adds most at equal cost?",
        dataset=dataset,
        split=split,
        images=images,
        surrogates={name: ModelEntry(model=name) for name in surrogates},
        targets=("all", ITSELF),
        attacks=tuple(one.entry(gradients, choice.step) for one, gradients, choice in rows),
        chosen_by=chosen_by,
        claims=claims(surrogates, preset_pairs(rows) or leader_pairs(rows)),
    )


def check_new(study: Study, labels: Iterable[str]) -> None:
    """Check that a study has no attack of these names.

    Raises:
        UsageError: it has one.
    """
    there = {entry.label for entry in study.attacks}
    if known := [label for label in labels if label in there]:
        raise UsageError(
            f"the study '{study.name}' has '{known[0]}' already",
            expected="techniques that it has not",
            hint="--alone compares those that are named with one another",
        )


def with_more(study: Study, rows: Sequence[Row], name: str) -> Study:
    """Return a study with further attacks, and claims that they beat two that it has.

    They are its first, that with the highest success on the validation targets, and momentum by itself.

    Args:
        study: the study.
        rows: as of `reported`.
        name: of the study that is returned.

    Raises:
        UsageError: it has one of them already.
    """
    entries = tuple(one.entry(gradients, choice.step) for one, gradients, choice in rows)
    check_new(study, [entry.label for entry in entries])
    there = {entry.label for entry in study.attacks}
    plain = comparison.Contender((comparison.MOMENTUM,)).label(comparison.REPORTED_AT)
    rivals = [name for name in (study.attacks[0].label, plain) if name in there]
    pairs = [
        (one.label(gradients), rival)
        for one, gradients, _ in rows
        if one.leads and gradients == comparison.REPORTED_AT
        for rival in dict.fromkeys(rivals)
    ]
    more = claims(study.surrogates, pairs)
    grown = {"attacks": (*study.attacks, *entries), "claims": (*study.claims, *more)}
    return study.model_copy(update={"name": name, **grown})


def study_text(study: Study, how: str, rows: Iterable[Row]) -> str:
    """Return the file of a study, with how its step sizes were chosen, and the success there, in comments.

    Args:
        study: the study.
        how: what chose, in a sentence.
        rows: as of `reported`.
    """
    content = study.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
    body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000, default_flow_style=None)
    rates = [
        f"#   {one.label(number)}: step {choice.step}, {100 * choice.rate:.1f}"
        for one, number, choice in rows
        if choice.rate is not None
    ]
    return "\n".join(
        [
            f"# {how} What each",
            "# was chosen with, and its success in %, after that many gradients or 50:",
            *rates,
            body,
        ]
    )
