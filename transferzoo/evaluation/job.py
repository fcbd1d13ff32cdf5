"""What a run has to do, resolved and checked: images, models, and the crafting tasks they make."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from transferzoo.attacks.engine import Attack
from transferzoo.attacks.techniques import TECHNIQUES
from transferzoo.base.atomic import sha256
from transferzoo.base.digests import tensors_state
from transferzoo.base.environment import environment, versions
from transferzoo.base.plugins import used
from transferzoo.defences import DEFENCES, read_defence
from transferzoo.models.download import loadable
from transferzoo.models.kept_predictions import KeptPredictions
from transferzoo.models.load import classes_key, identity
from transferzoo.results.comparisons import brief
from transferzoo.results.records import SurrogateAttack

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from transferzoo.base.attack_config import AttackConfig
    from transferzoo.datasets import Batch
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec

MOST_NAMED, LONGEST_TITLE = 2, 60
"""Surrogates and attacks that the name of a run folder lists, and its characters without the fingerprint."""


@dataclass(frozen=True)
class Job:
    """Everything a run needs, resolved and checked.

    Attributes:
        config: what was asked.
        dataset: what is classified.
        surrogates: models the images are crafted on.
        targets: models they are tried on.
        data: candidate images.
        target_classes: as a list gave them, int64 (N,); None without a list.
        trusted: full names of models that may classify badly: it is known how they were trained.
        allow_inaccurate: whether a model that does not classify is attacked all the same.
        noiseless: full names of targets that are shown no random noise.
        cache: folder of clean predictions; None for the user's.
        remembered: clean predictions of this process, where no cache can be written.
    """

    config: AttackConfig
    dataset: DatasetSpec
    surrogates: tuple[ModelSpec, ...]
    targets: tuple[ModelSpec, ...]
    data: Batch
    target_classes: Tensor | None = None
    trusted: frozenset[str] = frozenset()
    allow_inaccurate: bool = False
    noiseless: frozenset[str] = frozenset()
    cache: Path | None = None
    remembered: dict[Path, dict[str, Tensor]] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def attacks(self) -> tuple[Attack, ...]:
        """What is done to the images."""
        return tuple(Attack.of(spec, self.config.seed) for spec in self.config.attacks)

    @cached_property
    def crafting_tasks(self) -> tuple[CraftingTask, ...]:
        """Every surrogate, or all together, under every attack."""
        groups = [self.surrogates] if self.config.ensemble else [(model,) for model in self.surrogates]
        return tuple(CraftingTask(models, attack) for models in groups for attack in self.attacks)

    @property
    def title(self) -> str:
        """What a run is about, as the name of its folder begins: "resnet50-sam-mi+di".

        Attacks are called as tables call them, options left out.
        """
        surrogates = [model.name for model in self.surrogates]
        attacks = [re.sub(r":[^+]*", "", brief(attack.canonical)) for attack in self.attacks]
        parts = [
            " ".join(names) if len(names) <= MOST_NAMED else f"{len(names)} {kind}"
            for names, kind in ((surrogates, "surrogates"), (list(dict.fromkeys(attacks)), "attacks"))
        ]
        return re.sub(r"[^a-z0-9+._-]+", "-", "-".join(parts).lower()).strip("-.")[:LONGEST_TITLE]

    def predictions(self, model: ModelSpec) -> KeptPredictions:
        """Return the classes of the candidates that a model predicts, kept for all runs."""
        key = self._prediction_key(model)
        return KeptPredictions(model, self.dataset, self.data, key, self.cache, self.remembered)

    def _prediction_key(self, model: ModelSpec) -> dict[str, Any]:
        """Return all that a model's predictions on the candidates depend on."""
        return {
            "weights": self.content["models"][model.full_name],
            "config": self.content["model_configs"][model.full_name],
            "defence": model.defence,
            "classes": self.dataset.classes,
            **({"class_names": model.classes} if model.classes else {}),
            "images": tensors_state(self.data.ids, after=self._pixels).hexdigest(),
            "environment": self.content["environment"],
            **used(*DEFENCES.origins(model.defence)),
            "versions": _others(_versions([model])),
        }

    @cached_property
    def _pixels(self) -> hashlib._Hash:
        """The hash of the candidates, gigabytes maybe, taken once for all that goes on from it."""
        return tensors_state(self.data.images)

    @cached_property
    def key(self) -> dict[str, Any]:
        """What names the run folder: `content` without options at their default and this package's version.

        The version counts by its `ARITHMETIC`, which `environment` has.

        Raises:
            ModelError: see `content`.
        """
        others = _others(self.content["versions"])
        return {**self.content, "config": self.config.key(), "versions": others}

    @cached_property
    def content(self) -> dict[str, Any]:
        """All that the run's result depends on.

        Raises:
            ModelError: a model has no weights, or its own code fails.
        """
        models = {m.full_name: m for m in (*self.surrogates, *self.targets)}
        identities = {name: identity(model) for name, model in models.items()}
        collected = {
            name: sha256(file)
            for name, file in {
                f"{model.full_name}/{file.name}": file
                for craft in self.crafting_tasks
                for model, file in craft.weights
                if file is not None
            }.items()
        }
        mapped = {name: key for name, model in models.items() if (key := classes_key(model, self.dataset))}
        listed = () if self.target_classes is None else (self.target_classes,)
        others = (self.data.labels, self.data.ids, *listed)
        return {
            "config": self.config.model_dump(mode="json"),
            "attacks": [attack.canonical for attack in self.attacks],
            "models": {name: weights for name, (weights, _) in identities.items()},
            "model_configs": {name: config for name, (_, config) in identities.items()},
            **({"class_places": mapped} if mapped else {}),
            **({"samples": collected} if collected else {}),
            "data": {
                "n": len(self.data),
                "sha256": tensors_state(*others, after=self._pixels).hexdigest(),
            },
            "environment": environment(fixed=True)._asdict(),
            **used(
                *(one for spec in self.config.attacks for one in TECHNIQUES.origins(spec.techniques)),
                *(one for model in self.targets for one in DEFENCES.origins(model.defence)),
            ),
            "versions": _versions([*models.values()]),
        }


