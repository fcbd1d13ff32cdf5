"""Surrogates that were trained on the images that are attacked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import few
from transferzoo.datasets.own import UNSEEN
from transferzoo.models.recipe_file import read_recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from transferzoo.zoo.schema import DatasetSpec, ModelSpec


def note_trained_on(
    dataset: DatasetSpec,
    split: str,
    surrogates: Iterable[ModelSpec],
    notify: Callable[[str], None],
    tuned: Iterable[str] = (),
) -> None:
    """Say which surrogates were trained on some of the images, of a folder without splits of its own.

    Args:
        dataset: of the images.
        split: which of them are attacked.
        surrogates: on this machine.
        notify: called with the sentence, if there is something to say.
        tuned: names of others that are fine-tuned on the data set's own training images first.

    Raises:
        ModelError: a recipe cannot be read.
    """
    if UNSEEN not in dataset.shares or split == UNSEEN:
        return
    folders = {one.name: one.source.folder for one in surrogates if one.source.folder is not None}
    trained = [name for name, folder in folders.items() if _dataset(read_recipe(folder)) == dataset.name]
    if names := [*trained, *tuned]:
        notify(
            f"Note: some of these images trained {few(names)}; `--split {UNSEEN}` has those that did not, as "
            "an attacker's surrogate has not seen the images of others."
        )


def _dataset(recipe: Mapping[str, Any] | None) -> object:
    config = (recipe or {}).get("config")
    return config.get("dataset") if isinstance(config, dict) else None
