"""From what a user asks of `transferzoo attack` to the job, and what a job would do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from transferzoo.base.errors import UsageError
from transferzoo.cli.auto_surrogates import fitting, without_auto
from transferzoo.cli.flags import AUTO
from transferzoo.cli.models import training_on
from transferzoo.cli.output import log, progress
from transferzoo.datasets.own import usual_budget
from transferzoo.models.resolve import select_models
from transferzoo.zoo.protocol import find_protocol, follow, label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferzoo.base.attack_config import AttackConfig
    from transferzoo.cli.attack_request import AttackRequest
    from transferzoo.evaluation.job import Job
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec

LONG, WORTHWHILE = 60.0, 1.2
"""Seconds of gradients, and how many times as fast, from which on bfloat16 is offered."""


def _usual_surrogates(dataset: DatasetSpec) -> list[str]:
    """Return the names of the surrogates of a data set where the user names none."""
    if dataset.surrogate is None:
        return ["all"]
    log(f"Surrogate: {dataset.surrogate}, the usual one of {dataset.name}; --surrogate names another.")
    return [dataset.surrogate]


def following(zoo: Zoo, dataset: str, request: AttackRequest) -> tuple[Zoo, AttackRequest]:
    """Put what the protocol says, or else is usual, where the user says nothing.

    Args:
        zoo: what names mean.
        dataset: what is classified.
        request: what the user says.

    Returns:
        The zoo, in which the protocol's values are the data set's defaults, and the request with attacks and
        targets, and with `protocol` as records have it.

    Raises:
        UnknownNameError: there is no such protocol.
    """
    attacks: Sequence[str] = ()
    targets: Sequence[str] = ()
    followed = None
    if request.protocol is not None:
        protocol = find_protocol(zoo, request.protocol)
        flags = [key for key, value in request.fields.items() if value is not None]
        flags += ["steps"] if request.max_gradients is not None else []
        flags += ["targets"] if request.targets else []
        followed = label(zoo, request.protocol, dataset, flags)
        attacks, targets = protocol.attacks, protocol.targets.get(dataset, ())
        zoo = follow(zoo, request.protocol, dataset)
    usual = {"attack": [*attacks] or ["bim"], "targets": [*targets] or ["all"]}
    said = {key: value for key in usual if (value := getattr(request, key))}
    return zoo, replace(request, **{**usual, **said}, protocol=followed)


def models(
    zoo: Zoo, dataset: str, request: AttackRequest
) -> tuple[tuple[ModelSpec, ...], tuple[ModelSpec, ...]]:
    """Return the surrogates and the targets that names stand for.

    A surrogate that "all" or a glob made a target too is left out of the targets. What "auto" stands for is
    of the zoo; where it has none there are fewer surrogates, or none.

    Args:
        zoo: what names mean.
        dataset: what is classified.
        request: the names, and what the user states about unlisted models.

    Raises:
        UsageError: a name is unknown or stands for two models, there is no model yet, or no target is left.
    """
    from transferzoo.zoo.reader import load_zoo
    from transferzoo.zoo.selection import distinct, is_pattern, name_apart, parts

    options = request.unlisted
    targets = request.targets or ["all"]
    named = [f"{name}|{defence}".rstrip("|") for name, defence in parts(targets) if not is_pattern(name)]
    chosen = select_models(zoo, named, dataset, "target", options) if request.pack is None else ()
    surrogates, automatic = without_auto(request.surrogate or _usual_surrogates(zoo.dataset(dataset)))
    crafted_on = select_models(zoo, surrogates, dataset, "surrogate", options, log)
    if automatic:
        crafted_on = distinct((*crafted_on, *fitting(zoo, dataset, chosen)))
    if request.pack is not None:  # nobody else has a say in which images are packed
        options.check_used(zoo, crafted_on)
        return crafted_on, crafted_on
    tried_on = select_models(zoo, targets, dataset, "target", options, log)
    for role, found in (("surrogate", crafted_on), ("target", tried_on)):
        if not found and not (automatic and role == "surrogate"):
            hint = f"name one of your own with --{role}"
            if "train" in zoo.dataset(dataset).splits:
                listed = dataset if dataset in load_zoo(request.zoo).datasets else None
                train = training_on(listed, zoo=request.zoo, data=request.data)
                hint = f"train one: `{train}`, and name the folder it writes with --{role}"
                hint += f", or let --surrogate {AUTO} train some" if role == "surrogate" else ""
            raise UsageError(f"'{dataset}' has no {role} yet", hint=hint)
    kept = tuple(m for m in tried_on if m not in crafted_on or m in chosen)
    crafted_on, kept = name_apart(crafted_on, kept)
    options.check_used(zoo, distinct((*crafted_on, *kept)))
    if not kept:
        raise UsageError(
            "no target is left",
            expected="at least one target that is no surrogate",
            hint="name one with --target",
        )
    return crafted_on, kept


def assumed_budget(dataset: DatasetSpec, request: AttackRequest) -> str:
    """Return a sentence on the budget of a data set that states none; empty where the user states one."""
    if request.epsilon is not None or request.norm is not None:
        return ""
    return usual_budget(dataset)


def job_of(
    zoo: Zoo,
    config: AttackConfig,
    surrogates: tuple[ModelSpec, ...],
    targets: tuple[ModelSpec, ...],
    root: Path | None,
    known: tuple[int, ...],
    request: AttackRequest,
) -> Job:
    """Return what a configuration asks for, images and target classes loaded.

    Args:
        zoo: has the data set.
        config: what is asked.
        surrogates: models the images are crafted on.
        targets: models they are tried on.
        root: the user's own place of images; None for the data set's.
        known: labels of the classes whose images are kept.
        request: it may have a file of target classes.

    Raises:
        UsageError: the list of classes cannot be read or does not fit.
        DataError: the images are not there or damaged.
    """
    from transferzoo.datasets.sources import load_split
    from transferzoo.evaluation.candidates import read_target_classes
    from transferzoo.evaluation.job import Job
    from transferzoo.evaluation.known_classes import only_known
    from transferzoo.evaluation.noise_images import of_labels_only

    dataset = zoo.dataset(config.dataset)
    with progress("reading images") as advance:
        images = load_split(dataset, config.split, root=root, on_progress=advance)
    if root is None and (note := dataset.notes.get(config.split)):
        log(f"Note: {note}")
    listed = None
    if config.targeted == "file":
        listed = read_target_classes(Path(str(request.targeted)), dataset, images)
    if listed is not None and len(known) < len(dataset.classes):
        raise UsageError(
            "a list of target classes needs models that know all classes",
            expected=f"{len(dataset.classes)} known to all",
            got=str(len(known)),
        )
    dataset, images = only_known(dataset, images, known)
    others = [] if request.noise else [model for model in targets if model not in surrogates]
    return Job(
        config,
        dataset,
        surrogates,
        targets,
        images,
        listed,
        allow_inaccurate=request.allow_inaccurate,
        noiseless=of_labels_only(others, dataset, log),
    )


def fits_batches(request: AttackRequest) -> bool:
    """Return whether memory says how many images are attacked together: if the user says so, or on a GPU."""
    from transferzoo.base.distributed import this_device

    return request.batch_size == AUTO or (request.batch_size is None and this_device().type == "cuda")


def gain_of_bf16(job: Job) -> str | None:
    """Return a sentence on how much faster bfloat16 is here; None where the attacks are short or it is not.

    It is measured on the first surrogate, on a GPU that multiplies in bfloat16.
    """
    from transferzoo.base.distributed import this_device
    from transferzoo.evaluation.crafting import EXAMPLES, load_surrogates
    from transferzoo.models.optimize import best_precision, gradient_seconds, optimize

    device, task = this_device(), job.crafting_tasks[0]
    if device.type != "cuda" or best_precision(device) == "fp32" or task.models[0].source.as_is:
        return None
    exact = load_surrogates(job, task, device)[0]
    images = job.data.images[: job.config.batch_size].to(exact.mean.device)
    slow = gradient_seconds(exact, images)
    evaluations = sum(one.cost for one in job.crafting_tasks) * min(job.config.images, len(job.data))
    if slow * evaluations < LONG:
        return None
    gain = slow / gradient_seconds(optimize(exact, images[:EXAMPLES], precision="bf16", fold=False), images)
    if gain < WORTHWHILE:
        return None
    return (
        f"Note: with --precision bf16 a gradient of {task.models[0].name} is {gain:.1f} times as fast here; "
        "the images are others then, and tables say so."
    )


def with_largest_batches(job: Job) -> Job:
    """Return the job with as many images in a work unit as fit in memory."""
    from transferzoo.base.distributed import this_device
    from transferzoo.evaluation.crafting import load_surrogates
    from transferzoo.models.optimize import largest_batch_size

    most = min(
        largest_batch_size(load_surrogates(job, task, this_device()), job.data.images[:2])
        for task in job.crafting_tasks
    )
    return replace(job, config=job.config.model_copy(update={"batch_size": most}))
