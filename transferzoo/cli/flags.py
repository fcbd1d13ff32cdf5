"""What the texts of some flags of `transferzoo attack` mean."""

from __future__ import annotations

from transferzoo.base.errors import UsageError

AUTO = "auto"
"""What stands for the best of an option on this machine."""


def read_batch_size(text: str | None) -> int | None:
    """Read `--batch-size`; None where nothing, or "auto", was said.

    Raises:
        UsageError: neither that nor a number.
    """
    if text in (None, AUTO):
        return None
    try:
        return int(str(text))
    except ValueError:
        raise UsageError(
            "cannot read --batch-size", expected=f"a number of images or {AUTO}", got=f"'{text}'"
        ) from None


def read_steps(text: str | None) -> tuple[int, ...] | None:
    """Read the steps of a curve."""
    if text is None:
        return None
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise UsageError(
            "cannot read --curve", expected="steps joined by commas, as in 1,5,10", got=f"'{text}'"
        ) from None


def read_rule(text: str | None) -> str | None:
    """Return how the target class is chosen: a word, or "file" for anything that is none."""
    from transferzoo.base.attack_config import TARGET_CLASS_RULES

    return text if text is None or text in TARGET_CLASS_RULES else "file"


def read_precision(text: str | None) -> str | None:
    """Read `--precision`; "auto" becomes the best one of the processor.

    It is asked for nothing else: rounded weights give other images, so that one command would make other
    tables on other processors.
    """
    if text != AUTO:
        return text
    from transferzoo.base.distributed import this_device
    from transferzoo.models.optimize import best_precision

    return best_precision(this_device())
