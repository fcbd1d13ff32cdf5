"""How large a network will be, before memory is taken: a stranger's config.json may ask for anything.

It is built on PyTorch's meta device first, where tensors have shapes and no content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import UsageError
from transferzoo.base.main_memory import main_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import nn

MOST_TENSORS = 5_000
"""Weights and biases of a network; one of the deepest that timm has, ResNet-RS-420, has 1,833."""
LARGEST_ARGUMENT = 100_000
"""Layers, channels, pixels, classes."""
_fitting: set[str] = set()
"""What this process has found to fit: a network that is loaded again is not weighed again."""


def check_size(
    name: str, classes: int | None, arguments: Mapping[str, Any], make: Callable[[], nn.Module]
) -> None:
    """Check that a network fits into main memory.

    Args:
        name: of its architecture.
        classes: how many it tells apart; None for the architecture's own number.
        arguments: of it.
        make: builds it, on the default device.

    Raises:
        UsageError: it does not, or an argument is beyond `LARGEST_ARGUMENT`.
    """
    import torch
    from torch.nn.modules.module import register_module_parameter_registration_hook

    if large := next((n for n in _numbers(dict(arguments)) if abs(n) > LARGEST_ARGUMENT), None):
        raise UsageError(
            f"an argument of architecture '{name}' is out of range",
            expected=f"numbers up to {LARGEST_ARGUMENT:,}",
            got=f"{large:g}",
        )
    if not arguments.keys() - {"in_chans"}:
        return  # as timm has it
    asked = repr((name, classes, sorted(arguments.items())))
    if asked in _fitting:
        return
    most, count, total = main_memory() // 4, 0, 0

    def weigh(_module: nn.Module, _name: str, weight: nn.Parameter | None) -> None:
        nonlocal count, total
        count, total = count + 1, total + (0 if weight is None else weight.numel())
        if count > MOST_TENSORS or total > most:
            raise _TooLargeError

    hook = register_module_parameter_registration_hook(weigh)
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            make()
    except _TooLargeError:
        raise UsageError(
            f"architecture '{name}' is too large with these arguments",
            expected=f"at most {MOST_TENSORS:,} tensors and {most:,} numbers, which fit into this machine",
            got="more",
        ) from None
    except Exception:  # what cannot be made at all is told where it is made for use
        pass
    else:
        _fitting.add(asked)
    finally:
        hook.remove()


class _TooLargeError(Exception):
    """Ends a construction; no base class that a network's own code catches."""


def _numbers(value: Any) -> Iterator[int | float]:
    """Yield every number in nested collections."""
    if isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _numbers(part)
    elif isinstance(value, int | float):
        yield value
