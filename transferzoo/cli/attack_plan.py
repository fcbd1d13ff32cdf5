"""What a request of `attack` comes to: models and images are found, then brought here and prepared."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from transferzoo.cli.output import log

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transferzoo.base.notes import Notes
    from transferzoo.cli.attack_request import AttackRequest
    from transferzoo.evaluation.job import Job
    from transferzoo.training.adaptations import Adaptation
    from transferzoo.training.finetuned import FineTuning
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec


@dataclass(frozen=True)
class Found:
    """What names stand for; nothing is downloaded yet.

    Attributes:
        request: what is asked, with what the protocol or a pack says.
        zoo: has the data set.
        name: of the data set.
        root: the user's own place of its images; None for the data set's.
        crafted_on: the surrogates, those aside that are to be trained.
        tried_on: the targets.
    """

    request: AttackRequest
    zoo: Zoo
    name: str
    root: Path | None
    crafted_on: tuple[ModelSpec, ...]
    tried_on: tuple[ModelSpec, ...]

    @property
    def dataset(self) -> DatasetSpec:
        """The data set."""
        return self.zoo.dataset(self.name)

    def lacks(self) -> dict[str, Any] | None:
        """Return what is known of the run where something has to be downloaded first; None where nothing."""
        from transferzoo.attacks.configure import configure
        from transferzoo.cli.dry_run import lacking, unfetched

        request, models = self.request, (*self.crafted_on, *self.tried_on)
        absent = lacking(self.dataset, models, request.split, self.root)
        if not absent:
            return None
        settle = partial(
            configure,
            self.zoo,
            self.name,
            request.attack or (),
            flags=request.fields,
            max_gradients=request.max_gradients,
        )
        return unfetched(settle, self.dataset, self.crafted_on, self.tried_on, absent, request.finetune or [])


@dataclass(frozen=True)
class Prepared:
    """A run that can begin.

    Attributes:
        request: what is asked, with the split that surrogates leave free.
        job: what is done.
        adapted: surrogates that were trained for it, or would be by a dry run.
        tuned: surrogates that are fine-tuned for it, or were.
    """

    request: AttackRequest
    job: Job
    adapted: Sequence[Adaptation]
    tuned: Sequence[FineTuning]

    @cached_property
    def missing(self) -> list[FineTuning]:
        """The fine-tuned surrogates that are not there yet."""
        return [one for one in self.tuned if not one.finished()]

    @cached_property
    def whole(self) -> bool:
        """Whether all surrogates are there, so that the run has its folder."""
        return not self.missing and all(one.finished() for one in self.adapted)


def find(request: AttackRequest, notes: Notes) -> Found:
    """Find what names stand for.

    Args:
        request: what is asked.
        notes: take sentences that the user should read.

    Raises:
        UsageError: a name is unknown, or an option is wrong.
        DataError: there are no such images.
    """
    from transferzoo.cli.attack_job import assumed_budget, following, models
    from transferzoo.cli.attack_pack import for_pack
    from transferzoo.datasets.own import own_images, read_as_by
    from transferzoo.datasets.sources import measured
    from transferzoo.models.resolve import named_dataset
    from transferzoo.zoo.reader import load_zoo

    if request.pack is not None:
        request = for_pack(request)
    records = load_zoo(request.zoo)
    named = [*(request.surrogate or ()), *(request.targets or ())]
    said = named_dataset(records, request.dataset, named)
    records, name, root = own_images(records, said, request.data, notes, notes, request.columns)
    records, request = following(records, name, request)
    _ = request.fields  # what cannot be read is said before images are
    records = measured(records, name, request.split, root)
    crafted_on, tried_on = models(records, name, request)
    if request.data is not None and root is None:
        records, note = read_as_by(records, name, (*tried_on, *crafted_on))
        notes(f"{note} {assumed_budget(records.dataset(name), request)}".rstrip())
    return Found(request, records, name, root, crafted_on, tried_on)


def prepare(found: Found, notes: Notes) -> Prepared:
    """Bring what was found onto this machine, and train the surrogates of "auto" unless the run is dry.

    Raises:
        UsageError: an option is wrong, or an attack does not go with the surrogates.
        ModelError: a model is damaged.
        DataError: images are damaged or too few.
        TransferZooError: something cannot be downloaded or trained.
    """
    from transferzoo.attacks.configure import configure
    from transferzoo.cli.attack_job import fits_batches, job_of, with_largest_batches
    from transferzoo.cli.auto_surrogates import to_train
    from transferzoo.cli.finetune import fine_tunings, with_tuned
    from transferzoo.evaluation.job import weights_of
    from transferzoo.evaluation.known_classes import note_classes, with_classes
    from transferzoo.evaluation.trained_on import note_trained_on
    from transferzoo.sync.on_this_machine import download_models

    request, zoo, name, dataset = found.request, found.zoo, found.name, found.dataset
    crafted_on, tried_on = download_models(found.crafted_on, found.tried_on, log)
    request.unlisted.check_prompt((*crafted_on, *tried_on))
    if request.classes is not None:
        crafted_on, tried_on = with_classes(dataset, request.classes, crafted_on, tried_on)
    adapted, free = to_train(zoo, name, request, found.crafted_on)
    if adapted:
        _train(adapted, request, dataset, tried_on, notes)
        request = replace(request, split=free)
        crafted_on = (*crafted_on, *(one.model for one in adapted))
        tried_on = tried_on if request.pack is None else crafted_on
    untrained = [one.model for one in adapted if not one.finished()]
    tuned = fine_tunings(zoo, crafted_on, request.finetune or [], request.train_data)
    if tuned:
        crafted_on = with_tuned(dataset, crafted_on, tuned)
    made = {*untrained, *(one.model for one in tuned)}
    named = [one for one in crafted_on if one not in made]
    own = [one.model.name for one in tuned] if request.train_data is None else []
    note_trained_on(dataset, request.split or dataset.attack.split, named, notes, own)
    known = note_classes(dataset, [one for one in (*crafted_on, *tried_on) if one not in made], notes)
    config = configure(
        zoo,
        name,
        request.attack or (),
        [m.full_name for m in crafted_on],
        [m.full_name for m in tried_on],
        request.fields,
        request.max_gradients,
        {m.full_name: len(weights_of(m, every=True)) for m in crafted_on},
    )
    job = job_of(zoo, config, crafted_on, tried_on, found.root, known, request)
    notes.tell()
    prepared = Prepared(request, job, adapted, tuned)
    if prepared.whole and fits_batches(request):
        return replace(prepared, job=with_largest_batches(job))
    return prepared


def plan_of(run: Prepared) -> dict[str, Any]:
    """Return what a run would do; its folder is known only once every surrogate is trained."""
    from transferzoo.cli.auto_surrogates import plan_of as training_of
    from transferzoo.cli.finetune import plan_of as tuning_of
    from transferzoo.evaluation.queries import expected_queries
    from transferzoo.evaluation.run_folder import RunFolder

    job, missing = run.job, run.missing
    folder = RunFolder.of(run.request.runs, job.key, job.title).path if run.whole else None
    made = [*(one.model for one in missing), *(one.model for one in run.adapted if not one.finished())]
    content = {
        "config": job.config.model_dump(mode="json"),
        "attacks": [a.canonical for a in job.attacks],
    }
    costs = {task.pair: task.cost for task in job.crafting_tasks}
    images = min(job.config.images, len(job.data))
    queries = [one.to_json() for one in expected_queries(job, complete=run.whole)]
    return {
        **(job.content if folder else content),
        "run_folder": folder and str(folder),
        "exists": folder is not None and folder.exists(),
        **({"fine_tunes": [tuning_of(one, one in missing) for one in run.tuned]} if run.tuned else {}),
        **({"trains": [training_of(one) for one in run.adapted]} if run.adapted else {}),
        "gradient_evaluations": {
            "per_image": [{**asdict(pair), "gradients": cost} for pair, cost in costs.items()],
            "images": images,
            "in_all": sum(costs.values()) * images,
        },
        **({"queries": queries} if queries else {}),
        "loads": {m.full_name: m.place for m in (*job.surrogates, *job.targets) if m not in made},
    }


def _train(
    adapted: Sequence[Adaptation],
    request: AttackRequest,
    dataset: DatasetSpec,
    targets: Sequence[ModelSpec],
    notes: Notes,
) -> None:
    """Train surrogates that are not trained yet, unless the run is dry.

    Raises:
        UsageError: a target does not know the classes, so that nothing need be trained.
        TransferZooError: a training diverges.
    """
    from transferzoo.cli.auto_surrogates import train_surrogates
    from transferzoo.evaluation.known_classes import require_fitting

    require_fitting(dataset, targets)
    if not request.dry_run:
        notes.tell()
        train_surrogates(adapted, request.jobs)
