"""Models on the Hub become checkpoint folders on this machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from transferzoo import checkpoint, hub
from transferzoo.errors import ModelError
from transferzoo.specs import HUB

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.specs import ModelSpec


_SAMPLE = re.compile(checkpoint.SAMPLES + r"/\d{4}\.safetensors")


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
    for name, sha256 in collected.items():
        if not _SAMPLE.fullmatch(name):
            raise ModelError(
                f"{repo} names collected weights in a wrong way",
                expected="samples/NNNN.safetensors",
                got=f"'{name}'",
            )
        hub.fetch(repo, name, revision=commit, sha256=sha256)
    return folder


def located(model: ModelSpec) -> ModelSpec:
    """Return a model whose checkpoint folder is on this machine, downloaded where it lies on the Hub.

    Raises:
        TransferZooError: see `pulled`.
    """
    if not model.on_hub:
        return model
    repo, _, revision = model.source.removeprefix(HUB).partition("@")
    return model.model_copy(update={"source": f"local:{pulled(repo, revision or None)}"})
