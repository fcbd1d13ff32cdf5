"""Download of models of the Hub to checkpoint folders on this machine."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from transferzoo import hub
from transferzoo.base.errors import ModelError
from transferzoo.models import checkpoint, conversion, open_clip_files
from transferzoo.models.recipe_file import read_recipe
from transferzoo.models.transformers_folder import PROCESSOR, is_transformers
from transferzoo.zoo.selection import published

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transferzoo.zoo.model_source import LoadableSource
    from transferzoo.zoo.schema import ModelSpec, WeightFile


def download_checkpoint(repo: str, revision: str | None = None) -> Path:
    """Return the folder of a repository that holds a model; downloaded unless it is cached.

    In timm's or transformers' format its config.json is downloaded first, and the weights from the same
    commit: `model.safetensors`, the collected weights that its recipe.json names, or what describes the image
    processor of transformers. Where there is no config.json, or it is of no classifier, the repository may be
    in open_clip's format. Nothing is downloaded that could be run.

    Args:
        repo: "OWNER/NAME".
        revision: a commit, tag or branch; the default branch if None.

    Raises:
        TransferZooError: the Hub does not have it, or a file does not match its hash.
        ModelError: the recipe is damaged.
    """
    try:
        config = hub.download_file(repo, checkpoint.CONFIG, revision=revision)
    except hub.MissingFileError as error:
        if found := _open_clip(repo, revision):
            return found
        raise _no_model(repo, error) from None
    folder, commit = config.parent, hub.commit_of(config)
    if not checkpoint.is_classifier(folder) and (found := _open_clip(repo, commit)):
        return found
    needed = [checkpoint.WEIGHTS, *([PROCESSOR] if is_transformers(folder) else [])]
    try:
        for name in needed:
            hub.download_file(repo, name, revision=commit)
    except hub.MissingFileError as error:
        raise _no_model(repo, error) from None
    if is_transformers(folder):
        return folder
    try:
        hub.download_file(repo, checkpoint.RECIPE, revision=commit)
    except hub.MissingFileError:
        return folder  # a model that was not trained here
    collected = (read_recipe(folder) or {}).get("samples") or {}
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


def _no_model(repo: str, error: hub.MissingFileError) -> hub.MissingFileError:
    """Return the error of a repository without a file that every model of its kind has."""
    return hub.MissingFileError(
        f"{repo} holds no image classifier that can be loaded: {str(error).partition('; ')[0]}",
        expected="a repository of timm, transformers (with an image processor) or open_clip, in safetensors",
        hint="choose another, or describe its weight file in a zoo file: `weights`",
    )


def _open_clip(repo: str, revision: str | None) -> Path | None:
    """Return the folder of a repository in open_clip's format, None where it is in another."""
    try:
        config = hub.download_file(repo, open_clip_files.CONFIG, revision=revision)
    except hub.MissingFileError:
        return None
    commit = hub.commit_of(config)
    hub.download_file(repo, open_clip_files.WEIGHTS, revision=commit)
    for name in open_clip_files.TOKENIZER:
        with suppress(hub.MissingFileError):
            hub.download_file(repo, name, revision=commit)
    return config.parent


def download_weights(
    repo: str, revision: str | None, weights: WeightFile, notify: Callable[[str], None]
) -> Path:
    """Return the checkpoint folder made of a weight file in a repository; downloaded unless it is cached.

    Args:
        repo: "OWNER/NAME".
        revision: a commit, tag or branch; the default branch if None.
        weights: which file, and what it does not say of itself.
        notify: called with a sentence when a pickle is loaded.

    Raises:
        TransferZooError: see `download_checkpoint`.
        ModelError: see `conversion.convert_weights`.
    """
    file = hub.download_file(repo, weights.file, revision=revision, sha256=weights.sha256)
    origin = {"repository": repo, "commit": hub.commit_of(file), "file": weights.file}
    return conversion.convert_weights(file, weights, origin, notify)


def loadable(model: ModelSpec, notify: Callable[[str], None] = lambda sentence: None) -> LoadableSource:
    """Return the source of a model on this machine, downloaded or converted where necessary.

    Args:
        model: any model.
        notify: called with a sentence when a pickle is loaded.

    Raises:
        ModelError: it is yet to be trained; see also `conversion.convert_weights`.
        TransferZooError: see `download_checkpoint`.
    """
    return published(model).source.download(model.weights, notify)


def download_model(model: ModelSpec, notify: Callable[[str], None] = lambda sentence: None) -> ModelSpec:
    """Return a model whose source is `loadable`; see there."""
    return model.model_copy(update={"source": loadable(model, notify), "weights": None})
