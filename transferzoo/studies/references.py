"""Existing models and images as cells refer to them: by digests of their content.

Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import UsageError
from transferzoo.base.plugins import used
from transferzoo.datasets.sources import reading_plugin
from transferzoo.models.download import download_model
from transferzoo.models.load import require_gradients
from transferzoo.models.resolve import select_models
from transferzoo.models.sources.checkpoint_folder import LocalFolder
from transferzoo.models.unlisted_options import UnlistedOptions, running
from transferzoo.studies.digests import dataset_digest, files_digest, model_digest, split_root
from transferzoo.zoo.schema import ROLES, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transferzoo.studies.entries import ModelEntry
    from transferzoo.studies.schema import Study
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import DatasetSpec, Role


@dataclass
class References:
    """What cells read that no cell computes.

    Attributes:
        study: the study.
        zoo: names are resolved in it.
        root: the user's own images, as of `--data`.
        notify: called with a sentence that the user should read.
        allow_code: whether models that are code may be run.
        models: digest of each model that was referred to → the model, on this machine.
        digests: the user's own images → their digest, once it was computed.
    """

    study: Study
    zoo: Zoo
    root: Path | None
    notify: Callable[[str], None]
    allow_code: bool
    models: dict[str, ModelSpec] = field(default_factory=dict)
    digests: dict[Path, str] = field(default_factory=dict)

    @cached_property
    def dataset(self) -> DatasetSpec:
        """The data set of the study."""
        return self.zoo.dataset(self.study.dataset)

    def targets(self, name: str) -> list[dict[str, Any]]:
        """Return the references to the existing models that the name of a target stands for.

        Raises:
            UsageError, ModelError: see `grid.build_grid`.
        """
        options = UnlistedOptions(allow_code=self.allow_code)
        chosen = select_models(self.zoo, [name], self.study.dataset, "target", options, self.notify)
        return [self.model(model) for model in chosen]

    def existing_model(self, entry: ModelEntry, role: Role) -> dict[str, Any]:
        """Return the reference to the existing model that an entry of the study names.

        Raises:
            UsageError, ModelError: see `grid.build_grid`.
        """
        options = UnlistedOptions(entry.train.get("architecture", ""), self.allow_code)
        chosen = select_models(self.zoo, [entry.model], self.study.dataset, role, options, self.notify)
        if len(chosen) != 1:
            raise UsageError(f"'{entry.model}' is no single model", expected="one", got=str(len(chosen)))
        options.check_used(self.zoo, chosen)
        reference = self.model(chosen[0])
        if role == "surrogate":
            require_gradients(self.models[reference["digest"]])
        return reference

    def model(self, model: ModelSpec) -> dict[str, Any]:
        """Return the reference to an existing model.

        Raises:
            UsageError: it has a defence.
            ModelError: it has no weights, or its own code fails.
        """
        if model.defence:
            raise UsageError(f"'{model.name}' has a defence", expected="a plain model in a study")
        if model.source.runs_code and model.source not in {known.source for known in self.models.values()}:
            self.notify(running(model))
        return {"name": model.name, "digest": self._register(download_model(model))}

    def _register(self, model: ModelSpec) -> str:
        """Register a model that is on this machine; return its digest."""
        digest = model_digest(model)
        self.models[digest] = model
        return digest

    def checkpoint(self, folder: Path) -> str:
        """Register a checkpoint; return its digest."""
        dataset, source = self.study.dataset, LocalFolder(folder)
        return self._register(ModelSpec(name="checkpoint", dataset=dataset, roles=ROLES, source=source))

    @cached_property
    def training_images(self) -> dict[str, Any]:
        """Digests of the training split, and how many of its images are drawn."""
        drawn = self.study.training_images
        return {**self.split_content("train"), **({} if drawn is None else {"drawn": drawn})}

    def split_content(self, split: str) -> dict[str, Any]:
        """Return digests of the images of a split and of how they are read, without reading them all."""
        root = split_root(self.dataset, split, self.root)
        behind = used(reading_plugin(self.dataset, split, root))
        found = {"split": split, "dataset": dataset_digest(self.dataset), **behind}
        if root is None:
            return {**found, "places": list(self.dataset.splits.get(split, ()))}
        if root not in self.digests:
            self.digests[root] = files_digest(root)
        return {**found, "files": self.digests[root]}
