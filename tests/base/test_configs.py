"""Configurations: fingerprints that follow every field, short forms, and sentences for what is wrong."""

from __future__ import annotations

import json

import pytest

from transferzoo.base.attack_config import AttackConfig, AttackSpec
from transferzoo.base.errors import UsageError
from transferzoo.base.frozen_model import canonical
from transferzoo.base.train_config import Adversarial, Collection, TrainConfig

SPEC = AttackSpec(techniques="mi", norm="linf", epsilon="8/255", step="eps/10", steps=10)
CONFIG = AttackConfig(
    dataset="d",
    split="test",
    surrogates=("d/a",),
    targets=("d/b",),
    attacks=(SPEC,),
    images=100,
)


def test_fingerprint_follows_every_field() -> None:
    others = {
        "dataset": "e",
        "split": "train",
        "surrogates": ("d/c",),
        "targets": ("d/b", "d/c"),
        "attacks": (SPEC, SPEC),
        "ensemble": True,
        "targeted": "next",
        "curve": (1,),
        "images": 99,
        "images_correct_for": "none",
        "from_end": True,
        "seed": 1,
        "batch_size": 7,
        "precision": "bf16",
        "compile": True,
        "protocol": "paper",
    }
    assert others.keys() == AttackConfig.model_fields.keys()
    prints = {CONFIG.model_copy(update={key: value}).fingerprint() for key, value in others.items()}
    assert len(prints | {CONFIG.fingerprint()}) == len(others) + 1
    budgets = {"techniques": "di", "norm": "l2", "epsilon": "4/255", "step": "eps", "steps": 11}
    assert budgets.keys() == AttackSpec.model_fields.keys()
    changed = {SPEC.model_copy(update={key: value}).fingerprint() for key, value in budgets.items()}
    assert len(changed | {SPEC.fingerprint()}) == len(budgets) + 1
    assert AttackConfig(**json.loads(canonical(CONFIG.key()))) == CONFIG


def test_fingerprint_follows_every_field_of_a_training() -> None:
    plain = TrainConfig(dataset="d", architecture="a", validation=9, validators=("d/v",))
    others: dict[str, object] = {
        "dataset": "e",
        "architecture": "b",
        "start": "m",
        "labels_from": "m",
        "minimizer": "sam",
        "epochs": 3,
        "batch_size": 64,
        "micro_batch": 8,
        "sync_perturbation": True,
        "learning_rate": 0.2,
        "momentum": 0.5,
        "weight_decay": 0,
        "clip": 1,
        "schedule": "linear",
        "warmup": 0.1,
        "decay_at": (0.5,),
        "decay": 0.5,
        "rho_schedule": "rate",
        "rho_warmup": 0.1,
        "rho_floor": 0.1,
        "augment": "none",
        "auto_augment": "rand-m9",
        "mixup": 0.1,
        "cutmix": 1,
        "label_smoothing": 0.1,
        "input_gradient": 0.1,
        "adversarial": "l2:0.1",
        "collect": "lgv",
        "validation": 8,
        "save_every": "epoch",
        "select": "accuracy",
        "validators": ("d/w",),
        "tune": (0.1, 0.2),
        "precision": "fp64",
        "compile": True,
        "storage": "fp16",
        "seed": 1,
    }
    assert others.keys() == TrainConfig.model_fields.keys()
    values = plain.model_dump(mode="json")
    prints = {TrainConfig.of(**{**values, key: value}).fingerprint() for key, value in others.items()}
    assert len(prints | {plain.fingerprint()}) == len(others) + 1
    assert TrainConfig(**json.loads(canonical(plain.key()))) == plain


def test_short_forms() -> None:
    values = {"dataset": "d", "architecture": "a"}
    for text, adversarial in (
        ("l2:0.1", Adversarial(norm="l2", epsilon="0.1", step="eps*2/3", steps=3)),
        ("linf:8/255,steps=7", Adversarial(norm="linf", epsilon="8/255", steps=7)),
        ("linf:8/255,step=2/255", Adversarial(norm="linf", epsilon="8/255", step="2/255")),
    ):
        assert TrainConfig.of(**values, adversarial=text).adversarial == adversarial
    for text, collection in (
        ("lgv", Collection(epochs=10, per_epoch=4, lr=0.05)),
        ("lgv:epochs=2,per-epoch=3,lr=0.1", Collection(epochs=2, per_epoch=3, lr=0.1)),
        ("lgv:per_epoch=3", Collection(per_epoch=3)),
    ):
        assert TrainConfig.of(**values, collect=text).collect == collection


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epochs": 0}, "'epochs' is wrong: expected greater than or equal to 1, got 0"),
        ({"epochs": "many"}, "'epochs' is wrong: expected a valid integer"),
        ({"learning_rate": float("nan")}, "expected a finite number, got nan"),
        ({"decay_at": (0.5, 1.5)}, "'decay_at' is wrong: expected fractions of the training"),
        ({"select": "accuracy"}, "images to select by: validation above 0"),
        ({"select": "transfer", "validation": 9}, "models to select by: validators"),
        ({"tune": (0.1,), "validation": 9}, "models to select by: validators"),
        ({"augment": "flip"}, "expected 'crop-flip', 'crop' or 'none', got 'flip'"),
        ({"epoch": 3}, "'epoch' is wrong: expected extra inputs are not permitted"),
    ],
)
def test_wrong_option(values: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("(", r"\(")):
        TrainConfig.of(dataset="d", architecture="small_vgg", **values)
