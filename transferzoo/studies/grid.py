"""Study → grid: every cell that has to be computed, and the surrogates that they measure.

Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from transferzoo.attacks.configure import resolve
from transferzoo.attacks.techniques import TECHNIQUES
from transferzoo.base.environment import Environment, environment
from transferzoo.base.errors import UsageError
from transferzoo.base.plugins import used
from transferzoo.models.resolve import silent
from transferzoo.studies.cells import Cell, Grid, GridPoint
from transferzoo.studies.claim_checks import check_claims
from transferzoo.studies.entries import ITSELF
from transferzoo.studies.references import References
from transferzoo.training.recipes import plan, plugins_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from transferzoo.base.train_config import TrainConfig
    from transferzoo.studies.entries import AttackEntry
    from transferzoo.studies.schema import Study
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import DatasetSpec

MOST_CELLS = 10_000


def build_grid(
    study: Study,
    zoo: Zoo,
    root: Path | None,
    machine: Environment | None = None,
    notify: Callable[[str], None] = silent,
    *,
    allow_code: bool = False,
    digests: Mapping[Path, str] | None = None,
) -> Grid:
    """Return the grid of a study.

    Args:
        study: the study.
        zoo: names are resolved in it.
        root: the user's own images, as of `--data`.
        machine: how cells are computed; None for how this process computes.
        notify: called with a sentence that the user should read.
        allow_code: whether models that are code may be run; they are, for what tells them from others.
        digests: of the user's own images, as far as they are known.

    Raises:
        UsageError: a name is unknown, a field of a training or attack is wrong, two targets have one name, a
            claim is about something that the study does not measure, a surrogate gives no gradients, or a
            model is code that is not allowed to run.
        ModelError: a model that a cell needs has no weights, or its own code fails.
    """
    references = References(study, zoo, root, notify, allow_code, digests=dict(digests or {}))
    return _GridBuilder(study, zoo, machine or environment(), references).build()


@dataclass
class _GridBuilder:
    """The grid while it is built."""

    study: Study
    zoo: Zoo
    environment: Environment
    references: References
    cells: dict[str, Cell] = field(default_factory=dict)

    @cached_property
    def dataset(self) -> DatasetSpec:
        return self.zoo.dataset(self.study.dataset)

    @cached_property
    def split(self) -> str:
        return self.study.split or self.dataset.attack.split

    def build(self) -> Grid:
        names = list(self.study.surrogates)
        seeds = dict.fromkeys(seed for name in names for seed in self._seeds(name))
        points = [
            point  # one seed after the other, so that those that are done are done with all surrogates
            for seed in seeds
            for name in names
            if seed in self._seeds(name)
            for point in self._points(name, seed)
        ]
        points.sort(key=lambda point: names.index(point.surrogate))
        check_claims(self.study, points, [target["name"] for target in self._targets])
        known = self.references
        return Grid(self.study, self.cells, tuple(points), known.models, known.digests)

    def _add(self, kind: str, inputs: Mapping[str, Any], needs: Iterable[str], label: str) -> str:
        cell = Cell(kind, inputs, self.environment, tuple(dict.fromkeys(needs)), label)
        self.cells.setdefault(cell.key, cell)
        if len(self.cells) > MOST_CELLS:
            raise UsageError(
                f"the study '{self.study.name}' is too large",
                expected=f"at most {MOST_CELLS:,} trainings, attacks and measurements",
                got="more",
                hint="name fewer seeds, epochs or attacks",
            )
        return cell.key

    # ------------------------------------------------------------ measurements

    def _seeds(self, name: str) -> tuple[int, ...]:
        """Return the training seeds of a surrogate; 0 of an existing model."""
        entry = self.study.surrogates[name]
        return (0,) if entry.model else entry.seeds or self.study.seeds

    def _points(self, name: str, seed: int) -> Iterator[GridPoint]:
        entry, sharpness = self.study.surrogates[name], self.study.sharpness
        has_sharpness = sharpness is not None and sharpness.measures(name, seed)
        if entry.model:
            model = self.references.existing_model(entry, "surrogate")
            yield self._grid_point(name, seed, "last", None, model, attacked=True, measured=has_sharpness)
            return
        train, config = self._add_training(name, seed)
        attacked = dict.fromkeys(entry.epochs(config.epochs))
        measured = dict.fromkeys(((sharpness and sharpness.epochs) or attacked) if has_sharpness else ())
        for epoch in dict.fromkeys([*attacked, *measured]):
            yield self._grid_point(
                name,
                seed,
                epoch,
                train,
                _trained_weights(train, epoch, config),
                attacked=epoch in attacked,
                measured=epoch in measured,
            )

    def _grid_point(
        self,
        name: str,
        seed: int,
        epoch: int | str,
        train: str | None,
        model: dict[str, Any],
        *,
        attacked: bool,
        measured: bool,
    ) -> GridPoint:
        label = f"{name}, seed {seed}" + ("" if epoch == "last" else f", epoch {epoch}")
        needs = [train] if train else []
        attacks, robust, sharpness = dict[str, str](), None, None
        if attacked:
            attacks = {
                entry.label: self._add_attack(entry, model, needs, f"{entry.label} from {label}")
                for entry in self.study.attacks
            }
        if attacked and self.study.robust is not None:
            robust = self._add_attack(self.study.robust, model, needs, f"robustness of {label}", itself=True)
        if measured and self.study.sharpness is not None:
            inputs = {
                "model": model,
                "dataset": self.study.dataset,
                "images": self.references.training_images,
                "count": self.study.sharpness.images,
                **self.study.sharpness.options(),
            }
            sharpness = self._add("sharpness", inputs, needs, f"sharpness of {label}")
        return GridPoint(name, seed, epoch, train, attacks, robust, sharpness)

    def _add_attack(
        self, entry: AttackEntry, model: dict[str, Any], needs: list[str], label: str, *, itself: bool = False
    ) -> str:
        spec = resolve(self.zoo, self.study.dataset, entry.spec, entry.said)
        targets = [model] if itself else self._targets_of(model)
        inputs = {
            "surrogate": model,
            "targets": targets,
            "attack": spec.key(),
            "dataset": self.study.dataset,
            "split": self.split,
            "images": self.references.split_content(self.split),
            "count": self.study.images or self.dataset.attack.images,
            "batch_size": self.study.batch_size or self.dataset.attack.batch_size,
            "images_correct_for": "target" if itself else self.study.images_correct_for,
            **({"from_end": True} if self.study.from_end else {}),
            **used(*TECHNIQUES.origins(spec.techniques)),
        }
        trainings = [one["cell"] for one in targets if "cell" in one]
        return self._add("attack", inputs, [*needs, *trainings], label)

    def _targets_of(self, model: dict[str, Any]) -> list[dict[str, Any]]:
        """Return references to the targets of what is crafted on a model, itself if the study says so."""
        own = {"name": ITSELF, **model}
        more = [own] if ITSELF in self.study.targets and own not in self._targets else []
        return [*self._targets, *more]

    @cached_property
    def _targets(self) -> list[dict[str, Any]]:
        """References to the targets, each once; the study's own trainings at their first seed."""
        found: dict[str, dict[str, Any]] = {}
        for name in (one for one in self.study.targets if one != ITSELF):
            for target in self._resolve_target(name):
                if found.setdefault(target["name"], target) != target:
                    raise UsageError(
                        f"two targets are named '{target['name']}'",
                        expected="names that differ",
                        hint="give the study's own model another name",
                    )
        return list(found.values())

    def _resolve_target(self, name: str) -> list[dict[str, Any]]:
        """Resolve the name of a target to references, a single one for a model of the study."""
        entry = self.study.models.get(name)
        if entry is None:
            return self.references.targets(name)
        if entry.model:
            return [{**self.references.existing_model(entry, "target"), "name": name}]
        key, config = self._add_training(name, (entry.seeds or self.study.seeds)[0])
        epoch = "last" if entry.epoch == "all" else entry.epochs(config.epochs)[-1]
        return [{**_trained_weights(key, epoch, config), "name": name}]

    # ------------------------------------------------------------ trainings and data sets

    def _add_training(self, name: str, seed: int) -> tuple[str, TrainConfig]:
        """Add a training, and its derived data set; return its key and configuration."""
        entry = self.study.models[name]
        flags = {**self.study.train, **entry.train, "dataset": self.study.dataset, "seed": seed}
        selected = flags.get("select", "last") != "last"
        named = self._named_epochs(name)
        if selected or named != {"last"}:
            flags["save_every"] = "epoch"  # the checkpoint itself has the weights that are selected
        try:
            found = plan(self.zoo, None, flags, allow_code=self.references.allow_code)
        except UsageError as error:
            raise UsageError(f"surrogate '{name}': {str(error).removesuffix('.')}") from None
        config = found.config
        if "selected" in named and not selected:
            raise UsageError(
                f"surrogate '{name}': no epoch is selected", expected="select: accuracy or transfer"
            )
        if beyond := [epoch for epoch in named if isinstance(epoch, int) and epoch > config.epochs]:
            raise UsageError(
                f"surrogate '{name}': there is no such epoch",
                expected=f"1 to {config.epochs}",
                got=str(max(beyond)),
            )
        data = self.references.training_images
        if entry.data:
            data = {"cell": self._add_derived_dataset(entry.data)}
        validators = {model: self.references.checkpoint(folder) for model, folder in found.validators.items()}
        inputs = {
            "config": config.key(),
            "images": data,
            "start": found.start and self.references.checkpoint(found.start),
            "validators": validators,
            **({"labels": self.references.model(found.labels)} if found.labels else {}),
            **plugins_of(config),
        }
        needs = [data["cell"]] if entry.data else []
        label = f"train {name}, seed {seed}"
        return self._add("train", inputs, needs, label), config

    def _named_epochs(self, name: str) -> set[int | str]:
        """Return the epochs of a training that the study names, "all" among them."""
        entry, sharpness = self.study.models[name], self.study.sharpness
        named: set[int | str] = {*entry.epoch} if isinstance(entry.epoch, tuple) else {entry.epoch}
        if sharpness and name in (sharpness.only or self.study.surrogates):
            named |= {*(sharpness.epochs or ())}
        return named

    def _add_derived_dataset(self, name: str) -> str:
        """Add a derived data set; return its key."""
        derived = self.study.data[name]
        entry = self.study.models[derived.model]
        key, config = self._add_training(derived.model, (entry.seeds or self.study.seeds)[0])
        inputs = {
            "model": _trained_weights(key, "last", config),
            "dataset": self.study.dataset,
            "images": self.references.training_images,
            "count": derived.images,
            **{key: value for key, value in derived.key().items() if key not in ("model", "images")},
        }
        return self._add("derive", inputs, [key], f"{name} features")


def _trained_weights(key: str, epoch: int | str, config: TrainConfig | None) -> dict[str, Any]:
    """Return the reference of cells to the weights of a training's epoch; "" is the checkpoint itself."""
    assert config is not None, "a training has a configuration"
    if epoch == "last" and config.select != "last":
        epoch = config.epochs
    return {"cell": key, "part": f"epochs/{epoch:04d}" if isinstance(epoch, int) else ""}
