"""Evaluate how adversarial examples transfer between image classifiers.

Public names are resolved when first used, so that importing the package costs milliseconds.
"""

import sys

if (
    sys.argv[:1] == ["-m"]
    and sys.orig_argv[-len(sys.argv)].removeprefix("-m") == "transferzoo"
    and not sys.flags.safe_path
):
    del sys.path[0]  # the working folder, of which no file is to be imported, not even from here on

from importlib import import_module
from typing import TYPE_CHECKING

from transferzoo.base.version import __version__
from transferzoo.models.timm_hook import register_with_timm

if TYPE_CHECKING:
    from transferzoo.api import audit, load_images, load_model, load_surrogates, read_attack
    from transferzoo.attacks.engine import Attack, craft
    from transferzoo.attacks.techniques import TECHNIQUES
    from transferzoo.attacks.techniques.work_unit import Pool
    from transferzoo.audits.record import AuditRecord
    from transferzoo.base.attack_config import AttackConfig
    from transferzoo.base.budget import Budget
    from transferzoo.base.errors import TransferZooError
    from transferzoo.base.train_config import TrainConfig
    from transferzoo.datasets import READERS
    from transferzoo.defences import DEFENCES
    from transferzoo.evaluation.in_memory import evaluate, measure
    from transferzoo.minimizers import MINIMIZERS
    from transferzoo.models.architectures import ARCHITECTURES
    from transferzoo.models.classifier import Classifier
    from transferzoo.models.wrap import wrap
    from transferzoo.results.tables import tables
    from transferzoo.training.trainer import train
    from transferzoo.zoo.model_source import SOURCES
    from transferzoo.zoo.reader import load_zoo

_PUBLIC = {
    "ARCHITECTURES": "models.architectures",
    "DEFENCES": "defences",
    "MINIMIZERS": "minimizers",
    "READERS": "datasets",
    "SOURCES": "zoo.model_source",
    "TECHNIQUES": "attacks.techniques",
    "Budget": "base.budget",
    "AttackConfig": "base.attack_config",
    "TrainConfig": "base.train_config",
    "TransferZooError": "base.errors",
    "load_zoo": "zoo.reader",
    "Classifier": "models.classifier",
    "Attack": "attacks.engine",
    "AuditRecord": "audits.record",
    "Pool": "attacks.techniques.work_unit",
    "audit": "api",
    "craft": "attacks.engine",
    "evaluate": "evaluation.in_memory",
    "load_images": "api",
    "load_model": "api",
    "load_surrogates": "api",
    "measure": "evaluation.in_memory",
    "read_attack": "api",
    "tables": "results.tables",
    "train": "training.trainer",
    "wrap": "models.wrap",
}
__all__ = [
    "ARCHITECTURES",
    "DEFENCES",
    "MINIMIZERS",
    "READERS",
    "SOURCES",
    "TECHNIQUES",
    "Attack",
    "AttackConfig",
    "AuditRecord",
    "Budget",
    "Classifier",
    "Pool",
    "TrainConfig",
    "TransferZooError",
    "__version__",
    "audit",
    "craft",
    "evaluate",
    "load_images",
    "load_model",
    "load_surrogates",
    "load_zoo",
    "measure",
    "read_attack",
    "tables",
    "train",
    "wrap",
]

register_with_timm()


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'transferzoo' has no attribute '{name}'")
    return getattr(import_module(f"transferzoo.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
