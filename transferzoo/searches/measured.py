"""The rounds of a search as studies of models that exist: their cells are stored, shared and resumed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from transferzoo.base.errors import UsageError
from transferzoo.results.target_means import contributions
from transferzoo.studies.claim_sides import outcomes_by_target, stack_values
from transferzoo.studies.entries import ModelEntry
from transferzoo.studies.schema import Study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferzoo.searches.moves import Candidate
    from transferzoo.studies.result_file import Results


def round_of(
    candidates: Sequence[Candidate],
    *,
    dataset: str,
    split: str | None,
    surrogates: Sequence[str],
    validators: Sequence[str],
    images: int,
) -> Study:
    """Return the study that measures candidates.

    Its images are drawn from the end of the seed's order: runs that attack fewer of the split than are left
    have none of them.

    Args:
        candidates: attacks, one at least.
        dataset: name in the zoo.
        split: whose images are attacked; None for the data set's default.
        surrogates: names of the models that images are crafted on, one after the other.
        validators: names of the models that choose; they are no targets of any report.
        images: how many.
    """
    return Study(
        name="search",
        about="Which attack is the strongest at this cost?",
        dataset=dataset,
        split=split,
        images=images,
        from_end=True,
        surrogates={name: ModelEntry(model=name) for name in surrogates},
        targets=tuple(validators),
        attacks=tuple(candidate.entry for candidate in candidates),
    )


def rates(candidates: Sequence[Candidate], found: Results) -> dict[Candidate, float]:
    """Return the mean success of candidates over surrogates and validators, in [0, 1].

    A candidate that failed on a surrogate, or was not measured there, is left out.

    Raises:
        UsageError: a surrogate has the weights of every validator.
    """
    for name in found.study.surrogates:
        own = [one.white_box for one in found.outcomes if one.surrogate == name]
        if own and all(own):
            raise UsageError(
                f"every validator has the weights of the surrogate '{name}'",
                expected="one at least with others",
                hint="name it with --validator",
            )
    result: dict[Candidate, float] = {}
    for candidate in candidates:
        each = [outcomes_by_target(found, name, "last", candidate.label) for name in found.study.surrogates]
        if all(each):
            means = [float(contributions(stack_values(one, sorted(one), [0])).mean()) for one in each]
            result[candidate] = sum(means) / len(means)
    return result


def curve_of(best: Candidate) -> tuple[Candidate, ...]:
    """Return an attack at an eighth, a quarter and half of its gradients, and all of them, where it fits."""
    fewer = (dataclasses.replace(best, gradients=best.gradients // part) for part in (8, 4, 2, 1))
    return tuple(candidate for candidate in dict.fromkeys(fewer) if candidate.fits)
