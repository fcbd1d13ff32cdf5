"""Download of models of the Hub to checkpoint folders on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from transferzoo import hub
from transferzoo.base.errors import ModelError
from transferzoo.models import checkpoint, conversion
from transferzoo.zoo.schema import HUB
from transferzoo.zoo.selection import published

if TYPE_CHECKING:
    from collections.abc import Callable

    from transferzoo.zoo.schema import ModelSpec, WeightFile


def download_checkpoint(repo: str, revision: str | None = None) -> Path:
    """Return the checkpoint folder of a repository in timm's format; downloaded unless it is cached.

    Its config.json is downloaded first, and the weights from the same commit: `model.safetensors`, the
    collected weights that its recipe.json names, and nothing that could be run.

    Args:
        repo: "OWNER/NAME".
        revision: a commit, tag or branch; the default branch if None.

    Raises:
        TransferZooError: the Hub does not have it, or a file does not match its hash.
        ModelError: the recipe is damaged.
    """
    config = hub.download_file(repo, checkpoint.CONFIG, revision=revision)
    folder, commit = config.parent, hub.commit_of(config)
    hub.download_file(repo, checkpoint.WEIGHTS, revision=commit)
    try:
        hub.download_file(repo, checkpoint.RECIPE, revision=commit)
    except hub.MissingFileError:
        return folder  # a model that was not trained here
    collected = (checkpoint.read_recipe(folder) or {}).get("samples") or {}
    hashes = collected if isinstance(collected, dict) else {str(collected): None}
    for name, sha256 in hashes.items():
        if not (checkpoint.SAMPLE.fullmatch(name) and isinstance(sha256, str)):
            raise ModelError(
                f"{repo} names collected weights in a wrong way",
                expected="samples/NNNN.safetensors",
                got=f"'{name}'",
            )
        hub.download_file(repo, name, revision=commit, sha256=sha256)
    return folder


def download_model(model: ModelSpec, notify: Callable[[str], None] = lambda sentence: None) -> ModelSpec:
    """Return a model with its checkpoint folder on this machine, downloaded or converted where necessary.

    Args:
        model: any model of the zoo.
        notify: called with a sentence when a pickle is loaded.

    Raises:
        ModelError: it is yet to be trained; see also `conversion.convert_weights`.
        TransferZooError: see `download_checkpoint`.
    """
    source = published(model).source
    if model.weights is not None:
        file, origin = _weight_file(source, model.weights)
        folder = conversion.convert_weights(file, model.weights, origin, notify)
    elif model.on_hub:
        folder = download_checkpoint(*_repository(source))
    else:
        return model
    return model.model_copy(update={"source": f"local:{folder}", "weights": None})


def _repository(source: str) -> tuple[str, str | None]:
    """Return the repository and the revision of a model on the Hub."""
    repo, _, revision = source.removeprefix(HUB).partition("@")
    return repo, revision or None


def _weight_file(source: str, weights: WeightFile) -> tuple[Path, dict[str, str]]:
    """Return a weight file on this machine, downloaded where necessary, and where it comes from."""
    if not source.startswith(HUB):
        folder = source.partition(":")[2]
        return Path(folder).expanduser() / weights.file, {"folder": folder, "file": weights.file}
    repo, revision = _repository(source)
    file = hub.download_file(repo, weights.file, revision=revision, sha256=weights.sha256)
    return file, {"repository": repo, "commit": hub.commit_of(file), "file": weights.file}
