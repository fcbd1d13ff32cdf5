"""What a weight file of others holds: a model's own tensors, wherever they are in it, and nothing else."""

from __future__ import annotations

import re
import warnings
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import ModelError, few
from transferzoo.models.state_dict import read_weights
from transferzoo.models.wrapped_weights import Place, locate

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from transferzoo.zoo.schema import WeightFile


def own_weights(file: Path, weights: WeightFile, model: nn.Module) -> tuple[dict[str, Tensor], Place]:
    """Return the model's own weights by their names in the model, and where they were.

    Where the entry of the file does not say where they are, it is found out.

    Raises:
        ModelError: the file is damaged, would run code, or holds something else than the model's weights.
    """
    content: Any = _unpickled(file) if weights.pickle else read_weights(file)
    stated = Place(weights.under, weights.prefix)
    found = Place() if stated != Place() else locate(content, model.state_dict().keys())
    under, prefix = found.under or stated.under, found.prefix or stated.prefix
    for key in under:
        if not isinstance(content, dict) or key not in content:
            raise ModelError(f"{file} does not hold weights under '{key}'", expected=_keys(content))
        content = content[key]
    if not isinstance(content, dict):
        raise ModelError(
            f"{file} holds no weights",
            expected="names and tensors",
            got=type(content).__name__,
            hint="save the model's `state_dict()`",
        )
    own = {str(name).removeprefix(prefix): t for name, t in content.items() if str(name).startswith(prefix)}
    if not own:
        raise ModelError(f"{file} holds no weights that begin with '{prefix}'", expected=_keys(content))
    for name, tensor in own.items():
        if not _plain(tensor):
            raise ModelError(
                f"'{name}' in {file} is no weight", expected="a tensor", got=type(tensor).__name__
            )
    return own, found


def _keys(content: Any) -> str:
    """Return the first keys of what was found, for a sentence."""
    keys = [f"'{key}'" for key in content] if isinstance(content, dict) else []
    return "one of " + few(keys, 8) if keys else "a mapping"


def _plain(value: Any) -> bool:
    """Return whether a value is a dense tensor of real numbers in main memory."""
    import torch

    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_quantized or value.is_complex())
    )


def _unpickled(file: Path) -> Any:
    """Read a pickle as tensors, numbers, text and plain collections of them, and nothing else.

    Raises:
        ModelError: it needs anything else, or is damaged.
    """
    import torch

    try:
        # warnings are of pickle protocols; options of the training stand beside the weights
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals([Namespace]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may fail anywhere in torch, pickle and zipfile
        wants = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = (
            f"it needs '{wants[1]}', so it could run code" if wants else "it is damaged or no such pickle"
        )
        raise ModelError(
            f"the pickle {file} is not read: {reason}",
            expected="tensors, numbers and text only",
            hint="save its `state_dict()` alone, or as safetensors; or copy it again",
        ) from None
