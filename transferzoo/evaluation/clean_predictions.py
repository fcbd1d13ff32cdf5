"""Clean predictions: a model's classes of the candidate images of a job, kept for all runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from transferzoo.models.kept_predictions import KeptPredictions

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import Tensor

    from transferzoo.evaluation.job import Job
    from transferzoo.zoo.schema import ModelSpec

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
    return _kept(job, model).ask(at, device, kind)


def parameters_digest(job: Job, model: ModelSpec, device: torch.device) -> str | None:
    """Return the `weights_digest` of a model; it is loaded for it only where it never gave predictions.

    Raises:
        ModelError: the model cannot be loaded.
    """
    return _kept(job, model).parameters_digest(device)


def found_here(job: Job, model: ModelSpec) -> Found:
    """Return what this process has found of a model, for another process to `keep`."""
    return {name: tensor.numpy() for name, tensor in _kept(job, model).remembered.items()}


def keep(job: Job, model: ModelSpec, found: Found) -> None:
    """Remember what another process has found of a model: the cache may not have taken it."""
    _kept(job, model).remember({name: torch.from_numpy(array) for name, array in found.items()})


def are_known(job: Job, model: ModelSpec, at: Tensor) -> bool:
    """Return whether a model need not be asked for its classes of candidates, int64 (M,)."""
    return _kept(job, model).are_known(at)


def claim(job: Job, model: ModelSpec) -> Path:
    """Return where the claim lies of the process that asks a model for its classes, see `base.claims`."""
    return _kept(job, model).claim


def _kept(job: Job, model: ModelSpec) -> KeptPredictions:
    key = job.prediction_key(model)
    return KeptPredictions(model, job.dataset, job.data, key, job.cache, job.remembered)