def _versions(models: Sequence[ModelSpec]) -> dict[str, str]:
    """Return the versions of packages that what models predict depends on, behind their defences."""
    defences = {model.defence for model in models if model.defence}
    found = versions(*sorted({name for spec in defences for name in read_defence(spec).packages}))
    for model in models:
        found |= loadable(model).versions()
    return found


def _others(found: Mapping[str, str]) -> dict[str, str]:
    """Return versions without this package's."""
    return {name: text for name, text in found.items() if name != "transferzoo"}


@dataclass(frozen=True)
class CraftingTask:
    """A surrogate or an ensemble under an attack: what adversarial images are crafted by.

    Attributes:
        models: one surrogate, or an ensemble.
        attack: the attack.
    """

    models: tuple[ModelSpec, ...]
    attack: Attack

    @cached_property
    def weights(self) -> tuple[tuple[ModelSpec, Path | None], ...]:
        """The models' weights that are attacked together: each with its file, None for a model's main ones.

        Of a checkpoint that has collected several, all of them where the attack says what they make together,
        the main ones elsewhere.
        """
        every = self.attack.composition.joins
        return tuple((model, file) for model in self.models for file in weights_of(model, every=every))

    @property
    def cost(self) -> int:
        """Gradient evaluations an image."""
        return self.attack.cost(len(self.weights))

    @property
    def pair(self) -> SurrogateAttack:
        """The names of both, as records have them."""
        first, *others = self.models
        return SurrogateAttack(
            " & ".join([first.full_name, *(m.name for m in others)]), self.attack.canonical
        )


def weights_of(model: ModelSpec, *, every: bool) -> list[Path] | list[None]:
    """Return the files of a model's weights: all that were collected, or None, for the main ones."""
    return (loadable(model).collected() if every else []) or [None]
