"""Choosing a radius: one training a value, judged by transfer to validation targets on validation images."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from transferzoo.base.atomic import replacing, write_json
from transferzoo.base.distributed import Team
from transferzoo.minimizers import show_rule
from transferzoo.models import checkpoint
from transferzoo.models.recipe_file import read_recipe
from transferzoo.training.recipes import with_rho
from transferzoo.training.resume import RESUME, TRIALS, folder_in_use, holds_other, tidy
from transferzoo.training.trainer import train

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from transferzoo.base.train_config import TrainConfig
    from transferzoo.datasets import Batch
    from transferzoo.training.feeds import Feed
    from transferzoo.training.trainer import Progress
    from transferzoo.zoo.schema import DatasetSpec


def train_or_tune(
    config: TrainConfig,
    dataset: DatasetSpec,
    data: Batch | Feed,
    test: Batch | None,
    folder: Path,
    *,
    start: Path | None = None,
    validators: Mapping[str, Path] | None = None,
    team: Team | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> dict[str, Any]:
    """Train with every radius of `config.tune` and keep what transfers best; without any, just train.

    Each radius is trained in its own sub-folder of `tune/`, where a finished one is taken as it is. The
    choice sees validation images and validation targets only; it and the whole curve are in `recipe.json`
    under `tuning`. Equal rates: the smaller radius.

    Arguments, result and errors are those of `train`.
    """
    team = team or Team()

    def run(config: TrainConfig, folder: Path) -> dict[str, Any]:
        return train(
            config,
            dataset,
            data,
            test,
            folder,
            start=start,
            validators=validators,
            team=team,
            on_progress=on_progress,
        )

    if not config.tune:
        return run(config, folder)
    trials = {rho: _trial(config, rho) for rho in sorted(config.tune)}
    known = read_recipe(folder)
    if known is not None:
        tuning = known.get("tuning") or {"curve": ()}
        if {line["rho"] for line in tuning["curve"]} != set(trials):
            raise folder_in_use(folder)
        return run(trials[tuning["chosen"]["rho"]], folder)
    _check(folder, trials)
    curve = {rho: run(trial, folder / TRIALS / _name(rho)) for rho, trial in trials.items()}
    if not team.leads:
        return {}
    return _keep_best(folder, curve)


def _keep_best(folder: Path, curve: Mapping[float, dict[str, Any]]) -> dict[str, Any]:
    """Copy the checkpoint of the radius that transfers best into the folder, and return its recipe.

    Args:
        folder: that holds the trials.
        curve: the recipe of each radius.
    """
    best = max(curve, key=lambda rho: (curve[rho]["validation"]["transfer"]["rate"], -rho))
    tried = [
        {"rho": rho, **one["validation"], "test": one["accuracy"], "seconds": one["seconds"]}
        for rho, one in curve.items()
    ]
    by = "mean success rate on the validation targets"
    recipe = {**curve[best], "tuning": {"chosen": {"rho": best}, "by": by, "curve": tried}}
    chosen = folder / TRIALS / _name(best)
    collected = [f"{checkpoint.SAMPLES}/{file.name}" for file in checkpoint.samples(chosen)]
    for name in (checkpoint.CONFIG, checkpoint.WEIGHTS, *collected):
        with (chosen / name).open("rb") as trained, replacing(folder / name) as stream:
            shutil.copyfileobj(trained, stream)
    write_json(folder / checkpoint.RECIPE, recipe)
    tidy(folder)
    return recipe


def _trial(config: TrainConfig, rho: float) -> TrainConfig:
    spec = show_rule(with_rho(config.minimizer, rho))
    return config.model_copy(update={"minimizer": spec, "tune": ()})


def _name(rho: float) -> str:
    short = f"{rho:g}"
    return f"rho={short if float(short) == rho else repr(rho)}"


def _check(folder: Path, trials: Mapping[float, TrainConfig]) -> None:
    """Check that what an unfinished folder holds are trials of this choice.

    Raises:
        UsageError: it holds other work.
    """
    known = {_name(rho): trial for rho, trial in trials.items()}
    held = [path for path in (folder / TRIALS).glob("*") if path.is_dir()]
    plain = [name for name in (checkpoint.WEIGHTS, RESUME) if (folder / name).exists()]
    if RESUME in plain or (plain and not held):
        raise folder_in_use(folder)
    if any(path.name not in known or holds_other(path, known[path.name]) for path in held):
        raise folder_in_use(folder)
