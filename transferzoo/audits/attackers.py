"""Who attacks: models that an attacker can have, and what he does with them; and the models held beside."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from transferzoo.attacks.configure import configure
from transferzoo.evaluation.job import weights_of
from transferzoo.models.fitting import fitting_surrogates
from transferzoo.models.resolve import select_models

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from transferzoo.evaluation.job import Job
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import ModelSpec

SURROGATES = 5
"""Models that images are made on where the user names none."""
ATTACKS = ("mi", "mi+di", "mi+di+ti")
"""Momentum, with diverse inputs, and with translation invariance: a gradient a step and model, so that an
ensemble of five has ten steps where a model has fifty."""


def public_surrogates(zoo: Zoo, dataset: str, audited: ModelSpec) -> tuple[ModelSpec, ...]:
    """Return models of the zoo that an attacker can have: diverse ones, without the audited one; maybe none.

    Args:
        zoo: what names mean.
        dataset: whose classes they know.
        audited: the model that is audited.

    Raises:
        ModelError: one of them is not published.
    """
    listed = select_models(zoo, zoo.dataset(dataset).auditors, dataset, "surrogate")
    found = [one for one in listed if one != audited]
    found = found or [*fitting_surrogates(zoo, dataset, SURROGATES, apart_from=[audited])]
    return tuple(found[:SURROGATES])


def reference_targets(
    zoo: Zoo, dataset: str, audited: ModelSpec, surrogates: Sequence[ModelSpec]
) -> tuple[ModelSpec, ...]:
    """Return the targets of the zoo that the audited model is ranked among: those nobody attacks from."""
    found = select_models(zoo, ["all"], dataset, "target")
    return tuple(one for one in found if one != audited and one not in surrogates)


def with_ensemble(
    job: Job, zoo: Zoo, attacks: Sequence[str], fields: Mapping[str, Any], max_gradients: int
) -> list[Job]:
    """Return a job, and one that attacks all its surrogates together at the same cost if it has several.

    Args:
        job: one surrogate after the other.
        zoo: what names of attacks mean.
        attacks: spec strings.
        fields: of the configuration, as `configure` takes them.
        max_gradients: evaluations an image that each attack may take.

    Raises:
        UsageError: one step on all surrogates costs more.
    """
    if len(job.surrogates) == 1:
        return [job]
    config = configure(
        zoo,
        job.config.dataset,
        attacks,
        job.config.surrogates,
        job.config.targets,
        {**fields, "ensemble": True},
        max_gradients,
        {model.full_name: len(weights_of(model, every=True)) for model in job.surrogates},
    )
    return [job, replace(job, config=config)]
