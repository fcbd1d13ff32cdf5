"""From a study to its grid: every cell that has to be computed, and the points that they measure.

Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from transferzoo.attacks.configure import resolve
from transferzoo.base.errors import UsageError
from transferzoo.models.download import download_model
from transferzoo.models.resolve import select_models
from transferzoo.studies.cells import Cell, Grid, Point
from transferzoo.studies.measurable import check_claims
from transferzoo.studies.origins import dataset_digest, files_digest, model_digest, root_of
from transferzoo.training.recipes import plan
from transferzoo.zoo.schema import ROLES, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from transferzoo.base.attack_config import AttackSpec
    from transferzoo.base.train_config import TrainConfig
    from transferzoo.studies.schema import AttackEntry, Study
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import DatasetSpec, Role


def lay_out(study: Study, zoo: Zoo, root: Path | None) -> Grid:
    """Return the grid of a study.

    Args:
        study: the study.
        zoo: what names mean.
        root: the user's own images, as `--data` takes them.

    Raises:
        UsageError: a name is unknown, a field of a training or attack is wrong, two targets have one name, or
            a claim is about what the study does not measure.
        ModelError: a model that a cell needs has no weights.
    """
    return _Layout(study, zoo, root).grid()


@dataclass
class _Layout:
    """The grid while it is laid out."""

    study: Study
    zoo: Zoo
    root: Path | None
    cells: dict[str, Cell] = field(default_factory=dict)
    places: dict[str, Path] = field(default_factory=dict)
    digests: dict[Path, str] = field(default_factory=dict)

    @cached_property
    def dataset(self) -> DatasetSpec:
        return self.zoo.dataset(self.study.dataset)

    @cached_property
    def split(self) -> str:
        return self.study.split or self.dataset.attack.split

    def grid(self) -> Grid:
        points = [point for name in self.study.surrogates for point in self._points(name)]
        check_claims(self.study, points, [target["name"] for target in self._targets])
        return Grid(self.study, self.cells, tuple(points), self.places)

    def _add(self, kind: str, what: Mapping[str, Any], needs: Iterable[str], label: str) -> str:
        cell = Cell(kind, what, tuple(dict.fromkeys(needs)), label)
        self.cells.setdefault(cell.key, cell)
        return cell.key

    # ------------------------------------------------------------ what is measured

    def _points(self, name: str) -> Iterator[Point]:
        entry = self.study.surrogates[name]
        for seed in (0,) if entry.model else entry.seeds or self.study.seeds:
            train, config = (None, None) if entry.model else self._trained(name, seed)
            epochs: tuple[int | str, ...] = (entry.epoch,)
            if config and entry.epoch == "all":
                epochs = tuple(range(1, config.epochs + 1))
            for epoch in epochs:
                if train is None:
                    model = self._existing(entry.model, "surrogate")
                else:
                    model = _made(train, epoch, config)
                yield self._measured(name, seed, epoch, train, model)

    def _measured(
        self, name: str, seed: int, epoch: int | str, train: str | None, model: dict[str, Any]
    ) -> Point:
        label = f"{name}, seed {seed}" + ("" if epoch == "last" else f", epoch {epoch}")
        needs = [train] if train else []
        attacks = {
            entry.spec: self._attack(entry, model, needs, f"{entry.spec} from {label}")
            for entry in self.study.attacks
        }
        robust = None
        if self.study.robust is not None:
            robust = self._attack(self.study.robust, model, needs, f"robustness of {label}", itself=True)
        sharp, sharpness = self.study.sharpness, None
        if sharp and (sharp.only is None or name in sharp.only):
            options = sharp.model_dump(mode="json", exclude={"only", "images"})
            what = {
                "model": model,
                "dataset": self.study.dataset,
                "images": self._training_images,
                "count": sharp.images,
                **options,
            }
            sharpness = self._add("sharpness", what, needs, f"sharpness of {label}")
        return Point(name, seed, epoch, train, attacks, robust, sharpness)

    def _attack(
        self, entry: AttackEntry, model: dict[str, Any], needs: list[str], label: str, *, itself: bool = False
    ) -> str:
        given = entry.model_dump(exclude={"spec"}, exclude_none=True)
        spec: AttackSpec = resolve(self.zoo, self.study.dataset, entry.spec, given)
        targets = [model] if itself else self._targets
        what = {
            "surrogate": model,
            "targets": targets,
            "attack": spec.model_dump(mode="json"),
            "dataset": self.study.dataset,
            "split": self.split,
            "images": self._images(self.split),
            "count": self.study.images or self.dataset.attack.images,
            "batch_size": self.study.batch_size or self.dataset.attack.batch_size,
            "images_correct_for": "target" if itself else self.study.images_correct_for,
        }
        before = [one["cell"] for one in targets if "cell" in one]
        return self._add("attack", what, [*needs, *before], label)

    @cached_property
    def _targets(self) -> list[dict[str, Any]]:
        """The targets, as cells name models, each once; the study's own trainings at their first seed."""
        found: dict[str, dict[str, Any]] = {}
        for name in self.study.targets:
            for target in self._target(name):
                if found.setdefault(target["name"], target) != target:
                    raise UsageError(
                        f"two targets are named '{target['name']}'",
                        expected="names that differ",
                        hint="give the study's own model another name",
                    )
        return list(found.values())

    def _target(self, name: str) -> list[dict[str, Any]]:
        """Return the models that a target names, one for a model of the study."""
        entry = self.study.models.get(name)
        if entry is None:
            chosen = select_models(self.zoo, [name], self.study.dataset, "target")
            return [self._reference(model) for model in chosen]
        if entry.model:
            return [{**self._existing(entry.model, "target"), "name": name}]
        key, config = self._trained(name, (entry.seeds or self.study.seeds)[0])
        epoch = "last" if entry.epoch == "all" else entry.epoch
        return [{**_made(key, epoch, config), "name": name}]

    # ------------------------------------------------------------ what is made

    def _trained(self, name: str, seed: int) -> tuple[str, TrainConfig]:
        """Add a training, and the data set it is derived from; return its key and configuration."""
        entry = self.study.models[name]
        flags = {**self.study.train, **entry.train, "dataset": self.study.dataset, "seed": seed}
        selected = flags.get("select", "last") != "last"
        if selected or entry.epoch != "last":
            flags["save_every"] = "epoch"  # the checkpoint itself has the weights that are selected
        try:
            found = plan(self.zoo, None, flags)
        except UsageError as error:
            raise UsageError(f"surrogate '{name}': {str(error).removesuffix('.')}") from None
        config = found.config
        if entry.epoch == "selected" and not selected:
            raise UsageError(
                f"surrogate '{name}': no epoch is selected", expected="select: accuracy or transfer"
            )
        if isinstance(entry.epoch, int) and entry.epoch > config.epochs:
            raise UsageError(
                f"surrogate '{name}': there is no such epoch",
                expected=f"1 to {config.epochs}",
                got=str(entry.epoch),
            )
        data = self._training_images
        if entry.data:
            data = {"cell": self._derived(entry.data)}
        judges = {judge: self._place(folder) for judge, folder in found.validators.items()}
        what = {
            "config": config.model_dump(mode="json"),
            "images": data,
            "start": found.start and self._place(found.start),
            "validators": judges,
        }
        needs = [data["cell"]] if entry.data else []
        label = f"train {name}, seed {seed}"
        return self._add("train", what, needs, label), config

    def _derived(self, name: str) -> str:
        """Add a derived data set; return its key."""
        made = self.study.data[name]
        entry = self.study.models[made.model]
        key, config = self._trained(made.model, (entry.seeds or self.study.seeds)[0])
        what = {
            "model": _made(key, "last", config),
            "dataset": self.study.dataset,
            "images": self._training_images,
            "count": made.images,
            **made.model_dump(mode="json", exclude={"model", "images"}),
        }
        return self._add("derive", what, [key], f"{name} features")

    def _existing(self, name: str, role: Role) -> dict[str, Any]:
        chosen = select_models(self.zoo, [name], self.study.dataset, role)
        if len(chosen) != 1:
            raise UsageError(f"'{name}' is no single model", expected="one", got=str(len(chosen)))
        return self._reference(chosen[0])

    def _reference(self, model: ModelSpec) -> dict[str, Any]:
        """Return how cells name a model that exists."""
        if model.defence:
            raise UsageError(f"'{model.name}' has a defence", expected="a plain model in a study")
        return {"name": model.name, "digest": self._place(download_model(model).folder)}

    def _place(self, folder: Path) -> str:
        """Remember where a model lies; return its digest."""
        digest = model_digest(folder)
        self.places[digest] = folder
        return digest

    @cached_property
    def _training_images(self) -> dict[str, Any]:
        drawn = self.study.training_images
        return {**self._images("train"), **({} if drawn is None else {"drawn": drawn})}

    def _images(self, split: str) -> dict[str, Any]:
        """Return what says which images a split has and how they are read, without reading them all."""
        found = {"split": split, "dataset": dataset_digest(self.dataset)}
        root = root_of(self.dataset, split, self.root)
        if root is None:
            return {**found, "places": list(self.dataset.splits.get(split, ()))}
        if root not in self.digests:
            self.digests[root] = files_digest(root)
        return {**found, "files": self.digests[root]}


def _made(key: str, epoch: int | str, config: TrainConfig | None) -> dict[str, Any]:
    """Return how cells name the weights of a training's epoch; "" is the checkpoint itself."""
    assert config is not None, "a training has a configuration"
    if epoch == "last" and config.select != "last":
        epoch = config.epochs
    return {"cell": key, "part": f"epochs/{epoch:04d}" if isinstance(epoch, int) else ""}


def named(reference: Mapping[str, Any], folder: Path, dataset: str) -> ModelSpec:
    """Return the model that a cell names.

    Args:
        reference: how it is named.
        folder: where it lies.
        dataset: what it classifies.
    """
    name = reference.get("name") or f"{reference['cell']}-{reference['part'].rpartition('/')[2] or 'kept'}"
    return ModelSpec(name=name, dataset=dataset, roles=ROLES, source=f"local:{folder}")
