"""From the plan of `transferzoo train` to a checkpoint folder."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transferzoo.cli.images import training_images
from transferzoo.cli.interrupted import Interrupted
from transferzoo.cli.output import log, progress_bar
from transferzoo.cli.training_log import TrainingLog, plan_sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from transferzoo.base.distributed import Team
    from transferzoo.datasets import Batch
    from transferzoo.training.feeds import Feed
    from transferzoo.training.recipes import Plan
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec


def check_architecture(what: Plan, dataset: DatasetSpec, notify: Callable[[str], None]) -> None:
    """Build the model once, so that what is wrong with it is told before any data is fetched.

    Args:
        what: names the architecture, and the start if there is one.
        dataset: what is classified.
        notify: called with a sentence on what of the start is not taken.

    Raises:
        UsageError: the architecture cannot be built.
        ModelError: the checkpoint it starts from is damaged or does not fit.
    """
    from transferzoo.models.build import create
    from transferzoo.training.finetuning import begin

    if what.start is None:
        create(what.config.architecture, dataset)
    elif note := begin(what.start, dataset, what.config.architecture).note:
        notify(f"Note: {note}")


def _labelled(model: ModelSpec, images: Batch | Feed, dataset: DatasetSpec, team: Team) -> Batch:
    """Return the training images with a model's answers for labels, and say how many are the data set's."""
    from transferzoo.training.labels import labelled_by

    answered, same = labelled_by(model, images, dataset, team)
    if team.leads:
        log(f"Labels by {model.full_name}: {len(answered):,} answers, {same:.1%} as in the data set.")
    return answered


def run(
    dataset: DatasetSpec,
    what: Plan,
    recipe: str | None,
    root: Path | None,
    folder: Path,
    team: Team,
    workers: int | None,
) -> dict[str, Any]:
    """Train into a folder, or go on there, with what is trained and how far it is on stderr.

    Args:
        dataset: of the images.
        what: configuration, start, validators and labels.
        recipe: name of the one that is followed; None for none.
        root: the user's own images; None for the data set's.
        folder: of the checkpoint.
        team: the processes that share the work.
        workers: processes that read images from disk; None for one a processor.

    Returns:
        The content of `recipe.json`; of a search for rho its choice too.
    """
    from transferzoo.models.recipe_file import note_images
    from transferzoo.training.rho_search import train_or_tune

    images, test = training_images(dataset, root, what.config, workers)
    if what.labels:
        images = _labelled(what.labels, images, dataset, team)
    plan = plan_sentence(what.config, recipe, dataset, root)
    with progress_bar() as bar, _telling_what_is_kept(folder):
        result = train_or_tune(
            what.config,
            dataset,
            images,
            test,
            folder,
            start=what.start,
            validators=what.validators,
            team=team,
            on_progress=TrainingLog(bar, plan, len(what.config.tune)).advance,
        )
    return note_images(folder, root.name) if root and team.leads else result


@contextmanager
def _telling_what_is_kept(folder: Path) -> Iterator[None]:
    """Let the sentence after Ctrl-C say where the same command goes on."""
    from transferzoo.models.checkpoint import RECIPE
    from transferzoo.training.resume import TRIALS, kept

    try:
        yield
    except Interrupted as stop:
        if at := kept(folder):
            place = (
                f"step {at.step:,} of {at.steps:,} (epoch {at.epoch} of {at.epochs}) is kept in {at.folder}"
            )
            stop.add_note(f"Interrupted; {place}, and the same command goes on from there.")
        elif not any((folder / name).exists() for name in (RECIPE, TRIALS)):
            stop.add_note("Interrupted; nothing was kept yet, and the same command starts anew.")
        raise
