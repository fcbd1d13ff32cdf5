"""The commands that make a run again."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BUDGET_KEYS = ("norm", "epsilon", "step", "steps")
FLAGS = ("images", "images_correct_for", "seed", "batch_size", "precision")


def attack_commands(config: Mapping[str, Any]) -> list[str]:
    """Return the commands that make a run again, one for each budget of its attacks.

    Args:
        config: an `AttackConfig` as JSON.

    A file of target classes, and images or models of the user's own, are not in it: their paths are.
    """
    budgets: dict[tuple[Any, ...], list[str]] = {}
    for attack in config["attacks"]:
        budgets.setdefault(tuple(attack[key] for key in BUDGET_KEYS), []).append(
            attack["techniques"] or "bim"
        )
    return [
        _command(config, dict(zip(BUDGET_KEYS, budget, strict=True)), specs)
        for budget, specs in budgets.items()
    ]


def _command(config: Mapping[str, Any], budget: Mapping[str, Any], attacks: Sequence[str]) -> str:
    arguments = ["transferzoo", "attack", "--dataset", config["dataset"], "--split", config["split"]]
    surrogates, targets = (_short(config[key], config["dataset"]) for key in ("surrogates", "targets"))
    arguments += ["--surrogate", ",".join(surrogates)] + ["--ensemble"] * config["ensemble"]
    arguments += [word for group in _groups(targets) for word in ("--targets", group)]
    arguments += [word for spec in attacks for word in ("--attack", spec)]
    arguments += [word for key, value in budget.items() for word in (f"--{key}", str(value))]
    if config["targeted"]:
        arguments += ["--targeted", "FILE" if config["targeted"] == "file" else config["targeted"]]
    if config["curve"]:
        arguments += ["--curve", ",".join(str(step) for step in config["curve"])]
    arguments += [word for key in FLAGS for word in (f"--{key.replace('_', '-')}", str(config[key]))]
    arguments += ["--compile"] * config["compile"]
    return shlex.join(arguments)


def _short(names: Sequence[str], dataset: str) -> list[str]:
    return [name.removeprefix(f"{dataset}/") for name in names]


def _groups(targets: Sequence[str]) -> list[str]:
    """Return targets joined by commas; a defence would hold for all targets before it."""
    return list(targets) if any("|" in name for name in targets) else [",".join(targets)]
