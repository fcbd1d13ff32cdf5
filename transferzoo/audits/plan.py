"""From what is asked of an audit to the jobs that it is made of, or to the pack that is tried."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from transferzoo.attacks.configure import configure
from transferzoo.audits import attackers
from transferzoo.audits.request import GRADIENTS, IMAGES
from transferzoo.base.errors import UsageError
from transferzoo.datasets.own import own_images, read_as_by, usual_budget
from transferzoo.datasets.sources import load_split, measured
from transferzoo.evaluation.job import Job
from transferzoo.evaluation.known_classes import note_classes, only_known, require_fitting, with_classes
from transferzoo.evaluation.pack_manifest import find_pack
from transferzoo.evaluation.packs import pack_job, read_pack, with_packed
from transferzoo.models.resolve import named_dataset, select_models
from transferzoo.sync.on_this_machine import download_models
from transferzoo.training.adapted import train_all
from transferzoo.zoo.reader import load_zoo
from transferzoo.zoo.selection import distinct, name_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from transferzoo.audits.request import AuditRequest
    from transferzoo.evaluation.packs import Pack
    from transferzoo.training.adaptations import Adaptation
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import ModelSpec

    OnProgress = Callable[[str, int, int], None]

BATCH = 100
"""Images attacked together, at most: what a killed audit does again."""
KIND_OF_PACKS = "pack"


@contextmanager
def _nowhere(what: str) -> Iterator[OnProgress]:
    yield lambda *_: None


@dataclass(frozen=True)
class Talk:
    """Where an audit says what it does; by default nowhere.

    Attributes:
        notify: takes a sentence.
        progress: opens what is told of progress: what is being done, how much is done and how much there is.
        train: trains surrogates that are not trained yet.
    """

    notify: Callable[[str], None] = lambda sentence: None
    progress: Callable[[str], AbstractContextManager[OnProgress]] = _nowhere
    train: Callable[[Sequence[Adaptation]], object] = train_all


@dataclass(frozen=True)
class Plan:
    """What an audit will do, models and images found, nothing trained, attacked or asked yet.

    Attributes:
        request: what was asked.
        zoo: has the data set and the models.
        dataset: name of the data set.
        audited: the model; on this machine.
        references: those it is ranked among; on this machine.
        surrogates: those that are attacked; empty with a pack.
        kind: where they come from; see `Attacker`.
        split: images that are audited.
        root: the user's own place of them; None for the data set's.
        trainings: of those surrogates that the audit trains itself.
        pack: images that exist.
    """

    request: AuditRequest
    zoo: Zoo
    dataset: str
    audited: ModelSpec
    references: tuple[ModelSpec, ...]
    surrogates: tuple[ModelSpec, ...]
    kind: str
    split: str
    root: Path | None = None
    trainings: tuple[Adaptation, ...] = ()
    pack: Pack | None = None

    @property
    def answers(self) -> int:
        """How many of the audited model's answers its surrogates are trained on."""
        return max((one.labels.queries for one in self.trainings if one.labels), default=0)

    def jobs(self, talk: Talk) -> list[Job]:
        """Train what is not trained yet, and return the jobs on the same images, the audited model first.

        Raises:
            DataError: the images are not there, or too few classes are known to all models.
            ModelError: a model is damaged.
            TransferZooError: a training diverges.
        """
        if self.pack is not None:
            return [self._job_of_pack(self.pack)]
        if self.trainings:
            talk.train(self.trainings)
        request, spec = self.request, self.zoo.dataset(self.dataset)
        crafted_on, tried_on = self.surrogates, (self.audited, *self.references)
        known = note_classes(spec, (*crafted_on, *tried_on), talk.notify)
        with talk.progress("reading images") as advance:
            images = load_split(spec, self.split, root=self.root, on_progress=advance)
        if self.root is None and (note := spec.notes.get(self.split)):
            talk.notify(f"Note: {note}")
        spec, images = only_known(spec, images, known)
        most, attacks = request.max_gradients or GRADIENTS, request.attacks or attackers.ATTACKS
        fields: dict[str, Any] = {
            "split": self.split,
            "epsilon": request.epsilon,
            "images": request.images or IMAGES,
            "images_correct_for": "target",
            "seed": request.seed or 0,
            "batch_size": min(BATCH, spec.attack.batch_size),
        }
        config = configure(
            self.zoo,
            self.dataset,
            attacks,
            [model.full_name for model in crafted_on],
            [model.full_name for model in tried_on],
            fields,
            most,
        )
        job = Job(config, spec, crafted_on, tried_on, images, allow_inaccurate=request.allow_inaccurate)
        return attackers.with_ensemble(job, self.zoo, attacks, fields, most)

    def _job_of_pack(self, pack: Pack) -> Job:
        job = pack_job(
            pack,
            self.zoo.dataset(self.dataset),
            (self.audited, *self.references),
            "target",
            allow_inaccurate=self.request.allow_inaccurate,
        )
        images = min(self.request.images or len(pack.clean), len(pack.clean))
        return replace(job, config=job.config.model_copy(update={"images": images}))


