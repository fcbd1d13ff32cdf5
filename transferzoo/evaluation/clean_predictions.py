"""Clean predictions: asked of a model when they are needed, and kept for all runs.

A file for each model and data set lies in `predictions/` under the variable TRANSFERZOO_CACHE, by default
~/.cache/transferzoo. Its name follows all that the predictions depend on; it is checked when it is read, and
one process writes it at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from transferzoo.base.atomic import write_bytes, writing
from transferzoo.base.cache_folder import cache_folder
from transferzoo.base.digests import tensors_digest
from transferzoo.base.errors import ModelError, TransferZooError
from transferzoo.base.frozen_model import fingerprint
from transferzoo.defences import read_defence
from transferzoo.models import load
from transferzoo.models.predict import least_likely, predict, predict_defended

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.evaluation.job import Job
    from transferzoo.models.classifier import Classifier
    from transferzoo.zoo.schema import ModelSpec

UNKNOWN = -1
KINDS = ("most_likely", "least_likely")


def clean_predictions(
    job: Job, model: ModelSpec, at: Tensor, device: torch.device, kind: str = "most_likely"
) -> Tensor:
    """Return a model's classes of candidate images, predicted now unless they are known.

    Args:
        job: whose images they are.
        model: behind its defence, if it has one.
        at: which candidates, int64 (M,).
        device: where the model computes.
        kind: "most_likely" or "least_likely".

    Returns:
        int64 (M,).

    Raises:
        ModelError: the model cannot be loaded, or gives no numbers.
    """
    file = _File(job, model)
    known = file.read()[kind]
    missing = at[known[at] == UNKNOWN]
    if len(missing):
        classifier = load.load_classifier(model, job.dataset).to(device)
        if kind == "least_likely":
            found = least_likely(classifier, job.data.images, missing)
        else:
            found = predict_images(model, classifier, job.data.images, job.data.ids, missing)
        known[missing] = found
        file.add(kind, missing, found)
    return known[at]


def are_known(job: Job, model: ModelSpec, at: Tensor) -> bool:
    """Return whether a model need not be asked for its classes of candidates, int64 (M,)."""
    return bool((_File(job, model).read()["most_likely"][at] != UNKNOWN).all())


def predict_images(
    spec: ModelSpec, model: Classifier, images: Tensor, ids: Tensor, at: Tensor | None = None
) -> Tensor:
    """Return the classes that a model, behind its defence if it has one, predicts, int64 (M,).

    Args:
        spec: of the model.
        model: loaded.
        images: uint8 (N, C, H, W).
        ids: what seeds the draws of a defence, int64 (N,).
        at: which images, int64 (M,); all where none are named.

    Raises:
        ModelError: it gives no numbers; the sentence names it.
    """
    try:
        if spec.defence:
            return predict_defended(model, read_defence(spec.defence), images, ids, at)
        return predict(model, images, at)
    except ModelError as error:
        raise ModelError(f"'{spec.name}': {str(error).removesuffix('.')}") from None


class _File:
    """Predictions of a model on the candidates of a job."""

    def __init__(self, job: Job, model: ModelSpec) -> None:
        key = fingerprint(job.prediction_key(model))
        folder = job.cache or cache_folder("predictions")
        self._path, self._count = folder / f"{key[:32]}.safetensors", len(job.data)
        self._classes = len(job.dataset.classes)
        self._remembered = job.remembered.setdefault(self._path, {})

    def read(self) -> dict[str, Tensor]:
        """Return the classes by kind, int64 (N,), `UNKNOWN` where they are."""
        found = self._stored()
        for kind, classes in self._remembered.items():
            found[kind] = torch.where(classes == UNKNOWN, found[kind], classes)
        return found

    def _stored(self) -> dict[str, Tensor]:
        """Return what the file holds; one that is damaged holds nothing."""
        nothing = {kind: torch.full((self._count,), UNKNOWN) for kind in KINDS}
        try:
            with safe_open(self._path, "pt") as stored:
                found = {kind: stored.get_tensor(kind) for kind in KINDS}
                digest = (stored.metadata() or {}).get("sha256")
        except (OSError, SafetensorError):
            return nothing
        fits = all(
            tensor.shape == (self._count,)
            and tensor.dtype == torch.int32
            and bool(((tensor >= UNKNOWN) & (tensor < self._classes)).all())
            for tensor in found.values()
        )
        if not fits or digest != _digest(found):
            return nothing
        return {kind: tensor.long() for kind, tensor in found.items()}

    def add(self, kind: str, at: Tensor, classes: Tensor) -> None:
        """Keep classes of some candidates beside those that are there.

        Where the cache cannot be written this process remembers them alone.
        """
        from filelock import FileLock

        self._remembered.setdefault(kind, torch.full((self._count,), UNKNOWN))[at] = classes
        try:
            with writing(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(f"{self._path}.lock"):
                    known = self.read()
                    known[kind][at] = classes
                    narrow = {name: tensor.to(torch.int32) for name, tensor in known.items()}
                    write_bytes(self._path, save(narrow, {"sha256": _digest(narrow)}))
        except TransferZooError:
            pass


def _digest(tensors: dict[str, Tensor]) -> str:
    return tensors_digest(*(tensors[kind] for kind in KINDS))
