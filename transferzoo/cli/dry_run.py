"""What a dry run of `transferzoo attack` says, also while models or images are still to be downloaded."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from transferzoo.base.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from transferzoo.base.attack_config import AttackConfig
    from transferzoo.evaluation.job import CraftingTask
    from transferzoo.sync.download_plan import PlannedDownload
    from transferzoo.sync.items import Item
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec


def plan_table(plan: Mapping[str, Any]) -> Table:
    """Return a plan as a table of what is crafted, with the rest of it in sentences.

    Args:
        plan: as JSON has it.
    """
    from transferzoo.base.durations import duration
    from transferzoo.results.cell_texts import told_apart
    from transferzoo.results.records import short
    from transferzoo.sync.download_plan import format_bytes

    config, costs = plan["config"], plan["gradient_evaluations"]
    lines = told_apart(one["attack"] for one in costs["per_image"])
    rows = [
        (short(one["surrogate"]) + lines[one["attack"]], str(one["gradients"])) for one in costs["per_image"]
    ]
    folder, targets = plan["run_folder"], ", ".join(map(short, config["targets"]))
    in_all = f"{costs['in_all']:,} gradient evaluations in all"
    said = [f"On {costs['images']:,} images, {in_all}; targets: {targets}."]
    if folder is not None:
        there = ", which is begun or finished: what it has is not done again" if plan["exists"] else ""
        said.append(f"Run folder: {folder}{there}.")
    for one in plan.get("downloads", ()):
        size = str(one["error"]).removesuffix(".") if one["error"] else format_bytes(one["bytes"])
        said.append(f"Downloads {one['name']} ({size}{', ' + one['url'] if 'url' in one else ''}).")
    for verb, noun in (("trains", "Trains"), ("fine_tunes", "Fine-tunes")):
        todo = [short(one["surrogate"]) for one in plan.get(verb, ()) if not one["done"]]
        said += [f"{noun} {', '.join(todo)} first."] if todo else []
    for one in plan.get("queries", ()):
        seconds = one["estimated_seconds"]
        time = "" if seconds is None else f", for about {duration(seconds)}"
        said.append(f"{short(one['target'])} is asked about {one['in_all']:,} images{time}.")
    return Table("What would be crafted", ("surrogate", "gradients an image"), tuple(rows), " ".join(said))


def lacking(
    dataset: DatasetSpec, models: Sequence[ModelSpec], split: str | None, data: Path | None
) -> list[Item]:
    """Return what an attack would download.

    Args:
        dataset: what is attacked.
        models: surrogates and targets.
        split: of the data set; the one that is attacked where none is given.
        data: the user's own images.
    """
    from transferzoo.sync.items import item_of, item_of_images

    wanted = [item_of(model) for model in models] + ([item_of_images(dataset, split)] if data is None else [])
    return list({item.name: item for item in wanted if item.to_download}.values())


def unfetched(
    settle: Callable[..., AttackConfig],
    dataset: DatasetSpec,
    surrogates: Sequence[ModelSpec],
    targets: Sequence[ModelSpec],
    absent: Sequence[Item],
    tuned: Sequence[str],
) -> dict[str, Any]:
    """Return what a run would do and download; its folder depends on what comes.

    Args:
        settle: makes the configuration of an attack, given surrogates, targets and weights of the former.
        dataset: what is classified.
        surrogates: what is attacked from.
        targets: what is attacked.
        absent: what would be downloaded.
        tuned: specs of fine-tunings.
    """
    from transferzoo.attacks.engine import Attack
    from transferzoo.evaluation.job import CraftingTask
    from transferzoo.evaluation.queries import counted
    from transferzoo.evaluation.select_images import next_look
    from transferzoo.sync.download_plan import plan_downloads
    from transferzoo.sync.inventory import name_of

    plans = {plan.item.name: plan for plan in plan_downloads(absent)}
    weights = {model.full_name: _weights(model, plans.get(name_of(model))) for model in surrogates}
    names = ([model.full_name for model in models] for models in (surrogates, targets))
    config = settle(*names, weights=weights)
    attacks = [Attack.of(spec, config.seed) for spec in config.attacks]
    groups = [tuple(surrogates)] if config.ensemble else [(model,) for model in surrogates]
    tasks = [CraftingTask(models, attack) for models in groups for attack in attacks]
    costs = [_cost(task, weights) for task in tasks]
    looked_at = next_look(0, 0, config.images)
    fine_tunes = [
        {"surrogate": model.full_name, "by": spec, "done": False} for model in surrogates for spec in tuned
    ]
    queries = [
        counted(model, dataset, config, tasks, config.images, looked_at).to_json()
        for model in targets
        if model.source.is_served
    ]
    return {
        "config": config.model_dump(mode="json"),
        "attacks": [attack.canonical for attack in attacks],
        "run_folder": None,
        "exists": False,
        "downloads": [_download(plan) for plan in plans.values()],
        **({"fine_tunes": fine_tunes} if fine_tunes else {}),
        "gradient_evaluations": {
            "per_image": costs,
            "images": config.images,
            "in_all": sum(cost["gradients"] for cost in costs) * config.images,
        },
        **({"queries": queries} if queries else {}),
        "loads": {m.full_name: m.place for m in (*surrogates, *targets) if name_of(m) not in plans},
    }


def _weights(model: ModelSpec, plan: PlannedDownload | None) -> int:
    """Return how many collected weights a surrogate has, one where it has none or nobody says."""
    from transferzoo.models import checkpoint
    from transferzoo.models.checkpoint import SAMPLE
    from transferzoo.models.download import loadable
    from transferzoo.sync.inventory import files_of

    if plan:
        count = sum(bool(SAMPLE.fullmatch(file.path)) for file in plan.files)
    elif files := files_of(model):
        folder = files.cached_folder()
        count = len(checkpoint.samples(folder)) if folder else 0
    else:
        count = len(loadable(model).collected())
    return count or 1


def _cost(craft: CraftingTask, weights: Mapping[str, int]) -> dict[str, Any]:
    every = craft.attack.composition.joins
    count = sum(weights[model.full_name] if every else 1 for model in craft.models)
    return {**asdict(craft.pair), "gradients": craft.attack.cost(count)}


def _download(plan: PlannedDownload) -> dict[str, Any]:
    return {
        "name": plan.item.name,
        "kind": plan.item.kind,
        "bytes": None if plan.error else plan.missing,
        "error": str(plan.error) if plan.error else None,
        **({"url": plan.item.web.url} if plan.item.web else {}),
    }
