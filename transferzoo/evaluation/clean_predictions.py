"""Clean predictions: asked of a model when they are needed, and kept for all runs.

A file for each model and data set lies in `predictions/` under the variable TRANSFERZOO_CACHE, by default
~/.cache/transferzoo; it has the digest of the model's parameters too. Its name follows all that the
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
from transferzoo.base.errors import ModelError, TransferZooError
from transferzoo.base.frozen_model import fingerprint
from transferzoo.defences import read_defence
from transferzoo.models import load
from transferzoo.models.classifier import weights_digest
from transferzoo.models.predict import least_likely, predict, predict_defended

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from transferzoo.evaluation.job import Job
    from transferzoo.models.classifier import Classifier
    from transferzoo.zoo.schema import ModelSpec

UNKNOWN = -1
KINDS, PARAMETERS = ("most_likely", "least_likely"), "parameters"
Found = dict[str, "np.ndarray[Any, Any]"]


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
        file.add({kind: known, PARAMETERS: _packed(weights_digest(classifier))})
    return known[at]


def parameters_digest(job: Job, model: ModelSpec, device: torch.device) -> str | None:
    """Return the `weights_digest` of a model; it is loaded for it only where it never gave predictions.

    Raises:
        ModelError: the model cannot be loaded.
    """
    file = _File(job, model)
    packed = file.read().get(PARAMETERS)
    if packed is None:
        packed = _packed(weights_digest(load.load_classifier(model, job.dataset).to(device)))
        file.add({PARAMETERS: packed})
    return bytes(packed.tolist()).hex() or None


def _packed(digest: str | None) -> Tensor:
    """Return a digest, uint8 (32,), or that there is none, (0,)."""
    return torch.tensor(list(bytes.fromhex(digest or "")), dtype=torch.uint8)


def found_here(job: Job, model: ModelSpec) -> Found:
    """Return what this process has found of a model, for another process to `keep`."""
    return {name: tensor.numpy() for name, tensor in _File(job, model).remembered.items()}


def keep(job: Job, model: ModelSpec, found: Found) -> None:
    """Remember what another process has found of a model: the cache may not have taken it."""
    _File(job, model).remember({name: torch.from_numpy(array) for name, array in found.items()})


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
        self.remembered = job.remembered.setdefault(self._path, {})

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


def _digest(tensors: dict[str, Tensor]) -> str:
    return tensors_digest(*(tensors[name] for name in (*KINDS, PARAMETERS)))


def _joined(known: dict[str, Tensor], found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what is known with what was found in its place, wherever it was."""
    both = [kind for kind in KINDS if kind in known and kind in found]
    classes = {kind: torch.where(found[kind] == UNKNOWN, known[kind], found[kind]) for kind in both}
    return {**known, **found, **classes}
