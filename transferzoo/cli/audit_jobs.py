"""From what a user asks of `transferzoo audit` to the jobs that it is made of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import typer

from transferzoo.base.errors import UnknownNameError, UsageError
from transferzoo.cli.attack_request import AttackRequest
from transferzoo.cli.auto_surrogates import on_this_machine, plan_of, train_surrogates
from transferzoo.cli.output import log, show_json
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from transferzoo.cli.audit import AuditRequest
    from transferzoo.evaluation.job import Job
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import ModelSpec

UNITS = {"s": 1, "m": 60, "h": 3600}
KINDS = ("public", "adapted")
"""Whose models attackers have."""
BATCH = 100
"""Images attacked together, at most: what a killed audit does again."""


def read_rate(text: str | None) -> float | None:
    """Read a rate, "20%" or "0.2"; None for none.

    Raises:
        UsageError: it is none in [0, 1].
    """
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(%?)\s*", text)
    rate = float(found[1]) / (100 if found[2] else 1) if found else -1.0
    if not 0 <= rate <= 1:
        raise UsageError("cannot read --max-rate", expected="20% or 0.2", got=f"'{text}'")
    return rate


def read_seconds(text: str | None) -> float | None:
    """Read a time, "10m", "90s" or "1h"; None for none.

    Raises:
        UsageError: it is none above 0.
    """
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+\.?\d*)\s*([smh])\s*", text)
    if not found or not float(found[1]):
        raise UsageError("cannot read --time-limit", expected="10m, 90s or 1h", got=f"'{text}'")
    return float(found[1]) * UNITS[found[2]]


def audit_jobs(request: AuditRequest) -> tuple[list[Job], dict[str, str]]:
    """Return the jobs of an audit on the same images: each surrogate by itself, and all together.

    Their first target is the audited model; the others are the references. The second result is the kind of
    surrogates that are not public, by full name. Those that are trained are trained here.

    Raises:
        UsageError: a name is unknown, or an option is wrong.
        DataError: the images are not there, or too few classes are known to all models.
        ModelError: a model is damaged.
    """
    from transferzoo.attacks.configure import configure
    from transferzoo.audits import attackers
    from transferzoo.cli.attack_job import assumed_budget, download_models, job_of
    from transferzoo.datasets.own import own_images, read_as_by
    from transferzoo.datasets.sources import measured
    from transferzoo.evaluation.known_classes import note_classes, with_classes
    from transferzoo.models.resolve import named_dataset, select_models
    from transferzoo.models.unlisted_options import UnlistedOptions
    from transferzoo.zoo.selection import distinct, name_apart

    if request.attackers not in (None, *KINDS):
        raise UnknownNameError("kind of attackers", str(request.attackers), KINDS)
    records = load_zoo(request.zoo)
    said = named_dataset(records, request.dataset, [request.model])
    records, name, root = own_images(records, said, request.data, log, log, request.columns)
    records = measured(records, name, request.split, root)
    options = UnlistedOptions.read(request.architecture, request.allow_code, request.mean, request.std)
    found = select_models(records, [request.model], name, "target", options, log)
    if len(found) != 1:
        raise UsageError(
            f"'{request.model}' is no single model", expected="one name", got=f"{len(found)} models"
        )
    (audited,) = found
    split, kinds = request.split, dict[str, str]()
    crafted_on: tuple[ModelSpec, ...] = ()
    if request.surrogate:
        crafted_on = select_models(records, request.surrogate, name, "surrogate", options, log)
    elif request.attackers != "adapted":
        crafted_on = attackers.public_surrogates(records, name, audited)
    if not crafted_on:
        crafted_on, split = _trained(records, name, request)
        kinds = {model.full_name: "adapted" for model in crafted_on}
    crafted_on, (audited,) = name_apart(crafted_on, (audited,))
    tried_on = (audited, *attackers.reference_targets(records, name, audited, crafted_on))
    options.check_used(records, distinct((*crafted_on, *tried_on)))
    asked = AttackRequest(epsilon=request.epsilon, allow_inaccurate=request.allow_inaccurate)
    if request.data is not None and root is None:
        records, note = read_as_by(records, name, (*tried_on, *crafted_on))
        log(f"{note} {assumed_budget(records.dataset(name), asked)}".rstrip())
    crafted_on, tried_on = download_models(crafted_on, tried_on)
    if request.classes is not None:
        crafted_on = with_classes(crafted_on, records.dataset(name), request.classes)
        tried_on = with_classes(tried_on, records.dataset(name), request.classes)
    known = note_classes(records.dataset(name), (*crafted_on, *tried_on), log)
    attacks = request.attack or [*attackers.ATTACKS]
    fields: dict[str, Any] = {
        "split": split,
        "epsilon": request.epsilon,
        "images": request.images,
        "images_correct_for": "target",
        "seed": request.seed,
        "batch_size": min(BATCH, records.dataset(name).attack.batch_size),
    }
    config = configure(
        records,
        name,
        attacks,
        [model.full_name for model in crafted_on],
        [model.full_name for model in tried_on],
        fields,
        request.max_gradients,
    )
    job = job_of(records, config, crafted_on, tried_on, root, known, asked)
    return attackers.with_ensemble(job, records, attacks, fields, request.max_gradients), kinds


def _trained(zoo: Zoo, dataset: str, request: AuditRequest) -> tuple[tuple[ModelSpec, ...], str]:
    """Return surrogates that are trained on images of the data, once, and the split of the other images.

    A dry run trains nothing: it prints what would be trained, and ends.

    Raises:
        UsageError, DataError, TransferZooError: see `training.adapted.adapted_surrogates`.
    """
    from transferzoo.training.adaptations import adaptations

    if request.data is not None and dataset in load_zoo(request.zoo).datasets:
        raise UsageError(
            f"the images of --data are taken for some of '{dataset}', and attackers are not trained on those",
            expected="attackers of the zoo, or --surrogate",
        )
    planned, split = adaptations(zoo, dataset, split=request.split, is_here=on_this_machine)
    if request.dry_run and not all(one.finished() for one in planned):
        show_json({"trains": [plan_of(one) for one in planned]})
        raise typer.Exit
    train_surrogates(planned, request.jobs)
    return tuple(one.model for one in planned), split