def plan(request: AuditRequest, talk: Talk) -> Plan:
    """Find what an audit is about; see `Plan`.

    Raises:
        UsageError: a name is unknown, or an option is wrong.
        DataError: the images are not there, or the pack is damaged.
        ModelError: a model is damaged.
    """
    zoo = load_zoo(request.zoo)
    if request.pack:
        return _with_pack(request, zoo, read_pack(find_pack(request.pack)), talk)
    said = named_dataset(zoo, request.dataset, [request.model])
    zoo, name, root = own_images(zoo, said, request.data, talk.notify, talk.notify, request.columns)
    zoo = measured(zoo, name, request.split, root)
    audited = _audited(request, zoo, name, talk)
    surrogates, kind = _surrogates(request, zoo, name, audited, talk)
    surrogates, (audited,) = name_apart(surrogates, (audited,))
    references = attackers.reference_targets(zoo, name, audited, surrogates)
    request.options.check_used(zoo, distinct((*surrogates, audited, *references)))
    own = request.data is not None and root is None
    if own:
        zoo, note = read_as_by(zoo, name, (audited, *references, *surrogates))
        budget = "" if request.epsilon else usual_budget(zoo.dataset(name))
        talk.notify(f"{note} {budget}".rstrip())
    surrogates, (audited, *others) = download_models(surrogates, (audited, *references), talk.notify)
    if request.classes is not None:
        spec = zoo.dataset(name)
        surrogates = with_classes(surrogates, spec, request.classes)
        audited, *others = with_classes((audited, *others), spec, request.classes)
    split = request.split or zoo.dataset(name).attack.split
    found = Plan(request, zoo, name, audited, tuple(others), surrogates, kind, split, root)
    if surrogates:
        return found
    require_fitting(zoo.dataset(name), (audited, *others))
    listed = request.data is not None and not own
    trainings, split = attackers.trained(zoo, name, audited, request, listed=listed)
    crafted_on, (audited,) = name_apart(tuple(one.model for one in trainings), (audited,))
    return replace(found, audited=audited, surrogates=crafted_on, split=split, trainings=trainings)


def _audited(request: AuditRequest, zoo: Zoo, name: str, talk: Talk) -> ModelSpec:
    found = select_models(zoo, [request.model], name, "target", request.options, talk.notify)
    if len(found) != 1:
        raise UsageError(
            f"'{request.model}' is no single model", expected="one name", got=f"{len(found)} models"
        )
    return found[0]


def _surrogates(
    request: AuditRequest, zoo: Zoo, name: str, audited: ModelSpec, talk: Talk
) -> tuple[tuple[ModelSpec, ...], str]:
    """Return the surrogates, and where they come from; none where some are to be trained."""
    if request.surrogates:
        return select_models(
            zoo, request.surrogates, name, "surrogate", request.options, talk.notify
        ), "public"
    found = () if request.attackers in attackers.TRAINED else attackers.public_surrogates(zoo, name, audited)
    return found, "public" if found else request.attackers or "adapted"


def _with_pack(request: AuditRequest, zoo: Zoo, pack: Pack, talk: Talk) -> Plan:
    """Return the plan of trying the images of a pack.

    Raises:
        UsageError: its images aim at a class, or have several budgets.
    """
    budgets = {(row.budget.norm, row.budget.exact.epsilon) for row in pack.manifest.images}
    if pack.manifest.targeted or len(budgets) > 1:
        raise UsageError(
            f"the pack {pack.name} is of no use for an audit",
            expected="untargeted attacks of one budget",
            got="target classes" if pack.manifest.targeted else f"{len(budgets)} budgets",
        )
    zoo, packed = with_packed(zoo, [pack])
    name = named_dataset(zoo, request.dataset or packed, [request.model]) or pack.manifest.dataset
    audited = _audited(request, zoo, name, talk)
    made_on = {each for row in pack.manifest.images for each in row.surrogate.split(" & ")}
    targets = attackers.reference_targets(zoo, name, audited, ())
    references = tuple(model for model in targets if model.full_name not in made_on)
    request.options.check_used(zoo, (audited, *references))
    _, (audited, *others) = download_models((), (audited, *references), talk.notify)
    talk.notify(f"Pack: {pack.name}, SHA-256 {pack.sha256[:12]}, {len(pack.clean)} images.")
    return Plan(request, zoo, name, audited, tuple(others), (), KIND_OF_PACKS, pack.manifest.split, pack=pack)
