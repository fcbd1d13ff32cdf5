"""Where the weights of a model are in a file that was saved with more around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "model_ema", "state_dict_ema")
"""Keys under which training scripts save weights, those that are taken first in front."""
PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and modules around a model put before its names."""


@dataclass(frozen=True)
class Place:
    """Where weights are.

    Attributes:
        under: keys to follow from the outside to the state dict.
        prefix: what the names of the model's own weights begin with.
        beside: further keys that hold weights too.
        left_out: how many entries of the state dict do not begin so.
    """

    under: tuple[str, ...] = ()
    prefix: str = ""
    beside: tuple[str, ...] = ()
    left_out: int = 0

    def __str__(self) -> str:
        """Return it in words; empty where the weights lie bare."""
        parts = [f"the weights are under '{'.'.join(self.under)}'"] if self.under else []
        parts += [f"'{self.prefix}' is cut off their names"] if self.prefix else []
        parts += [f"{self.left_out} entries without it are left out"] if self.left_out else []
        parts += [f"those under '{key}' are not taken" for key in self.beside]
        return ", ".join(parts)


def locate(content: Any, names: Collection[str]) -> Place:
    """Return where the weights of a model are in what a file holds.

    Args:
        content: of the file.
        names: of the model's weights.
    """
    under: list[str] = []
    beside: list[str] = []
    while isinstance(content, Mapping):
        found = [key for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        if not found:
            break
        under.append(found[0])
        beside += found[1:]
        content = content[found[0]]
    given = [str(name) for name in content] if isinstance(content, Mapping) else []
    prefix = _prefix(given, names)
    left_out = sum(not name.startswith(prefix) for name in given)
    return Place(tuple(under), prefix, tuple(beside), left_out)


def _prefix(given: Collection[str], names: Collection[str]) -> str:
    """Return what stands before the names of a model's weights; empty where nothing known does."""
    prefix = ""
    while not any(prefix + name in given for name in names):
        more = next((p for p in PREFIXES if any(name.startswith(prefix + p) for name in given)), None)
        if more is None:
            return ""
        prefix += more
    return prefix
