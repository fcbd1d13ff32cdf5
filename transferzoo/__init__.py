"""Evaluate how adversarial examples transfer between image classifiers.

Public names are resolved when first used, so that importing the package costs milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from transferzoo.models.timm_hook import register_with_timm

if TYPE_CHECKING:
    from transferzoo.api import evaluate, load_images, load_model, read_attack
    from transferzoo.attacks.engine import Attack, craft
    from transferzoo.attacks.techniques.work_unit import Pool
    from transferzoo.base.config import AttackConfig, TrainConfig
    from transferzoo.base.errors import TransferZooError
    from transferzoo.models.classifier import Classifier
    from transferzoo.results.tables import tables
    from transferzoo.training.trainer import train
    from transferzoo.zoo.reader import load_zoo

_PUBLIC = {
    "AttackConfig": "config",
    "TrainConfig": "config",
    "TransferZooError": "errors",
    "load_zoo": "zoo",
    "Classifier": "classifier",
    "Attack": "engine",
    "Pool": "techniques.unit",
    "craft": "engine",
    "evaluate": "api",
    "load_images": "api",
    "load_model": "api",
    "read_attack": "api",
    "tables": "report",
    "train": "trainer",
}
__all__ = [
    "Attack",
    "AttackConfig",
    "Classifier",
    "Pool",
    "TrainConfig",
    "TransferZooError",
    "craft",
    "evaluate",
    "load_images",
    "load_model",
    "load_zoo",
    "read_attack",
    "tables",
    "train",
]

register_with_timm()


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'transferzoo' has no attribute '{name}'")
    return getattr(import_module(f"transferzoo.{_PUBLIC[name]}"), name)
