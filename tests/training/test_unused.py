"""Settings without effect: refused where the user gives them, on the command line and in --finetune."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from helpers.refusals import refused
from transferzoo.base.errors import UsageError
from transferzoo.base.train_config import TrainConfig
from transferzoo.training.unused import refuse_unused

if TYPE_CHECKING:
    from pathlib import Path

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
    {"rho_schedule": "constant", "decay": 0.1, "schedule": "cosine"},
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
    """Nor what undoes a recipe's, which is as it would be without."""
    refuse_unused(config(values), values)


PLUGIN = """
from dataclasses import dataclass
from typing import ClassVar
from transferzoo.minimizers import MINIMIZERS, Rule

@MINIMIZERS.register("noisy")
@dataclass(frozen=True)
class Noisy(Rule):
    passes: ClassVar[float] = 1
    rho: float = 0.1

    def gradients(self, minimizer, closure):
        return closure()
"""


def test_a_plugin_of_one_pass_may_have_a_radius(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(PLUGIN)
    training = ("train", "--plugin", "noisy.py", "--minimizer", "noisy", "--dry-run", "--json")
    assert json.loads(cli(*training, "--rho-warmup", 0.3).out)["config"]["rho_warmup"] == 0.3


def test_the_command_line_says_so(cli: Run) -> None:
    refused(
        cli("train", "--rho-warmup", 0.3, "--minimizer", "sgd", "--dry-run"), 2, "rho_warmup has no effect"
    )
    attack = ("attack", "-s", "resnet50-sgd", "-t", "vgg", "--dry-run", "--finetune")
    refused(cli(*attack, "sam:rho=0.4,decay=0.5"), 2, "decay has no effect")
    refused(cli(*attack, "sgd:rho_warmup=0.5"), 2, "rho_warmup has no effect")
