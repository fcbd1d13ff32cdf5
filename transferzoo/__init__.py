"""Evaluate how adversarial examples transfer between image classifiers.

Public names are resolved when first used, so that importing the package costs milliseconds.
"""

from __future__ import annotations

from importlib import import_module

from transferzoo.timm_hook import register_with_timm

_PUBLIC = {
    "AttackConfig": "config",
    "TrainConfig": "config",
    "TransferZooError": "errors",
    "load_zoo": "zoo",
    "Classifier": "classifier",
    "Attack": "engine",
    "craft": "engine",
    "train": "trainer",
}
__all__ = sorted(_PUBLIC)

register_with_timm()


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'transferzoo' has no attribute '{name}'")
    return getattr(import_module(f"transferzoo.{_PUBLIC[name]}"), name)
