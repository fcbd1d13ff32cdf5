"""From the spec of an architecture to a freshly initialised model, one of ours or any that timm knows."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from transferzoo.architectures import ARCHITECTURES
from transferzoo.errors import UnknownNameError, UsageError
from transferzoo.notation import parse_terms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from transferzoo.specs import DatasetSpec

_LOADING = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"}
"""Arguments of timm's `create_model` that would fetch weights from elsewhere or unpickle a file."""


def create(architecture: str, dataset: DatasetSpec) -> tuple[nn.Module, dict[str, Any]]:
    """Build a freshly initialised classifier for a data set.

    Args:
        architecture: a spec such as "small_resnet50:width=12"; one of ours or any name timm knows.
        dataset: gives classes, channels and, for our architectures, the image size.

    Returns:
        The model, and the arguments timm's `create_model` needs to build it again (classes aside).

    Raises:
        UsageError: unknown architecture, or an argument it does not take.
    """
    terms = parse_terms(architecture)
    if len(terms) != 1:
        raise UsageError(
            "cannot read the architecture",
            expected="one name, as in small_resnet50:width=12",
            got=f"'{architecture}'",
        )
    name = terms[0].name
    arguments: dict[str, Any] = {key: _value(text) for key, text in terms[0].options.items()}
    fixed: dict[str, int] = {"in_chans": dataset.channels}
    if name in ARCHITECTURES and ARCHITECTURES[name].fixes_img_size:
        fixed["img_size"] = dataset.size
    for key in fixed.keys() & arguments.keys():
        raise UsageError(f"the data set sets '{key}' of architecture '{name}'", hint="leave it out")
    arguments |= fixed
    return build(name, len(dataset.classes), arguments), arguments


def build(name: str, classes: int, arguments: Mapping[str, Any]) -> nn.Module:
    """Build a freshly initialised classifier by timm's name of its architecture.

    Raises:
        UsageError: unknown architecture, or an argument it does not take.
    """
    import timm

    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        raise UnknownNameError("architecture", name, {*ARCHITECTURES, *near})  # timm knows too many to list
    for key in _LOADING & arguments.keys():
        raise UsageError(f"'{key}' is no option of architecture '{name}'", hint="leave it out")
    try:
        model: nn.Module = timm.create_model(name, num_classes=classes, **arguments)
    except (TypeError, ValueError, RuntimeError, AssertionError, LookupError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"cannot build architecture '{name}' with {dict(arguments)}: {reason}") from error
    return model


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
