"""What the engine holds techniques to while they work, since a table of a wrong one looks like any other.

What they return has the shape of what they are given, which stays as it is; they make no more gradients than
their cost says, and draw from no generator that images share.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from transferzoo.base.errors import TransferZooError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transferzoo.attacks.composition import Composition
    from transferzoo.attacks.technique import Technique
    from transferzoo.attacks.techniques import Oracle
    from transferzoo.attacks.techniques.work_unit import WorkUnit


class TechniqueError(TransferZooError):
    """A technique does not keep its contract."""


def checked(technique: Technique, function: object, unit: WorkUnit) -> Oracle:
    """Return what a technique made, a function of images or directions, with checks of what it gives.

    Args:
        technique: the technique.
        function: (N, C, H, W) → the same shape.
        unit: what is attacked.

    Raises:
        TechniqueError: it is no function, or when called: it returns anything else, or changes its argument.
    """
    if not callable(function):
        raise TechniqueError(
            f"'{technique.name}' gives {type(function).__name__} instead of a function",
            expected="one of images, (N, C, H, W) → the same shape",
        )

    def held(images: Tensor) -> Tensor:
        before = images._version, unit.images._version
        found = function(images)
        if not (isinstance(found, Tensor) and found.shape == images.shape and found.is_floating_point()):
            raise TechniqueError(
                f"'{technique.name}' returns {_described(found)}",
                expected=f"floating-point numbers of the shape {tuple(images.shape)} that it was given",
            )
        if (images._version, unit.images._version) != before:
            raise TechniqueError(
                f"'{technique.name}' changes in place what it is given", expected="a tensor of its own"
            )
        return found

    return held


def check_objective(value: Tensor, images: Tensor) -> None:
    """Check that what is maximised has a number an image: a mean would depend on the images around it.

    Raises:
        TechniqueError: it has not.
    """
    if value.shape != images.shape[:1]:
        raise TechniqueError(
            f"what is maximised of {len(images)} images has the shape {tuple(value.shape)}",
            expected=f"({len(images)},), one number an image, not reduced",
        )


def check_cost(composition: Composition, unit: WorkUnit, models: int) -> None:
    """Check that techniques asked for no more gradients than their cost says.

    Raises:
        TechniqueError: they did; tables, and attacks of equal cost, would say less than was spent.
    """
    most = composition.asked(unit.steps, models)
    if unit.asked > most * len(unit.images):
        asked = unit.asked / len(unit.images)
        raise TechniqueError(
            f"'{composition.canonical}' asked for {asked:g} gradients an image",
            expected=f"{most} at most, by the `cost` of its techniques",
            hint="`cost` is how many gradients a technique makes of one; see `techniques/__init__.py`",
        )


def shared_draws(device: torch.device) -> list[Tensor]:
    """Return the states of PyTorch's generators that all code shares, on the CPU and the device of images."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def drew(before: list[Tensor], device: torch.device) -> bool:
    """Return whether one of these generators is not any more as it was."""
    return not all(map(torch.equal, before, shared_draws(device)))


@contextmanager
def no_shared_draws(composition: Composition, unit: WorkUnit) -> Iterator[None]:
    """Check that techniques draw from no shared generator inside; a surrogate may, and then nothing is known.

    Raises:
        TechniqueError: one did, so that its images depend on more than the seed.
    """
    before = shared_draws(unit.images.device)
    yield
    if not unit.surrogate_draws and drew(before, unit.images.device):
        raise TechniqueError(
            f"a technique of '{composition.canonical}' draws from PyTorch's global generator",
            expected="`unit.uniform`, `normal` or `noise`, which draw for each image by itself",
        )


def _described(found: object) -> str:
    if not isinstance(found, Tensor):
        return type(found).__name__
    return f"{str(found.dtype).removeprefix('torch.')} of the shape {tuple(found.shape)}"
