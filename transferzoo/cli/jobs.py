"""From what a user asks of `transferzoo attack` to the job, and what a job would do."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferzoo.errors import UsageError

if TYPE_CHECKING:
    from transferzoo.config import AttackConfig
    from transferzoo.finetuning import FineTuning
    from transferzoo.jobs import Job
    from transferzoo.runs import RunFolder
    from transferzoo.specs import ModelSpec
    from transferzoo.zoo import Zoo

AUTO = "auto"
"""What stands for the best of an option on this machine."""


def models(
    zoo: Zoo, dataset: str, surrogates: list[str], targets: list[str]
) -> tuple[tuple[ModelSpec, ...], tuple[ModelSpec, ...]]:
    """Resolve names and download what is on the Hub.

    A surrogate that "all" or a glob made a target too is left out of the targets.

    Raises:
        UsageError: a name is unknown or stands for two folders, or no target is left.
        TransferZooError: the Hub does not have a model.
    """
    from transferzoo.pulling import located
    from transferzoo.zoo import distinct, is_pattern, parts

    sources = zoo.select(surrogates, dataset, "surrogate")
    victims = zoo.select(targets, dataset, "target")
    named = [f"{name}|{defence}".rstrip("|") for name, defence in parts(targets) if not is_pattern(name)]
    kept = tuple(m for m in victims if m not in sources or m in zoo.select(named, dataset, "target"))
    distinct((*sources, *kept))
    if not kept:
        raise UsageError(
            "no target is left",
            expected="at least one target that is no surrogate",
            hint="name one with --target",
        )
    return tuple(map(located, sources)), tuple(map(located, kept))


def job_of(
    zoo: Zoo,
    config: AttackConfig,
    surrogates: tuple[ModelSpec, ...],
    targets: tuple[ModelSpec, ...],
    data: Path | None,
    targeted: str | None,
) -> Job:
    """Return what a configuration asks for, images and classes aimed at loaded.

    Raises:
        UsageError: the list of classes cannot be read or does not fit.
        DataError: the images are not there or damaged.
    """
    from transferzoo.candidates import read_aims
    from transferzoo.datasets.sources import load
    from transferzoo.jobs import Job

    dataset = zoo.dataset(config.dataset)
    images = load(dataset, config.split, root=data)
    listed = read_aims(Path(str(targeted)), dataset, images) if config.targeted == "file" else None
    return Job(config, dataset, surrogates, targets, images, listed)


def steps_of(text: str | None) -> tuple[int, ...] | None:
    """Read the steps of a curve."""
    if text is None:
        return None
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise UsageError(
            "cannot read --curve", expected="steps joined by commas, as in 1,5,10", got=f"'{text}'"
        ) from None


def aim_of(text: str | None) -> str | None:
    """Return how the class aimed at is chosen: a word, or "file" for anything that is none."""
    from transferzoo.config import AIMS

    return text if text is None or text in AIMS else "file"


def plan_of(
    job: Job, folder: RunFolder | None, tuned: list[FineTuning], missing: list[FineTuning]
) -> dict[str, Any]:
    """Return what a run would do; its folder is known only once every surrogate is trained."""
    from transferzoo.cli.finetune import plan_of as tuning_of

    made = {one.model for one in missing}
    content = {
        "config": job.config.model_dump(mode="json"), "attacks": [a.canonical for a in job.attacks],
    }  # fmt: skip
    costs = {source.source: source.cost for source in job.crafts}
    return {
        **(job.content if folder else content),
        "run_folder": str(folder.path) if folder else None,
        "exists": folder is not None and folder.path.exists(),
        **({"fine_tunes": [tuning_of(one, one in missing) for one in tuned]} if tuned else {}),
        "gradient_evaluations": {
            "per_image": [{**asdict(source), "gradients": cost} for source, cost in costs.items()],
            "in_all": sum(costs.values()) * min(job.config.images, len(job.data)),
        },
        "loads": {m.full_name: str(m.folder) for m in (*job.surrogates, *job.targets) if m not in made},
    }


def batch_size_of(text: str | None) -> int | None:
    """Read `--batch-size`; None where nothing, or "auto", was said.

    Raises:
        UsageError: neither that nor a number.
    """
    if text in (None, AUTO):
        return None
    try:
        return int(str(text))
    except ValueError:
        raise UsageError(
            "cannot read --batch-size", expected=f"a number of images or {AUTO}", got=f"'{text}'"
        ) from None


def precision_of(text: str) -> str:
    """Read `--precision`; "auto" becomes the best one of the processor."""
    if text != AUTO:
        return text
    from transferzoo.parallel import this_device
    from transferzoo.preparation import best_precision

    return best_precision(this_device())


def with_fitting_batches(job: Job) -> Job:
    """Return the job with as many images in a work unit as the memory bears."""
    from transferzoo.parallel import this_device
    from transferzoo.preparation import fitting_batch_size
    from transferzoo.transfer import ready

    most = min(
        fitting_batch_size(ready(job, source, this_device()), job.data.images[:2]) for source in job.crafts
    )
    return replace(job, config=job.config.model_copy(update={"batch_size": most}))
