"""Weights by name, as safetensors files and as tensors: written, read, and seen to be finite and to fit.

Nothing here imports torch before there is something to read or write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.base.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from torch import Tensor, nn


def serialised(model: nn.Module, *, half: bool) -> bytes:
    """Return the content of a weight file.

    Args:
        model: whose weights and buffers.
        half: store floating-point numbers as float16 rather than float32.

    Raises:
        ModelError: a weight is not finite (float16 overflow included).
    """
    from safetensors.torch import save as serialise

    weights = {name: _stored(tensor, half) for name, tensor in model.state_dict().items()}
    hint = "float16 ends at 65504; store with --storage fp32" if half else ""
    check_finite(weights, "the model", hint=hint)
    return serialise(weights, metadata={"format": "pt"})


def _stored(tensor: Tensor, half: bool) -> Tensor:
    import torch

    tensor = tensor.detach().cpu().contiguous()
    return tensor.to(torch.float16 if half else torch.float32) if tensor.is_floating_point() else tensor


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        ModelError: it is absent or none, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"cannot read the weights {path}: {error}",
            hint="the file may be truncated; copy or train it again",
        ) from None


def check_finite(weights: Mapping[str, Tensor], of: str, hint: str = "") -> None:
    """See that every weight is a number.

    Raises:
        ModelError: one is not; `of` says whose it is.
    """
    for name, tensor in weights.items():
        if tensor.is_floating_point() and tensor.numel() and not _is_finite(tensor):
            raise ModelError(
                f"weight '{name}' of {of} is not finite",
                expected="numbers",
                got="NaN or infinity",
                hint=hint,
            )


def _is_finite(tensor: Tensor) -> bool:
    """Return whether all numbers are finite; `isfinite` would take more memory than they do."""
    import torch

    if tensor.element_size() == 1:  # PyTorch stores numbers of 8 bits and compares none
        tensor = tensor.float()
    return bool(torch.stack(tensor.aminmax()).isfinite().all())


def check_fit(
    own: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    what: str,
    hint: str,
    fresh: AbstractSet[str] = frozenset(),
) -> None:
    """See that weights have the names and shapes of a model's.

    Args:
        own: the model's.
        weights: those that came.
        what: what the sentence calls them, in the plural.
        hint: the next step.
        fresh: names that do not matter.

    Raises:
        ModelError: a weight is missing or unexpected, or has another shape.
    """
    for name in sorted((own.keys() | weights.keys()) - fresh):
        if name not in own or name not in weights:
            raise ModelError(
                f"{what} do not fit their architecture: "
                f"'{name}' is {'missing' if name in own else 'unexpected'}",
                hint=hint,
            )
        if own[name].is_floating_point() and not weights[name].is_floating_point():
            raise ModelError(
                f"{what} do not fit their architecture: kind of '{name}'",
                expected="real numbers",
                got=str(weights[name].dtype).removeprefix("torch."),
                hint="store them as float32",
            )
        if own[name].shape != weights[name].shape:
            raise ModelError(
                f"{what} do not fit their architecture: shape of '{name}'",
                expected=str(tuple(own[name].shape)),
                got=str(tuple(weights[name].shape)),
                hint=hint,
            )
