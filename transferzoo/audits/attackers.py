"""Who attacks: models that an attacker can have, and what he does with them; and the models held beside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.base.errors import ModelError, UsageError
from transferzoo.models.fitting import fitting_surrogates, note_to_pull
from transferzoo.models.recipe_file import read_recipe
from transferzoo.models.resolve import select_models
from transferzoo.sync.on_this_machine import on_this_machine
from transferzoo.training.adaptations import adaptations
from transferzoo.training.replicas import Teacher
from transferzoo.zoo import selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferzoo.audits.request import AuditRequest
    from transferzoo.models.unlisted_options import UnlistedOptions
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


def public_surrogates(
    zoo: Zoo, dataset: str, audited: ModelSpec, options: UnlistedOptions
) -> tuple[ModelSpec, ...]:
    """Return models of the zoo that an attacker can have: diverse ones, without the audited one; maybe none.

    Args:
        zoo: what names mean.
        dataset: whose classes they know.
        audited: the model that is audited.
        options: whether those that the data set names may be code.

    Raises:
        ModelError: one of them is not published.
        UsageError: one of them is code that is not allowed to run.
    """
    named = select_models(zoo, zoo.dataset(dataset).auditors, dataset, "surrogate", options)
    found = [one for one in named if one != audited]
    found = found or [
        *fitting_surrogates(zoo, dataset, SURROGATES, apart_from=[audited], is_here=on_this_machine)
    ]
    return tuple(found[:SURROGATES])


def no_public(zoo: Zoo, dataset: str) -> UsageError:
    """Return the refusal where none of them knows the classes, with what works instead."""
    trained = "train" in zoo.dataset(dataset).splits
    ways = ["--attackers adapted, which trains some on images that are not audited"] if trained else []
    return UsageError(
        f"no surrogate on this machine knows the classes of '{dataset}'",
        expected=", or ".join([*ways, "models with --surrogate"]),
        hint=note_to_pull(zoo, dataset).removesuffix("."),
    )


def own_weights(model: str) -> ModelError:
    """Return the refusal where every attacker has the weights of the audited model."""
    return ModelError(
        f"every attacker has the weights of '{model}' itself",
        expected="other models, as an attacker has who never saw it",
        hint="name others with --surrogate",
    )


def reference_targets(
    zoo: Zoo, dataset: str, audited: ModelSpec, surrogates: Sequence[ModelSpec]
) -> tuple[ModelSpec, ...]:
    """Return the targets of the zoo that the audited model is ranked among: those nobody attacks from.

    A model that is code is for who names it.
    """
    found = [one for one in selection.listed(zoo, "all", dataset, "target") if not one.source.runs_code]
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
    if listed:
        raise UsageError(
            f"the images of --data are taken for some of '{dataset}', and attackers are not trained on those",
            expected="attackers of the zoo, or --surrogate",
        )
    asked = request.attackers == "replica"
    teacher = Teacher(audited, zoo.dataset(dataset), request.queries) if asked else None
    return adaptations(zoo, dataset, split=request.split, is_here=on_this_machine, teacher=teacher)


def agreements(surrogates: Sequence[ModelSpec], trainings: Sequence[Adaptation]) -> dict[str, float]:
    """Return name of each replica, once trained → how often it answers as the model, on held-out images.

    Args:
        surrogates: the models that trainings become, in their order; any others without trainings.
        trainings: of them.
    """
    return {
        model.name: recipe["validation"]["accuracy"]
        for model, one in zip(surrogates, trainings, strict=bool(trainings))
        if one.labels and (recipe := read_recipe(one.folder))
    }
