"""From what is asked of an audit to the jobs that it is made of, or to the pack that is tried."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from transferzoo.attacks.configure import configure
from transferzoo.audits import attackers
from transferzoo.audits.request import GRADIENTS, IMAGES
from transferzoo.base.errors import UsageError
from transferzoo.base.file_names import file_name
from transferzoo.base.notes import Notes
from transferzoo.datasets.own import own_images, read_as_by, usual_budget
from transferzoo.datasets.sources import load_split, measured
from transferzoo.evaluation.job import Job, weights_of
from transferzoo.evaluation.known_classes import note_classes, only_known, require_fitting, with_classes
from transferzoo.evaluation.noise_images import of_labels_only
from transferzoo.evaluation.pack_manifest import find_pack
from transferzoo.evaluation.packs import pack_job, read_pack, with_packed
from transferzoo.evaluation.trained_on import note_trained_on
from transferzoo.models.fitting import note_to_pull
from transferzoo.models.load import identity
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
    from transferzoo.base.attack_config import AttackConfig
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
        configs: what is done: surrogates one after the other and, where there are several, together at that
            cost; none with a pack.
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
    configs: tuple[AttackConfig, ...] = ()
    pack: Pack | None = None

    @property
    def answers(self) -> int:
        """How many of the audited model's answers its surrogates are trained on."""
        return max((one.labels.queries for one in self.trainings if one.labels), default=0)

    @property
    def folder_name(self) -> str:
        """Names of folders for audits of this model and no other: it is what a command names it by."""
        model = self.audited
        if model.full_name not in self.zoo.models:
            return file_name(self.request.model)
        return file_name(model.name if self.dataset == self.zoo.default_dataset else model.full_name)

    def jobs(self, talk: Talk) -> list[Job]:
        """Train what is not trained yet, and return the jobs on the same images, the audited model first.

        Raises:
            DataError: the images are not there, or too few classes are known to all models.
            ModelError: a model is damaged.
            TransferZooError: a training diverges.
        """
        if self.pack is not None:
            return [self._job_of_pack(self.pack, talk)]
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
        first, *others = self.configs
        job = Job(
            first,
            spec,
            crafted_on,
            tried_on,
            images,
            trusted=frozenset(one.model.full_name for one in self.trainings),
            allow_inaccurate=request.allow_inaccurate,
            noiseless=self._noiseless(talk),
        )
        return [job, *(replace(job, config=config) for config in others)]

    def _noiseless(self, talk: Talk) -> frozenset[str]:
        """Return the audited model's full name if it says labels alone and is to be shown no noise."""
        if self.request.noise:
            return frozenset()
        return of_labels_only([self.audited], self.zoo.dataset(self.dataset), talk.notify)

    def _job_of_pack(self, pack: Pack, talk: Talk) -> Job:
        job = pack_job(
            pack,
            self.zoo.dataset(self.dataset),
            (self.audited, *self.references),
            "target",
            allow_inaccurate=self.request.allow_inaccurate,
        )
        images = min(self.request.images or len(pack.clean), len(pack.clean))
        config = job.config.model_copy(update={"images": images})
        return replace(job, config=config, noiseless=self._noiseless(talk))


