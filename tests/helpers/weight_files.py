"""A small file of weights, and what a zoo file says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import timm

from helpers.original_networks import (
    alive,
)
from transferzoo.zoo.schema import WeightFile

if TYPE_CHECKING:
    from torch import Tensor

FILE = WeightFile(
    file="w.bin",
    architecture="small_vgg:width=4",
    pickle=True,
    input_size=(1, 28, 28),
    mean=(0.3,),
    std=(0.4,),
)


def tiny() -> dict[str, Tensor]:
    return dict(alive(lambda: timm.create_model("small_vgg", width=4)).state_dict())
