"""Settings that have no effect beside the others: who gives one has meant something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.base.errors import UsageError
from transferzoo.base.train_config import TrainConfig, unused_settings
from transferzoo.minimizers import read_rule

if TYPE_CHECKING:
    from collections.abc import Iterable

OF_THE_RADIUS = ("rho_schedule", "rho_warmup", "rho_floor", "sync_perturbation")


def refuse_unused(config: TrainConfig, given: Iterable[str]) -> None:
    """Refuse settings that a user gives and the training has no use for, but for what they are by default.

    Args:
        config: of the training.
        given: fields of it that the user set.

    Raises:
        UsageError: one has no effect.
    """
    needed = _needed(config)
    for name in given:
        if name in needed and getattr(config, name) != TrainConfig.model_fields[name].default:
            expected, got = needed[name]
            raise UsageError(f"{name} has no effect here", expected=expected, got=got, hint="leave it out")


def _needed(config: TrainConfig) -> dict[str, tuple[str, str]]:
    """Return setting without effect → what would give it one, and what there is instead."""
    rule = read_rule(config.minimizer)
    steps = ("a rate that decays in steps, schedule=step", f"schedule={config.schedule}")
    found = dict.fromkeys(unused_settings(config.schedule), steps)
    if rule.base != "sgd":
        found["momentum"] = ("the base optimizer sgd", rule.base)
    if rule.passes == 1 and not rule.schedule and not {"rho", "sigma"} & {*vars(rule)}:
        sharpness = ("a minimizer that perturbs the weights, such as sam", rule.name)
        found |= dict.fromkeys(OF_THE_RADIUS, sharpness)
    elif config.rho_schedule == "constant" and not config.rho_warmup:
        found["rho_floor"] = ("a radius that changes, by rho_schedule or rho_warmup", "a constant one")
    return found
