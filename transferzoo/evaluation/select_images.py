"""Which images a run attacks: candidates in an order drawn by the seed, until enough are found.

Models are asked for clean predictions only as far as the walk goes. The order does not depend on the models,
so runs with other targets attack the same images wherever their rule allows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import torch

from transferzoo.base.claims import claimed, unfinished
from transferzoo.base.errors import DataError
from transferzoo.base.processes import share, shares, tally
from transferzoo.evaluation import candidates
from transferzoo.models.accuracy_gate import require_accuracy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from transferzoo.base.distributed import Team
    from transferzoo.evaluation.job import Job
    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.zoo.schema import ModelSpec

    OnProgress = Callable[[str, int, int], None]
    Answer = tuple[int, dict[str, NDArray[Any]] | None]

FIRST_LOOK = 256
"""Candidates that every model is asked about at least: fewer say little of whether it classifies."""


@dataclass(frozen=True)
class SelectedImages:
    """What is attacked, and the clean predictions on it.

    Attributes:
        places: of the selected images among the candidates, in order of id, int64 (N,).
        ids: of the images, int64 (N,).
        labels: true classes, int64 (N,).
        target_classes: the classes aimed at (N,); None for an untargeted attack.
        accuracy: clean accuracy of every model on the candidates it was asked about.
        asked: how many these are.
        clean: every target's classes of the selected images (N,).
        units: the places of the images of each work unit in what is selected.
    """

    places: Tensor
    ids: Tensor
    labels: Tensor
    target_classes: Tensor | None
    accuracy: Mapping[str, float]
    asked: int
    clean: Mapping[str, Tensor]
    units: tuple[Tensor, ...]


def select(
    job: Job,
    folder: RunFolder,
    team: Team,
    on_progress: OnProgress,
    jobs: int = 1,
    warn: Callable[[str], None] = lambda warning: None,
) -> SelectedImages:
    """Select the images to attack; the processes share the models.

    Args:
        job: images, models and rule.
        folder: where the selection is kept.
        team: the processes of the run.
        on_progress: called with what is being done, how much is done and how much there is.
        jobs: processes of this machine for each of the team.
        warn: called with a sentence on a model whose clean accuracy is doubtful.

    Raises:
        ModelError: a model does not classify, or gives no numbers.
        DataError: no image is left.
    """
    models = list({m.full_name: m for m in (*job.surrogates, *job.targets)}.values())
    order = candidates.drawn_order(len(job.data), job.config.seed)
    if job.config.from_end:
        order = order.flip(0)
    asked, found = order[:0], order[:0]
    while len(found) < job.config.images and len(asked) < len(order):
        more = order[len(asked) : len(asked) + next_look(len(found), len(asked), job.config.images)]
        _ask(job, models, more, team, on_progress, jobs)
        eligible = _eligible(job, more, team.device)
        asked, found = torch.cat([asked, more]), torch.cat([found, more[eligible]])
    found = found[: job.config.images]
    accuracy = {model.full_name: _accuracy(job, model, asked, team.device, warn) for model in models}
    if not len(found):
        raise DataError(
            "no image is left to attack: the targets have no correctly classified image in common",
            hint="use fewer targets or --images-correct-for target",
        )
    places = found[job.data.ids[found].argsort()]
    aimed_at = _target_classes(job, places, team.device)
    selected = SelectedImages(
        places,
        job.data.ids[places],
        job.data.labels[places],
        aimed_at,
        accuracy,
        len(asked),
        {m.full_name: job.predictions(m).ask(places, team.device) for m in job.targets},
        torch.arange(len(places)).split(job.config.batch_size),
    )
    names = [job.data.names[place] for place in places.tolist()] if job.data.names else None
    folder.save_selection(
        selected.ids.tolist(),
        selected.labels.tolist(),
        None if aimed_at is None else aimed_at.tolist(),
        names,
    )
    return selected


def next_look(found: int, asked: int, wanted: int) -> int:
    """Return how many more candidates are likely to be enough, with a little to spare."""
    if not asked:
        return max(FIRST_LOOK, ceil(1.25 * wanted))
    return max(FIRST_LOOK, ceil(1.1 * (wanted - found) * (asked + 1) / (found + 1)))


def _ask(
    job: Job, models: Sequence[ModelSpec], at: Tensor, team: Team, on_progress: OnProgress, jobs: int
) -> None:
    """Ask all models about candidates, each process some of them; the answers lie in the cache then."""
    every = [place for place, model in enumerate(models) if not job.predictions(model).are_known(at)]
    first = team.rank * len(every) // team.size
    unknown = [*every[first:], *every[:first]]

    def ask(some: Sequence[int], send: Callable[[Answer], None]) -> None:
        for place in unfinished(
            some,
            lambda place: job.predictions(models[place]).claim,
            lambda place: job.predictions(models[place]).are_known(at),
            on_done=lambda place: send((place, None)),
        ):
            kept = job.predictions(models[place])
            kept.ask(at, team.device)
            send((place, {name: tensor.numpy() for name, tensor in kept.remembered.items()}))

    def hear(answer: Answer) -> None:
        place, found = answer
        if found is not None:
            tensors = {name: torch.from_numpy(array) for name, array in found.items()}
            job.predictions(models[place]).remember(tensors)  # the cache may not have taken them
        show((unknown.index(place), 1))

    show = tally([1] * len(unknown), lambda n: on_progress("predicting clean images", n, len(unknown)))
    if unknown:
        on_progress("predicting clean images", 0, len(unknown))
        share(ask, shares(unknown, jobs), hear)
    if job.config.targeted == "least-likely":
        kept = job.predictions(job.surrogates[0])
        with claimed(kept.claim):
            kept.ask(at, team.device, "least_likely")


def _eligible(job: Job, at: Tensor, device: torch.device) -> Tensor:
    """Return which candidates may be attacked, bool (M,)."""
    predictions = {m.full_name: job.predictions(m).ask(at, device) for m in job.targets}
    return candidates.eligible(
        job.config, job.data.labels[at], predictions.values(), _target_classes(job, at, device)
    )


def _target_classes(job: Job, at: Tensor, device: torch.device) -> Tensor | None:
    return candidates.target_classes(
        job.config,
        job.data.ids[at],
        job.data.labels[at],
        len(job.dataset.classes),
        None if job.target_classes is None else job.target_classes[at],
        lambda: job.predictions(job.surrogates[0]).ask(at, device, "least_likely"),
    )


def _accuracy(
    job: Job, model: ModelSpec, at: Tensor, device: torch.device, warn: Callable[[str], None]
) -> float:
    """Return the clean accuracy of a model, and warn where it is doubtful.

    Raises:
        ModelError: it does not classify, and is not known to be right all the same.
    """
    predictions, labels = job.predictions(model).ask(at, device), job.data.labels[at]
    if model.full_name in job.trusted:
        return float((predictions == labels).float().mean())
    accuracy, doubt = require_accuracy(
        model.name,
        predictions,
        labels,
        job.dataset.classes,
        sizes=_sizes(job, model),
        allowed=job.allow_inaccurate,
    )
    if doubt:
        warn(f"Warning: {doubt}")
    return accuracy


def _sizes(job: Job, model: ModelSpec) -> str:
    form, size = model.source.reads(), job.dataset.size
    if form is None or form.size == size:
        return ""
    return (
        f"it reads {form.size}x{form.size} pixels, and the images have {size}x{size}: check that it was "
        "trained on such images"
    )
