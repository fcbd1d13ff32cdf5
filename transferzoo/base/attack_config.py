"""The configuration of an attack run. Nothing here imports torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from transferzoo.base.budget import WrittenBudget
from transferzoo.base.frozen_model import FrozenModel

TARGET_CLASS_RULES = ("random", "next", "least-likely")
"""Ways to choose the target class, a list in a file aside."""


class AttackSpec(WrittenBudget):
    """One attack of a run: its budget, and what it does.

    Attributes:
        techniques: canonical spec, as `compose` reads it; empty for plain BIM.
    """

    techniques: str


class AttackConfig(FrozenModel):
    """Everything the result of an attack run depends on, weights and images aside.

    Attributes:
        dataset: name in the zoo.
        split: which split's images.
        surrogates: models the images are crafted on.
        ensemble: on all surrogates together, rather than on one after the other.
        targets: models they are tried on.
        attacks: what is done to the images, each on every surrogate.
        targeted: how the class to be predicted is chosen; empty where any wrong class will do. "random" and
            "next" go by seed and label, "least-likely" by the first surrogate, "file" by a list.
        curve: steps after which success is measured too.
        images: how many images at most.
        images_correct_for: only images that all targets ("all"), the cell's own target ("target"), or no
            one in particular ("none") must classify correctly.
        from_end: draw the images from the end of the order that the seed gives, those that other runs on
            the same candidates come to last.
        seed: of the draw of images and of every random technique.
        batch_size: images in a work unit.
        precision: of the surrogates' weights, "fp32" or "bf16"; targets have fp32.
        compile: let torch.compile make the surrogates faster.
        protocol: name of the protocol that is followed, and what is not as it has it; empty for none.
    """

    dataset: str
    split: str
    surrogates: tuple[str, ...] = Field(min_length=1)
    ensemble: bool = False
    targets: tuple[str, ...] = Field(min_length=1)
    attacks: tuple[AttackSpec, ...] = Field(min_length=1)
    targeted: Literal["", "random", "least-likely", "next", "file"] = ""
    curve: tuple[int, ...] = ()
    images: int = Field(ge=1)
    images_correct_for: Literal["all", "target", "none"] = "all"
    from_end: bool = False
    seed: int = Field(default=0, ge=0)
    batch_size: int = Field(default=100, ge=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    protocol: str = ""
