"""Protocols: how a paper or a tool attacks and counts, by a name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from transferzoo.base.budget import PartialBudget, check_readable
from transferzoo.base.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transferzoo.zoo.reader import Zoo


class Protocol(PartialBudget):
    """What stands in the place of a data set's own defaults; flags stand in the place of both.

    A budget that a preset has of its own, one step for `fgsm`, is that of the preset still.

    Attributes:
        about: what it follows, with the source, and where it does not.
        attacks: spec strings of attacks where none is named.
        targets: data set → names of targets where none is named; those of the data set elsewhere.
        split: data set → the split whose images are attacked.
        images: how many images are attacked at most.
        images_correct_for: see `AttackConfig`.
    """

    about: str
    attacks: tuple[str, ...] = ()
    targets: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    split: dict[str, str] = Field(default_factory=dict)
    images: int | None = Field(default=None, ge=1)
    images_correct_for: Literal["all", "target", "none"] | None = None

    @model_validator(mode="after")
    def _readable(self) -> Protocol:
        if self.norm and self.epsilon is None:
            raise ValueError("an epsilon too, where a norm is said")
        check_readable(self.norm or "linf", self.epsilon or "1", self.step or "eps")
        return self

    def defaults(self, dataset: str) -> dict[str, Any]:
        """Return what it says in the place of the defaults of a data set."""
        counted = self.model_dump(include={"images", "images_correct_for"}, exclude_none=True)
        split = {"split": self.split[dataset]} if dataset in self.split else {}
        return {**self.said, **counted, **split}


def follow(zoo: Zoo, name: str, dataset: str) -> Zoo:
    """Return a zoo in which a protocol's values are a data set's defaults.

    Raises:
        UnknownNameError: there is no such protocol, or no such data set.
    """
    protocol = find_protocol(zoo, name)
    spec = zoo.dataset(dataset)
    attack = spec.attack.model_copy(update=protocol.defaults(dataset))
    return replace(zoo, datasets={**zoo.datasets, dataset: spec.model_copy(update={"attack": attack})})


def find_protocol(zoo: Zoo, name: str) -> Protocol:
    """Return a protocol.

    Raises:
        UnknownNameError: there is none of that name.
    """
    if name not in zoo.protocols:
        raise UnknownNameError("protocol", name, zoo.protocols)
    return zoo.protocols[name]


def label(zoo: Zoo, name: str, dataset: str, set_by_user: Iterable[str]) -> str:
    """Return what records say of a run: the protocol, and what a user has set otherwise than it has.

    Args:
        zoo: where it stands.
        name: the protocol.
        dataset: of the run.
        set_by_user: names of defaults that flags replace; "targets" too.
    """
    protocol = find_protocol(zoo, name)
    told = [*protocol.defaults(dataset), *(("targets",) if protocol.targets else ())]
    missed = ["targets"] if protocol.targets and dataset not in protocol.targets else []
    changed = list(dict.fromkeys([*(part for part in told if part in set(set_by_user)), *missed]))
    return f"{name}, but for {', '.join(changed)}" if changed else name
