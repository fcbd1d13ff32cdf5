"""Models brought onto this machine, as commands that run them need them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.models.download import download_model
from transferzoo.models.load import require_gradients
from transferzoo.models.unlisted_options import running
from transferzoo.sync.inventory import require_cached, state_of
from transferzoo.zoo.selection import distinct

if TYPE_CHECKING:
    from collections.abc import Callable

    from transferzoo.zoo.schema import ModelSpec


def on_this_machine(model: ModelSpec) -> bool:
    """Return whether no network is needed for a model."""
    return state_of(model) in ("built-in", "local", "cached")


def download_models(
    surrogates: tuple[ModelSpec, ...], targets: tuple[ModelSpec, ...], notify: Callable[[str], None]
) -> tuple[tuple[ModelSpec, ...], tuple[ModelSpec, ...]]:
    """Return models on this machine, downloaded or converted where they have to be.

    Args:
        surrogates: they have to give gradients.
        targets: they need not.
        notify: called with a sentence on each model that is code, and where a pickle is loaded.

    Raises:
        UsageError: a surrogate gives no gradients.
        TransferZooError: the Hub does not have a model, or cannot be asked.
        ModelError: code of the user's fails.
    """
    every = distinct((*surrogates, *targets))
    require_cached(every)
    for model in every:
        if model.source.runs_code:
            notify(running(model))
    found = tuple(download_model(model, notify) for model in surrogates)
    for model in found:
        require_gradients(model)
    return found, tuple(download_model(model, notify) for model in targets)
