"""Schedules: what the learning rate and the radius are at a fraction of the training.

Nothing here imports torch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from transferzoo.base.train_config import TrainConfig
    from transferzoo.minimizers import Averaging

SHAPES: dict[str, Callable[[TrainConfig, float], float]] = {
    "constant": lambda config, at: 1.0,
    "step": lambda config, at: config.decay ** sum(at >= fraction for fraction in config.decay_at),
    "cosine": lambda config, at: 0.5 * (1 + math.cos(math.pi * at)),
    "linear": lambda config, at: 1 - at,
}
"""Schedule → share of the initial learning rate at a fraction of the training, warm-up aside."""

LATE = 0.8
"""Fraction of the training after which a radius that falls late falls."""


def learning_rate(config: TrainConfig, at: float) -> float:
    """Return the learning rate.

    The warm-up rises linearly from a hundredth of the rate. Step decays are at fractions of the whole
    training; the other shapes run from the end of the warm-up to the end of the training.

    Args:
        config: the training.
        at: fraction of the training that is done, in [0, 1).
    """
    if at < config.warmup:
        return config.learning_rate * max(at / config.warmup, 0.01)
    if config.schedule != "step":
        at = (at - config.warmup) / (1 - config.warmup)
    return config.learning_rate * SHAPES[config.schedule](config, at)


def step_rate(config: TrainConfig, averaging: Averaging | None, at: float) -> float:
    """Return the learning rate of a step, also where weights are averaged or collected at one of its own.

    Args:
        config: the training.
        averaging: the minimizer's.
        at: fraction of the training that is done; from 1 on weights are collected.
    """
    if config.collect and at >= 1:
        return config.collect.lr
    if averaging and averaging.rate and at >= averaging.start:
        return averaging.rate
    return learning_rate(config, at)


def collects(config: TrainConfig, averaging: Averaging | None, step: int, steps_per_epoch: int) -> bool:
    """Return whether the weights after a step, from 0, are averaged or collected.

    Args:
        config: the training.
        averaging: the minimizer's.
        step: which.
        steps_per_epoch: how many an epoch has.
    """
    at = step / (steps_per_epoch * config.epochs)
    if averaging and at >= averaging.start:
        times = averaging.per_epoch
    elif config.collect and at >= 1:
        times = config.collect.per_epoch
    else:
        return False
    index = step % steps_per_epoch
    return (index + 1) * times // steps_per_epoch > index * times // steps_per_epoch


def rho_factor(config: TrainConfig, at: float) -> float:
    """Return the share of its radius that a sharpness-aware minimizer uses, in [rho_floor, 1].

    `rho_schedule` "rate": ρ = ρ_min + (ρ_max − ρ_min)(η − η_min) / (η_max − η_min) with the learning rate η,
    as in GSAM; η_min is the schedule's last. "late": constant for four fifths of the training, then a cosine
    to zero, as in LE-SAM. `rho_warmup`: a linear rise over that fraction of the training.

    Args:
        config: the training.
        at: fraction of the training that is done, in [0, 1).
    """
    factor = 1.0
    if config.rho_schedule == "rate":
        last = learning_rate(config, 1 - 1e-12)
        span = config.learning_rate - last
        factor = (learning_rate(config, at) - last) / span if span > 0 else 1.0
    elif config.rho_schedule == "late":
        factor = SHAPES["cosine"](config, max(0.0, (at - LATE) / (1 - LATE)))
    if at < config.rho_warmup:
        factor = min(factor, at / config.rho_warmup)
    return config.rho_floor + (1 - config.rho_floor) * max(0.0, factor)
