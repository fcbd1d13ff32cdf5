"""Surrogates for the classes of a data set: those of the zoo where it has any, else a few that are trained.

What is trained lies in the cache, in a folder named by its images and its recipe, and is trained once: a
second run of the same waits for the first, and one that was stopped goes on.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from transferzoo.base.atomic import writing
from transferzoo.base.errors import UsageError
from transferzoo.base.processes import share, shares, usual_jobs
from transferzoo.models.fitting import COUNT, fitting_surrogates
from transferzoo.models.resolve import silent
from transferzoo.training.adaptations import Adaptation, adaptations

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from transferzoo.training.progress import Progress
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import ModelSpec

    Message = tuple[int, "Progress | str | Adapted"]


@dataclass(frozen=True)
class Adapted:
    """A surrogate that was trained, now or before.

    Attributes:
        model: the surrogate.
        images: how many it was trained on.
        held_out: how many others its accuracy was measured on.
        accuracy: on these, 0 to 1; of a replica, how often it answers as its teacher does.
        seconds: of training.
    """

    model: ModelSpec
    images: int
    held_out: int
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Surrogates:
    """What images are crafted on where nobody names it.

    Attributes:
        models: the surrogates.
        split: images that none of them was trained on; those to attack.
        trained: what is known of those that were trained; empty where all are of the zoo.
    """

    models: tuple[ModelSpec, ...]
    split: str
    trained: tuple[Adapted, ...] = ()


def adapted_surrogates(
    zoo: Zoo,
    dataset: str,
    count: int = COUNT,
    *,
    split: str | None = None,
    apart_from: Collection[ModelSpec] = (),
    is_here: Callable[[ModelSpec], bool] | None = None,
    jobs: int | None = 1,
    notify: Callable[[str], None] = silent,
    on_progress: Callable[[Adaptation, Progress], None] = lambda *_: None,
) -> Surrogates:
    """Return surrogates for the classes of a data set: the zoo's where it has some, else trained ones.

    Args:
        zoo: has the data set, as `datasets.own.own_images` and `sources.measured` leave it.
        dataset: its name.
        count: how many surrogates, at most.
        split: the images that will be attacked; None for those that are free.
        apart_from: the targets, which are no surrogates.
        is_here: whether the weights of a model of another data set, or of one that may be fine-tuned, are on
            this machine; None for what no network can be needed for: the package and local folders.
        jobs: see `train_all`, as for the others.
        notify: likewise.
        on_progress: likewise.

    Raises:
        UsageError: the images that will be attacked are those a training would see.
        DataError: there are no training images, or too few.
        TransferZooError: a training diverges, or the cache cannot be written.
    """
    if count < 1:
        raise UsageError("the number of surrogates is out of range", expected="1 or more", got=str(count))
    found = fitting_surrogates(zoo, dataset, count, apart_from=apart_from, is_here=is_here)
    if found:
        return Surrogates(found, split or zoo.dataset(dataset).attack.split)
    planned, free = adaptations(zoo, dataset, count, split=split, is_here=is_here)
    trained = train_all(planned, jobs, notify, on_progress)
    return Surrogates(tuple(one.model for one in trained), free, trained)


def train_all(
    planned: Sequence[Adaptation],
    jobs: int | None = 1,
    notify: Callable[[str], None] = silent,
    on_progress: Callable[[Adaptation, Progress], None] = lambda *_: None,
) -> tuple[Adapted, ...]:
    """Train surrogates that are not trained yet, those on small images several at a time.

    Whom replicas are trained on is asked before, in this process.

    Args:
        planned: what is trained.
        jobs: processes, in one thread each; None for `usual_jobs`. Their number changes no bit.
        notify: called with a sentence where another run trains one of them now.
        on_progress: called after every step.

    Raises:
        ModelError, TransferZooError: see `train_once`.
    """
    for one in planned:
        if one.labels:
            one.labels.ask()
    small, large = _by_size(planned)
    done: dict[int, Adapted] = {}

    def work(places: Sequence[int], send: Callable[[Message], None]) -> None:
        for place in places:
            tell = partial(_tell, send, place)
            tell(train_once(planned[place], tell, tell))

    def hear(message: Message) -> None:
        place, told = message
        if isinstance(told, Adapted):
            done[place] = told
        elif isinstance(told, str):
            notify(told)
        else:
            on_progress(planned[place], told)

    work(large, hear)
    share(work, shares(small, usual_jobs() if jobs is None else jobs), hear)
    return tuple(done[place] for place in range(len(planned)))


def _tell(send: Callable[[Message], None], place: int, told: Progress | str | Adapted) -> None:
    send((place, told))


def seconds_of_all(planned: Sequence[Adaptation], jobs: int | None = 1) -> float:
    """Return about how long `train_all` takes on this machine, if it stays as busy as it is now.

    Args:
        planned: what is not trained yet.
        jobs: see `train_all`.
    """
    taken = [one.seconds() for one in planned]
    small, large = _by_size(planned)
    parts = shares(small, usual_jobs() if jobs is None else jobs)
    longest = max((sum(taken[place] for place in part) for part in parts), default=0.0)
    return sum(taken[place] for place in large) + longest


def _by_size(planned: Sequence[Adaptation]) -> tuple[list[int], list[int]]:
    """Return the places of those on small images, which compute in one thread, and of the others."""
    from transferzoo.training.stream import streams

    large = [place for place, one in enumerate(planned) if streams(one.dataset)]
    return [place for place in range(len(planned)) if place not in large], large


def train_once(
    one: Adaptation,
    notify: Callable[[str], None] = silent,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Adapted:
    """Train a surrogate, or go on where an earlier run was stopped, or return what an earlier one trained.

    Args:
        one: what is trained.
        notify: called with a sentence where another run trains it now.
        on_progress: called after every step.

    Raises:
        ModelError: what was trained is damaged.
        TransferZooError: the training diverges, or the cache cannot be written.
    """
    from transferzoo.training.trainer import train

    with _alone(one.folder, notify):
        recipe = train(
            one.config,
            one.dataset,
            one.labels.answered(one.dataset, one.config) if one.labels else one.feed,
            None,
            one.folder,
            start=one.start,
            on_progress=on_progress,
        )
    measured = recipe["validation"]
    return Adapted(one.model, one.feed.count, measured["n"], measured["accuracy"], recipe["seconds"])


@contextmanager
def _alone(folder: Path, notify: Callable[[str], None]) -> Iterator[None]:
    """Wait until no other process trains into a folder; what it holds ends with the process that does.

    Raises:
        TransferZooError: the cache cannot be written.
    """
    from filelock import FileLock, Timeout

    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.parent / f".{folder.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            notify(f"Another run trains {folder.name} now; waiting for it.")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
