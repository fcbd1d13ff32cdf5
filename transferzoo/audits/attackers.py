"""Who attacks: models that an attacker can have, and what he does with them; and the models held beside."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from transferzoo.attacks.configure import configure
from transferzoo.base.errors import UsageError
from transferzoo.evaluation.job import weights_of
from transferzoo.models.fitting import fitting_surrogates
from transferzoo.models.resolve import select_models
from transferzoo.sync.on_this_machine import on_this_machine
from transferzoo.training.adaptations import adaptations
from transferzoo.training.replicas import Teacher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from transferzoo.audits.request import AuditRequest
    from transferzoo.evaluation.job import Job
    from transferzoo.training.adaptations import Adaptation
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import ModelSpec

SURROGATES = 5
"""Models that images are made on where the user names none."""
ATTACKS = ("mi", "mi+di", "mi+di+ti")
"""Momentum, with diverse inputs, and with translation invariance: a gradient a step and model, so that an
ensemble of five has ten steps where a model has fifty."""
TRAINED = ("adapted", "replica")
"""Kinds of attackers whose surrogates the audit trains."""


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


def trained(
    zoo: Zoo, dataset: str, audited: ModelSpec, request: AuditRequest, *, listed: bool
) -> tuple[tuple[Adaptation, ...], str]:
    """Return the trainings of surrogates on images that are not audited, and the split of the others.

    Args:
        zoo: see `training.adaptations.adaptations`.
        dataset: likewise.
        audited: the model that is audited, on this machine; replicas are trained on its answers.
        request: says which split is audited, and how many answers there may be.
        listed: whether the images are the user's, and taken for some of a data set of the zoo.

    Raises:
        UsageError: surrogates of these classes are no matter of training.
        DataError: there are too few images.
    """
    if request.attackers == "public":
        raise UsageError(
            f"the zoo has no surrogate for the classes of '{dataset}'",
            expected="--attackers adapted, or models with --surrogate",
        )
    if listed:
        raise UsageError(
            f"the images of --data are taken for some of '{dataset}', and attackers are not trained on those",
            expected="attackers of the zoo, or --surrogate",
        )
    asked = request.attackers == "replica"
    teacher = Teacher(audited, zoo.dataset(dataset), request.queries) if asked else None
    return adaptations(zoo, dataset, split=request.split, is_here=on_this_machine, teacher=teacher)


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
