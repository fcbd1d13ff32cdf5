"""`transferzoo train`: a request and a recipe → a checkpoint folder."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Any

from transferzoo.base.notes import Notes
from transferzoo.cli.output import log, report_once, show_json, show_line
from transferzoo.cli.parameters import command
from transferzoo.cli.tables import print_tables
from transferzoo.cli.train_job import check_architecture, run
from transferzoo.cli.train_request import TrainRequest
from transferzoo.cli.train_tables import choice_table, facts, measured_on, plan_table, time_first

if TYPE_CHECKING:
    from transferzoo.training.recipes import Plan
    from transferzoo.zoo.schema import DatasetSpec


@command(TrainRequest)
def train(request: TrainRequest) -> None:
    """Train a surrogate or target; the same command resumes a run that was stopped."""
    from transferzoo.base.distributed import join_team
    from transferzoo.base.environment import environment
    from transferzoo.base.frozen_model import fingerprint
    from transferzoo.training.recipes import plugins_of, short_name

    notes = Notes(log)
    what, followed, dataset, root = _planned(request, notes)
    config = what.config
    check_architecture(what, dataset, notes)
    key = {"config": config.key(), "environment": environment()._asdict(), **plugins_of(config)}
    name = f"{request.recipe or short_name(config)}-{fingerprint(key)[:8]}"
    folder = request.output or Path("checkpoints") / name
    if request.dry_run:
        found = facts(what, dataset, root, folder)
        notes.tell()
        show_json(found) if request.json else print_tables(plan_table(found))
        return
    notes.tell()
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launched not in ("no", config.precision):
        log(
            f"Note: Accelerate's mixed precision '{launched}' is not used; --precision is {config.precision}."
        )
    own = None if root is not None else request.data
    with join_team(request.log_with, folder) as team, report_once(team.fails_first):
        if own and team.leads:
            log(time_first(what, dataset, folder))
        result = run(dataset, what, followed, root, folder, team, request.workers)
    if not team.leads:
        return
    if request.json:
        show_json({"folder": str(folder), **result})
        return
    _show(result, folder, own)
    log(f"Attack from it with: {_attack_command(folder, dataset, own)}")


def _planned(request: TrainRequest, notes: Notes) -> tuple[Plan, str | None, DatasetSpec, Path | None]:
    """Return what is trained, the name of the recipe that is followed, the data set, and its images' place.

    The place is None where the data set has it, as one that a place of the user's own was made into.
    """
    from transferzoo.base.errors import UsageError
    from transferzoo.datasets.own import own_images, read_as_by
    from transferzoo.datasets.sources import measured
    from transferzoo.models.download import download_model
    from transferzoo.models.resolve import resolve_model
    from transferzoo.models.unlisted_options import UnlistedOptions
    from transferzoo.training.own_data import as_trained_on
    from transferzoo.training.recipes import plan, usual_architecture
    from transferzoo.training.unused import refuse_unused
    from transferzoo.zoo.reader import load_zoo

    zoo = load_zoo(request.zoo)
    chosen = request.dataset or (zoo.recipe(request.recipe).dataset if request.recipe else None)
    zoo, name, root = own_images(zoo, chosen, request.data, notes, notes, request.columns)
    zoo = measured(zoo, name, "train", root)
    usual: dict[str, Any] = {}
    if request.data is not None and root is None:
        options = UnlistedOptions(request.architecture or "", request.allow_code)
        start = request.start and resolve_model(zoo, request.start, name, options)
        zoo, note = read_as_by(zoo, name, (download_model(start, log),) if start else ())
        notes(note)
        zoo, usual = as_trained_on(zoo, name, request.image_size, fine_tuned=bool(start))
    elif request.image_size is not None:
        raise UsageError(
            f"the images of '{name}' have a size", expected="--image-size with images of your own alone"
        )
    dataset, followed, fields = zoo.dataset(name), request.recipe, {**request.fields, "dataset": name}
    if (request.recipe, request.architecture, request.start) == (None, None, None):
        followed = dataset.recipe
        fields |= {} if followed else {"architecture": usual_architecture(dataset)}
    usual = {} if followed else usual
    what = plan(
        zoo,
        followed,
        fields,
        usual=usual,
        rho=request.rho,
        tune=request.tune,
        notify=log,  # that code runs is said whatever comes of it
        allow_code=request.allow_code,
    )
    refuse_unused(what.config, request.fields)
    return what, followed, dataset, root


def _show(result: dict[str, Any], folder: Path, own: Path | None) -> None:
    """Print what came of a training; `own` are images that no zoo file names."""
    if "tuning" in result:
        print_tables(choice_table(result["tuning"]))
    accuracy = measured_on(result, own=own is not None)
    show_line(f"{folder}: {accuracy}, {result['seconds']:.0f} s of training")


def _attack_command(folder: Path, dataset: DatasetSpec, own: Path | None) -> str:
    """Return the command that attacks from a checkpoint; `own` are images that no zoo file names."""
    from transferzoo.datasets.own import UNSEEN

    images, targets = ["--dataset", dataset.name], ["--targets", "all"]
    if own is not None:
        images, targets = ["--data", str(own)], ["--target", "MODEL"]
        images += ["--split", UNSEEN] if dataset.shares else []
    place = str(folder) if folder.is_absolute() or folder.parts[0] == ".." else f"./{folder}"  # no name
    return join(["transferzoo", "attack", *images, "--surrogate", place, *targets])
