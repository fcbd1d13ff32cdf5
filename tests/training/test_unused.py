"""Settings without effect: refused where the user gives them, on the command line and in --finetune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from helpers.refusals import refused
from transferzoo.base.errors import UsageError
from transferzoo.base.train_config import TrainConfig
from transferzoo.training.unused import refuse_unused

if TYPE_CHECKING:
    from helpers.refusals import Run

WITHOUT: list[tuple[dict[str, Any], str]] = [
    ({"rho_schedule": "late"}, "expected a minimizer that perturbs the weights, such as sam, got sgd"),
    ({"rho_warmup": 0.3, "minimizer": "swa"}, "got swa"),
    ({"sync_perturbation": True}, "got sgd"),
    ({"rho_floor": 0.5, "minimizer": "sam"}, "expected a radius that changes.*got a constant one"),
    ({"momentum": 0.5, "minimizer": "adamw"}, "expected the base optimizer sgd, got adamw"),
    ({"decay": 0.5, "schedule": "cosine"}, "expected a rate that decays in steps.*got schedule=cosine"),
    ({"decay_at": (0.5,), "schedule": "constant"}, "got schedule=constant"),
]
WITH: list[dict[str, Any]] = [
    {"rho_schedule": "late", "rho_floor": 0.1, "minimizer": "sam"},
    {"rho_warmup": 0.3, "rho_floor": 0.1, "sync_perturbation": True, "minimizer": "looksam"},
    {"momentum": 0.5, "decay": 0.5, "decay_at": (0.5,)},
    {"momentum": 0.5, "minimizer": "wasam"},
]


def config(values: dict[str, Any]) -> TrainConfig:
    return TrainConfig.of(dataset="fashion-mnist", architecture="small_vgg", **values)


@pytest.mark.parametrize(("values", "message"), WITHOUT)
def test_what_has_no_effect_is_refused(values: dict[str, Any], message: str) -> None:
    first, *others = values
    with pytest.raises(UsageError, match=f"^{first} has no effect here: .*{message}; leave it out"):
        refuse_unused(config(values), [first])
    refuse_unused(config(values), others)


@pytest.mark.parametrize("values", WITH)
def test_what_has_one_is_not(values: dict[str, Any]) -> None:
    refuse_unused(config(values), values)


def test_the_command_line_says_so(cli: Run) -> None:
    refused(
        cli("train", "--rho-warmup", 0.3, "--minimizer", "sgd", "--dry-run"), 2, "rho_warmup has no effect"
    )
    attack = ("attack", "-s", "resnet50-sgd", "-t", "vgg", "--dry-run", "--finetune")
    refused(cli(*attack, "sam:rho=0.4,decay=0.5"), 2, "decay has no effect")
    refused(cli(*attack, "sgd:rho_warmup=0.5"), 2, "rho_warmup has no effect")
