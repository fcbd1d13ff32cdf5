"""What a training loop is set up with: base optimizer, attack, and the sizes that have to fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from transferzoo.attacks.composition import compose
from transferzoo.attacks.engine import Attack
from transferzoo.base.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from transferzoo.base.distributed import Team
    from transferzoo.base.train_config import Adversarial, Collection, TrainConfig
    from transferzoo.minimizers import Averaging


def perturbed_together(config: TrainConfig, team: Team) -> dict[str, int]:
    """Return m, the images that share a perturbation, as a recipe has it; empty for the whole batch.

    Raises:
        UsageError: processes and micro-batches do not divide the batch.
    """
    share = config.batch_size // team.size
    size = config.micro_batch or share
    if config.batch_size % team.size or share % size:
        raise UsageError(
            "the batch cannot be shared out evenly",
            expected=f"a batch that {team.size} process(es) with micro-batches of {size} divide",
            got=f"{config.batch_size} images",
            hint="change --batch-size or --micro-batch",
        )
    return {} if config.sync_perturbation or size == config.batch_size else {"m": size}


def check_collections(plan: Averaging | Collection | None, steps_per_epoch: int, steps: int) -> None:
    """Check that as many weights are collected as were asked for.

    Raises:
        UsageError: more an epoch than it has steps, or none before the training ends.
    """
    if plan is not None and plan.per_epoch > steps_per_epoch:
        most = f"per_epoch of at most {steps_per_epoch}, an epoch's steps"
        raise UsageError("weights cannot be collected that often", expected=most, got=str(plan.per_epoch))
    if (start := getattr(plan, "start", 0.0)) > (last := (steps - 1) / steps):
        most = f"a start of at most {last:.4g}, the last step's"
        raise UsageError("no weights would be averaged", expected=most, got=str(start))


def base_optimizer(name: str, model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimizer that makes the steps, "sgd" or "adamw"."""
    if name == "adamw":
        return torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
    return torch.optim.SGD(
        model.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )


def attack_of(adversarial: Adversarial | None) -> Attack | None:
    """Return the attack that makes training images adversarial; None for clean ones."""
    return None if adversarial is None else Attack(compose(""), adversarial.exact)
