"""What ends a training before its time: numbers that are no longer finite, and memory that runs out."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING

from transferzoo.base.errors import TransferZooError
from transferzoo.models.batches import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transferzoo.minimizers import Rule


def diverged(sign: str, step: int, rule: Rule) -> TransferZooError:
    """Return the error that ends a run whose numbers are no longer finite after a step, from 1.

    Args:
        sign: what shows it.
        step: which.
        rule: the minimizer's, which may have a radius to lower.
    """
    radii = [option.name for option in fields(rule) if option.name.startswith("rho")]
    return TransferZooError(
        f"training diverged at step {step}: {sign}",
        hint=f"lower {' or '.join(['the learning rate', *radii])}; the state kept last, if any, stays",
    )


@contextmanager
def within_memory(step: int, size: int, share: int) -> Iterator[None]:
    """Say in a sentence that memory was too small for a step; what would fit is another training.

    Args:
        step: which, from 1.
        size: images at once, a micro-batch.
        share: images of this process's share of a batch.

    Raises:
        TransferZooError: memory runs out.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        smaller = next((n for n in range(size // 2, 0, -1) if share % n == 0), 0)
        parts = f"add --micro-batch {smaller}: the gradients of such parts of a batch are averaged"
        raise TransferZooError(
            f"memory runs out at step {step}, with {size} images at once",
            hint=parts if smaller else "choose a smaller network or smaller images",
        ) from None