def plan(request: AuditRequest, talk: Talk) -> Plan:
    """Find what an audit is about; see `Plan`.

    Raises:
        UsageError: a name is unknown, or an option is wrong.
        DataError: the images are not there, or the pack is damaged.
        ModelError: a model is damaged, or every attacker has the audited one's weights.
    """
    zoo = load_zoo(request.zoo)
    if request.pack:
        return _with_pack(request, zoo, read_pack(find_pack(request.pack)), talk)
    notes = Notes(talk.notify)
    said = named_dataset(zoo, request.dataset, [request.model])
    zoo, name, root = own_images(zoo, said, request.data, notes, notes, request.columns)
    zoo = measured(zoo, name, request.split, root)
    audited = _audited(request, zoo, name, notes)
    surrogates, kind = _surrogates(request, zoo, name, audited, notes)
    surrogates, (audited,) = name_apart(surrogates, (audited,))
    references = attackers.reference_targets(zoo, name, audited, surrogates)
    request.options.check_used(zoo, distinct((*surrogates, audited, *references)))
    own = request.data is not None and root is None
    if own:
        zoo, note = read_as_by(zoo, name, (audited, *references, *surrogates))
        budget = "" if request.epsilon else usual_budget(zoo.dataset(name))
        notes(f"{note} {budget}".rstrip())
    surrogates, (audited, *others) = download_models(surrogates, (audited, *references), talk.notify)
    if surrogates and {identity(one)[0] for one in surrogates} == {identity(audited)[0]}:
        raise attackers.own_weights(audited.name)
    if request.classes is not None:
        spec = zoo.dataset(name)
        surrogates, (audited, *others) = with_classes(spec, request.classes, surrogates, (audited, *others))
    split = request.split or zoo.dataset(name).attack.split
    note_trained_on(zoo.dataset(name), split, surrogates, notes)
    trainings: tuple[Adaptation, ...] = ()
    if not surrogates:
        require_fitting(zoo.dataset(name), (audited, *others))
        listed = request.data is not None and not own
        trainings, split = attackers.trained(zoo, name, audited, request, listed=listed)
        surrogates, (audited,) = name_apart(tuple(one.model for one in trainings), (audited,))
    references = tuple(others)
    configs = _configs(request, zoo, name, split, surrogates, (audited, *references))
    notes.tell()
    return Plan(request, zoo, name, audited, references, surrogates, kind, split, root, trainings, configs)


def _configs(
    request: AuditRequest,
    zoo: Zoo,
    name: str,
    split: str,
    surrogates: Sequence[ModelSpec],
    targets: Sequence[ModelSpec],
) -> tuple[AttackConfig, ...]:
    """Return `Plan.configs`, so that what they refuse is refused before anything is told or trained.

    Raises:
        UsageError: an attack is unknown or does not fit, or one step of it costs more than it may.
    """
    fields = {
        "split": split,
        "epsilon": request.epsilon,
        "images": request.images or IMAGES,
        "images_correct_for": "target",
        "seed": request.seed or 0,
        "batch_size": min(BATCH, zoo.dataset(name).attack.batch_size),
    }
    return tuple(
        configure(
            zoo,
            name,
            request.attacks or attackers.ATTACKS,
            [model.full_name for model in surrogates],
            [model.full_name for model in targets],
            {**fields, "ensemble": together},
            request.max_gradients or GRADIENTS,
            {model.full_name: len(weights_of(model, every=True)) for model in surrogates},
        )
        for together in (False, True)[: len(surrogates)]
    )


def _audited(request: AuditRequest, zoo: Zoo, name: str, notify: Callable[[str], None]) -> ModelSpec:
    found = select_models(zoo, [request.model], name, "target", request.options, notify)
    if len(found) != 1:
        raise UsageError(
            f"'{request.model}' is no single model", expected="one name", got=f"{len(found)} models"
        )
    return found[0]


def _surrogates(
    request: AuditRequest, zoo: Zoo, name: str, audited: ModelSpec, notify: Callable[[str], None]
) -> tuple[tuple[ModelSpec, ...], str]:
    """Return the surrogates, and where they come from; none where some are to be trained.

    Raises:
        UsageError: only public ones are wanted, and there are none; or a name is unknown.
    """
    if request.surrogates:
        return select_models(zoo, request.surrogates, name, "surrogate", request.options, notify), "public"
    if request.attackers in attackers.TRAINED:
        return (), str(request.attackers)
    if found := attackers.public_surrogates(zoo, name, audited, request.options):
        return found, "public"
    if request.attackers == "public":
        raise attackers.no_public(zoo, name)
    if note := note_to_pull(zoo, name):
        notify(f"Note: {note}")
    return (), "adapted"


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
    audited = _audited(request, zoo, name, talk.notify)
    made_on = {each for row in pack.manifest.images for each in row.surrogate.split(" & ")}
    targets = attackers.reference_targets(zoo, name, audited, ())
    references = tuple(model for model in targets if model.full_name not in made_on)
    request.options.check_used(zoo, (audited, *references))
    _, (audited, *others) = download_models((), (audited, *references), talk.notify)
    talk.notify(f"Pack: {pack.name}, SHA-256 {pack.sha256[:12]}, {len(pack.clean)} images.")
    return Plan(request, zoo, name, audited, tuple(others), (), KIND_OF_PACKS, pack.manifest.split, pack=pack)
