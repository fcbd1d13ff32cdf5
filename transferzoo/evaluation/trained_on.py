"""Surrogates that were trained on the images that are attacked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.base.errors import few
from transferzoo.datasets.own import UNSEEN
from transferzoo.models.recipe_file import read_recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from transferzoo.zoo.schema import DatasetSpec, ModelSpec


def note_trained_on(
    dataset: DatasetSpec, split: str, surrogates: Iterable[ModelSpec], notify: Callable[[str], None]
) -> None:
    """Say which surrogates were trained on some of the images, of a folder without splits of its own.

    Args:
        dataset: of the images.
        split: which of them are attacked.
        surrogates: on this machine.
        notify: called with the sentence, if there is something to say.

    Raises:
        ModelError: a recipe cannot be read.
    """
    if UNSEEN not in dataset.shares or split == UNSEEN:
        return
    recipes = {one.name: one.source.folder and read_recipe(one.source.folder) for one in surrogates}
    names = [name for name, found in recipes.items() if found and found["config"]["dataset"] == dataset.name]
    if names:
        notify(
            f"Note: some of these images trained {few(names)}; `--split {UNSEEN}` has those that did not, as "
            "an attacker's surrogate has not seen the images of others."
        )
