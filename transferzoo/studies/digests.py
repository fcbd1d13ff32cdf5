"""Digests of the images and models that a study reads. Nothing here imports torch."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from transferzoo.base.atomic import sha256
from transferzoo.base.errors import TransferZooError
from transferzoo.base.frozen_model import fingerprint
from transferzoo.models import checkpoint
from transferzoo.models.load import identity

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.zoo.schema import DatasetSpec, ModelSpec

HEAD = 2**16
"""Bytes of a data file in its digest, with its name and size."""


def split_root(dataset: DatasetSpec, split: str, root: Path | None) -> Path | None:
    """Return the user's own folder of a split, None for a split that is in the package."""
    packaged = any(place.startswith("builtin:") for place in dataset.splits.get(split, ()))
    return None if root is None or packaged else root.expanduser()


def dataset_digest(dataset: DatasetSpec) -> str:
    """Return the fingerprint of all fields of a data set that results depend on, except its images."""
    return fingerprint(
        dataset.model_dump(
            mode="json",
            exclude={"splits", "notes", "attack", "recipe", "surrogate", "auditors", "licence", "origin"},
            exclude_defaults=True,
        )
    )


def model_digest(model: ModelSpec) -> str:
    """Return the fingerprint of a model on this machine: its weights, collected ones too, and all else.

    Raises:
        ModelError: it is damaged, or its own code fails.
    """
    folder = model.source.folder
    if folder is None:
        found: list[Any] = list(identity(model))
    else:
        samples = [sha256(path) for path in checkpoint.samples(folder)]
        found = [checkpoint.digest(folder), checkpoint.description(folder), samples]
    return fingerprint([*found, *([model.classes] if model.classes else [])])


def files_digest(root: Path) -> str:
    """Return the SHA-256 of the names, sizes and first bytes of all files in a folder, or of one file.

    Raises:
        TransferZooError: there is no such place, or it cannot be read.
    """
    if not root.exists():
        raise TransferZooError(
            f"there is no {root}", expected="a folder or file with the images", hint="check --data"
        )
    state = hashlib.sha256()
    for path in [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file()):
        with path.open("rb") as stream:
            head = stream.read(HEAD)
        name = path.name if path == root else path.relative_to(root).as_posix()
        state.update(f"{name}\0{path.stat().st_size}\0".encode() + hashlib.sha256(head).digest())
    return state.hexdigest()
