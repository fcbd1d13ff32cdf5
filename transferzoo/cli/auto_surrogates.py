"""What `transferzoo attack -s auto` does before the attack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.base.durations import duration
from transferzoo.cli.flags import AUTO
from transferzoo.cli.output import log, progress_bar
from transferzoo.models.fitting import fitting_surrogates, note_to_pull
from transferzoo.sync.on_this_machine import on_this_machine
from transferzoo.zoo.selection import parts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from rich.progress import TaskID

    from transferzoo.cli.attack_request import AttackRequest
    from transferzoo.training.adaptations import Adaptation
    from transferzoo.training.progress import Progress
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import ModelSpec


def without_auto(names: Iterable[str]) -> tuple[list[str], bool]:
    """Return names of surrogates without "auto", and whether that was among them."""
    every = [f"{name}|{defence}".rstrip("|") for name, defence in parts(names)]
    return [name for name in every if name != AUTO], AUTO in every


def fitting(zoo: Zoo, dataset: str, targets: Collection[ModelSpec]) -> tuple[ModelSpec, ...]:
    """Return the surrogates of the zoo that "auto" stands for; see `fitting_surrogates`."""
    return fitting_surrogates(zoo, dataset, apart_from=targets, is_here=on_this_machine)


def to_train(
    zoo: Zoo, dataset: str, request: AttackRequest, surrogates: Collection[ModelSpec]
) -> tuple[Sequence[Adaptation], str | None]:
    """Return the surrogates that "auto" has to train, trained or not, and the split that is attacked then.

    Args:
        zoo: has the data set.
        dataset: what is classified.
        request: the surrogates and the split that were named.
        surrogates: those that were found, not downloaded yet.

    Returns:
        Nothing, and what was named, where "auto" was not asked for or has found some of the zoo.

    Raises:
        UsageError, DataError: see `training.adaptations.adaptations`.
    """
    if not without_auto(request.surrogate or ())[1]:
        return (), request.split
    every = fitting_surrogates(zoo, dataset, len(zoo.models), is_here=lambda _: True)
    found = {model.source for model in surrogates}
    if any(model.source in found for model in every):
        return (), request.split
    from transferzoo.training.adaptations import adaptations

    if note := note_to_pull(zoo, dataset):
        log(f"Note: {note}")
    return adaptations(zoo, dataset, split=request.split, is_here=on_this_machine)


def train_surrogates(adapted: Sequence[Adaptation], jobs: int | None) -> None:
    """Train what is not trained yet, and say what comes of it: time first, accuracy on held-out images last.

    Args:
        adapted: what is trained.
        jobs: processes at most; None for as many as work best.

    Raises:
        TransferZooError: see `training.adapted.train_once`.
    """
    from transferzoo.training.adapted import seconds_of_all, train_all

    names = ", ".join(one.model.name for one in adapted)
    missing = [one for one in adapted if not one.finished()]
    answers = next((one.labels for one in adapted if one.labels), None)
    what = f"{answers.queries:,} answers of {answers.teacher.model.name} to " if answers else ""
    log(f"Surrogates for these classes: {names}, trained once on {what}images that are not attacked.")
    if missing:
        log(
            f"Training {len(missing)} of them takes about {duration(seconds_of_all(missing, jobs))} on this "
            "machine if it stays as busy as it is now; a run that is stopped goes on, and --surrogate names "
            "models instead."
        )
    with progress_bar() as bar:
        tasks: dict[str, TaskID] = {}
        told: dict[str, int] = {}

        def advance(one: Adaptation, at: Progress) -> None:
            name = one.model.name
            if name not in tasks:
                tasks[name] = bar.add_task(f"training {name}", note="")
            note = f"loss {at.loss:.3f}  accuracy {at.accuracy:.1%}  {at.images_per_second:,.0f} images/s"
            bar.update(tasks[name], completed=at.step, total=at.steps, note=note)
            quarter = 4 * at.step // at.steps
            if bar.disable and quarter > told.setdefault(name, 4 * (at.step - 1) // at.steps):
                told[name] = quarter
                log(f"training {name}: step {at.step:,} of {at.steps:,}  {note}")

        trained = train_all(adapted, jobs, log, advance)
    for one, found in zip(adapted, trained, strict=True):
        log(
            f"{one.model.name}: {_right(one)} {found.accuracy:.1%} of {found.held_out:,} held-out images; "
            f"trained on {found.images:,} others in {duration(found.seconds)}{_start(one)}."
        )


def _right(one: Adaptation) -> str:
    return f"answers as {one.labels.teacher.model.name} does on" if one.labels else "right on"


def _start(one: Adaptation) -> str:
    return f" from the weights of {one.config.start}" if one.config.start else ""


def plan_of(one: Adaptation) -> dict[str, Any]:
    """Return what a dry run says of a surrogate that is trained."""
    done = one.finished()
    return {
        "surrogate": one.model.full_name,
        "into": str(one.folder),
        "done": done,
        "images": one.feed.count,
        **({"queries": one.labels.queries} if one.labels else {}),
        "estimated_seconds": 0.0 if done else round(one.seconds(), 1),
        "config": one.config.model_dump(mode="json"),
    }
