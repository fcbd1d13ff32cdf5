"""What people are shown of a training: its plan, and how a radius was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.base.durations import duration
from transferzoo.base.table import Table
from transferzoo.base.train_config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from transferzoo.training.recipes import Plan
    from transferzoo.zoo.schema import DatasetSpec

OF_THEIR_OWN = ("dataset", "architecture", "start", "minimizer", "tune", "epochs", "batch_size", "validation")
"""Options that have rows of their own; the others have one where they are not at their defaults."""


def facts(what: Plan, dataset: DatasetSpec, data: Path | None, folder: Path) -> dict[str, Any]:
    """Return what a training would do, and how long that would take.

    Args:
        what: the training.
        dataset: what is classified.
        data: the user's own images; without them, those that are on the Hub only are left there.
        folder: the checkpoint.

    Raises:
        UsageError, DataError: the images cannot be read, or are too few.
    """
    from torch import get_num_threads

    from transferzoo.base.distributed import this_device
    from transferzoo.datasets.disk import count_images
    from transferzoo.datasets.sources import hub_files
    from transferzoo.minimizers import read_rule
    from transferzoo.sync.inventory import state_of_images
    from transferzoo.training.estimate import step_seconds
    from transferzoo.training.feeds import left_to_train
    from transferzoo.training.resume import kept
    from transferzoo.training.threads import usual_threads

    config = what.config
    state = "local" if data else state_of_images(dataset, "train")
    images = steps = None
    if state not in ("hub", "absent"):
        images = left_to_train(count_images(dataset, "train", data), config)
        epochs = config.epochs + (config.collect.epochs if config.collect else 0)
        steps = images // config.batch_size * epochs * max(1, len(config.tune))
    seconds = step_seconds(config, dataset, what.start)
    with usual_threads(dataset):
        threads = get_num_threads()
    at = kept(folder)
    files = hub_files(dataset, "train") if state == "hub" else []
    return {
        "output": str(folder),
        "config": config.model_dump(mode="json"),
        "passes": read_rule(config.minimizer).passes,
        "images": images,
        "images_state": state,
        "downloads": [f"{file.repo}/{file.file}" for file in files],
        "steps": steps,
        "device": this_device().type,
        "threads": threads,
        "step_seconds": round(seconds, 6),
        "estimated_seconds": None if steps is None else round(steps * seconds, 1),
        "kept_step": at and at.step,
    }


def plan_table(found: Mapping[str, Any]) -> Table:
    """Return what `facts` returns, for people."""
    config = TrainConfig(**found["config"])
    rows = [("images", _images(found, config)), ("architecture", config.architecture)]
    if config.start:
        rows.append(("weights", f"those of {config.start} at first"))
    rows.append(("minimizer", f"{config.minimizer}, {found['passes']:g} passes a step"))
    if config.tune:
        rows.append(("radii", f"{', '.join(f'{rho:g}' for rho in config.tune)}: the one that transfers best"))
    rows += [("steps", _steps(found, config)), *_options(config), ("time", _time(found))]
    state = f", where step {found['kept_step']:,} is kept" if found["kept_step"] else ""
    rows.append(("folder", found["output"] + state))
    return Table("training", ("what", "value"), tuple(rows), "--json prints every option.")


def _images(found: Mapping[str, Any], config: TrainConfig) -> str:
    held = f", {config.validation:,} more held out" if config.validation else ""
    if found["images"] is not None:
        return f"{found['images']:,} of {config.dataset}{held}"
    where = {"hub": f"on the Hub: {', '.join(found['downloads'])}"}
    missing = "not on this machine: give their folder with --data"
    return f"all of {config.dataset}{held}; they are {where.get(found['images_state'], missing)}"


def _steps(found: Mapping[str, Any], config: TrainConfig) -> str:
    trainings = f"{len(config.tune)} trainings of " if config.tune else ""
    collected = f" and {config.collect.epochs} that collect weights" if config.collect else ""
    epochs = f"{trainings}{config.epochs} epochs{collected}, {config.batch_size} images a step"
    return epochs if found["steps"] is None else f"{found['steps']:,}: {epochs}"


def _options(config: TrainConfig) -> Iterator[tuple[str, str]]:
    for name, field in TrainConfig.model_fields.items():
        value = getattr(config, name)
        if name not in OF_THEIR_OWN and value != field.default:
            text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            yield name.replace("_", " "), text


def _time(found: Mapping[str, Any]) -> str:
    step, device, threads = f"{found['step_seconds']:.2g} s a step", found["device"], found["threads"]
    used = f", {threads} thread{'s' if threads > 1 else ''}" if device == "cpu" else ""
    here = f"on this machine ({device}{used}) if it stays as busy as it is now"
    if found["estimated_seconds"] is None:
        return f"about {step} {here}"
    return f"about {duration(found['estimated_seconds'])} {here}, {step}"


def time_first(what: Plan, dataset: DatasetSpec, folder: Path) -> str:
    """Return a sentence on how long a training on images of somebody's own will take; see `facts`."""
    found = facts(what, dataset, None, folder)
    held = f", {what.config.validation:,} more held out" if what.config.validation else ""
    return f"Training on {found['images']:,} images{held}: {_time(found)}."


def measured_on(result: Mapping[str, Any], *, own: bool) -> str:
    """Return the accuracy of a recipe in words: of images of somebody's own that on held-out ones first."""
    kinds = ("validation", "accuracy") if own else ("accuracy",)
    right = next((result[kind] for kind in kinds if result.get(kind)), None)
    if right is None:
        return "no test images"
    which = "held-out" if right is result.get("validation") else "test"
    return f"{right['accuracy']:.2%} of {right['n']:,} {which} images"


def choice_table(tuning: Mapping[str, Any]) -> Table:
    """Return how a radius was chosen: `tuning` of a recipe."""
    best, curve = tuning["chosen"]["rho"], tuning["curve"]
    targets = list(curve[0]["transfer"]["targets"])
    columns = ("rho", "chosen", *(f"fools {name} %" for name in targets), "mean %", "right %", "time")
    rows = tuple(
        (
            f"{line['rho']:g}",
            "yes" if line["rho"] == best else "",
            *(f"{100 * line['transfer']['targets'][name]:.1f}" for name in targets),
            f"{100 * line['transfer']['rate']:.1f}",
            f"{100 * line['accuracy']:.1f}",
            duration(line["seconds"]),
        )
        for line in curve
    )
    n, held = curve[0]["transfer"]["n"], curve[0]["n"]
    caption = (
        f"Chosen by the mean over validation targets: how many of {n} validation images, crafted on each "
        f"model, they misclassify. Right: of the {held} validation images."
    )
    return Table("radii", columns, rows, caption)
