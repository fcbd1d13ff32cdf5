"""Predictions that are asked of a model when they are needed, and kept for all runs.

A file for each model and set of images lies in `predictions/` under the variable TRANSFERZOO_CACHE, by
default ~/.cache/transferzoo; it has the digest of the model's parameters too. Its name follows all that the
predictions depend on; it is checked when it is read, and one process writes it at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from transferzoo.base.atomic import write_bytes, writing
from transferzoo.base.cache_folder import cache_folder
from transferzoo.base.digests import tensors_digest
from transferzoo.base.errors import TransferZooError
from transferzoo.base.frozen_model import fingerprint
from transferzoo.models import load
from transferzoo.models.predict import least_likely, predict_images
from transferzoo.models.weight_digests import weights_digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from transferzoo.datasets import Batch
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec

UNKNOWN = -1
KINDS, PARAMETERS = ("most_likely", "least_likely"), "parameters"


class KeptPredictions:
    """A model's classes of some images.

    Args:
        model: behind its defence, if it has one.
        dataset: what is classified.
        data: the images.
        key: all that the predictions depend on.
        folder: where the file lies; None for the user's cache.
        remembered: what this process knows besides, by path: all there is where no cache can be written.

    Attributes:
        remembered: what this process knows of this model.
        claim: the claim of a process that asks the model lies there, see `base.claims`.
    """

    def __init__(
        self,
        model: ModelSpec,
        dataset: DatasetSpec,
        data: Batch,
        key: Mapping[str, Any],
        folder: Path | None = None,
        remembered: dict[Path, dict[str, Tensor]] | None = None,
    ) -> None:
        self._model, self._dataset, self._data = model, dataset, data
        self._path = (folder or cache_folder("predictions")) / f"{fingerprint(key)[:32]}.safetensors"
        self.claim = self._path.with_suffix(".asking")
        self._count, self._classes = len(data), len(dataset.classes)
        self.remembered = ({} if remembered is None else remembered).setdefault(self._path, {})

    def ask(self, at: Tensor, device: torch.device, kind: str = "most_likely") -> Tensor:
        """Return the classes of images, predicted now unless they are known.

        Args:
            at: which images, int64 (M,).
            device: where the model computes.
            kind: "most_likely" or "least_likely".

        Returns:
            int64 (M,).

        Raises:
            ModelError: the model cannot be loaded, or gives no numbers.
        """
        known = self.read()[kind]
        missing = at[known[at] == UNKNOWN]
        if len(missing):
            classifier = load.load_on(device, self._model, self._dataset)
            images, ids = self._data.images, self._data.ids
            if kind == "least_likely":
                found = least_likely(classifier, images, missing)
            else:
                found = predict_images(self._model, classifier, images, ids, missing)
            known[missing] = found
            self.add({kind: known, PARAMETERS: _packed(weights_digest(classifier))})
        return known[at]

    def parameters_digest(self, device: torch.device) -> str | None:
        """Return the `weights_digest` of the model; it is loaded only where it never gave predictions.

        Raises:
            ModelError: the model cannot be loaded.
        """
        packed = self.read().get(PARAMETERS)
        if packed is None:
            packed = _packed(weights_digest(load.load_classifier(self._model, self._dataset).to(device)))
            self.add({PARAMETERS: packed})
        return bytes(packed.tolist()).hex() or None

    def are_known(self, at: Tensor) -> bool:
        """Return whether the most likely classes of images, int64 (M,), are all there."""
        return bool((self.read()["most_likely"][at] != UNKNOWN).all())

    def read(self) -> dict[str, Tensor]:
        """Return the classes by kind, int64 (N,), `UNKNOWN` where they are; `PARAMETERS` if known."""
        return _joined(self._stored(), self.remembered)

    def remember(self, found: dict[str, Tensor]) -> None:
        """Remember in this process what `read` shall return."""
        self.remembered.update(_joined(self.remembered, found))

    def _stored(self) -> dict[str, Tensor]:
        """Return what the file holds; one that is damaged holds nothing."""
        nothing = {kind: torch.full((self._count,), UNKNOWN) for kind in KINDS}
        try:
            with safe_open(self._path, "pt") as stored:
                found = {name: stored.get_tensor(name) for name in (*KINDS, PARAMETERS)}
                digest = (stored.metadata() or {}).get("sha256")
        except (OSError, SafetensorError):
            return nothing
        classes = [found[kind] for kind in KINDS]
        fits = all(
            tensor.shape == (self._count,)
            and tensor.dtype == torch.int32
            and bool(((tensor >= UNKNOWN) & (tensor < self._classes)).all())
            for tensor in classes
        )
        if not fits or found[PARAMETERS].dtype != torch.uint8 or digest != _digest(found):
            return nothing
        return {name: tensor if name == PARAMETERS else tensor.long() for name, tensor in found.items()}

    def add(self, found: dict[str, Tensor]) -> None:
        """Keep what was found beside what is there.

        Where the cache cannot be written this process remembers them alone.
        """
        from filelock import FileLock

        self.remember(found)
        try:
            with writing(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(f"{self._path}.lock"):
                    known = self.read()
                    narrow = {kind: known[kind].to(torch.int32) for kind in KINDS}
                    narrow[PARAMETERS] = known[PARAMETERS]
                    write_bytes(self._path, save(narrow, {"sha256": _digest(narrow)}))
        except TransferZooError:
            pass


def _packed(digest: str | None) -> Tensor:
    """Return a digest, uint8 (32,), or that there is none, (0,)."""
    return torch.tensor(list(bytes.fromhex(digest or "")), dtype=torch.uint8)


def _digest(tensors: dict[str, Tensor]) -> str:
    return tensors_digest(*(tensors[name] for name in (*KINDS, PARAMETERS)))


def _joined(known: dict[str, Tensor], found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what is known with what was found in its place, wherever it was."""
    both = [kind for kind in KINDS if kind in known and kind in found]
    classes = {kind: torch.where(found[kind] == UNKNOWN, known[kind], found[kind]) for kind in both}
    return {**known, **found, **classes}
