"""Models on the Hub become checkpoint folders on this machine."""

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


def pulled(repo: str, revision: str | None = None) -> Path:
    """Return the checkpoint folder of a repository in timm's format; downloaded unless it is cached.

    Its config.json is fetched first, and the weights from the same commit: `model.safetensors`, those that
    its recipe.json says were collected, and nothing that could be run.

    Raises:
        TransferZooError: the Hub does not have it, or what came is not what the Hub says.
        ModelError: the recipe is damaged.
    """
    config = hub.fetch(repo, checkpoint.CONFIG, revision=revision)
    folder, commit = config.parent, hub.commit_of(config)
    hub.fetch(repo, checkpoint.WEIGHTS, revision=commit)
    try:
        hub.fetch(repo, checkpoint.RECIPE, revision=commit)
    except hub.MissingFileError:
        return folder  # a model that was not trained here
    collected = (checkpoint.read_recipe(folder) or {}).get("samples") or {}
    named = collected if isinstance(collected, dict) else {str(collected): None}
    for name, sha256 in named.items():
        if not (checkpoint.SAMPLE.fullmatch(name) and isinstance(sha256, str)):
            raise ModelError(
                f"{repo} names collected weights in a wrong way",
                expected="samples/NNNN.safetensors",
                got=f"'{name}'",
            )
        hub.fetch(repo, name, revision=commit, sha256=sha256)
    return folder


def located(model: ModelSpec, tell: Callable[[str], None] = lambda sentence: None) -> ModelSpec:
    """Return a model whose checkpoint folder is on this machine, downloaded or converted if it has to be.

    Args:
        model: any model of the zoo.
        tell: is told when a pickle is read.

    Raises:
        ModelError: nobody has published it, or see `conversion.convert_weights`.
        TransferZooError: see `pulled`.
    """
    source = published(model).source
    if model.weights is not None:
        file, origin = _fetched(source, model.weights)
        folder = conversion.convert_weights(file, model.weights, origin, tell)
    elif model.on_hub:
        folder = pulled(*_place(source))
    else:
        return model
    return model.model_copy(update={"source": f"local:{folder}", "weights": None})


def _place(source: str) -> tuple[str, str | None]:
    """Return the repository and the revision of a model on the Hub."""
    repo, _, revision = source.removeprefix(HUB).partition("@")
    return repo, revision or None


def _fetched(source: str, weights: WeightFile) -> tuple[Path, dict[str, str]]:
    """Return a weight file on this machine, and where it comes from."""
    if not source.startswith(HUB):
        folder = source.partition(":")[2]
        return Path(folder).expanduser() / weights.file, {"folder": folder, "file": weights.file}
    repo, revision = _place(source)
    file = hub.fetch(repo, weights.file, revision=revision, sha256=weights.sha256)
    return file, {"repository": repo, "commit": hub.commit_of(file), "file": weights.file}
