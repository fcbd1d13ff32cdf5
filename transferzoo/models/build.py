"""From the spec of an architecture to a freshly initialised model, one of ours or any that timm knows."""

from __future__ import annotations

import dataclasses
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import UnknownNameError, UsageError, near_names, reason
from transferzoo.base.plugins import NAMED
from transferzoo.base.spec_strings import parse_terms
from transferzoo.models.architectures import ARCHITECTURES
from transferzoo.models.network_size import check_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor, nn

    from transferzoo.zoo.schema import DatasetSpec

OWN_NETWORK = "for a network of your own name a function that returns it with its weights, MODULE:FUNCTION"

_LOADING = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"}
"""Arguments of timm's `create_model` that would fetch weights from elsewhere or unpickle a file."""

_SOURCES = {"url", "file", "hf_hub_id", "hf_hub_filename", "source", "custom_load"}
"""Where a `pretrained_cfg` of timm's says that weights come from."""


def create(architecture: str, dataset: DatasetSpec) -> tuple[nn.Module, dict[str, Any]]:
    """Build a freshly initialised classifier for a data set.

    Args:
        architecture: a spec such as "small_resnet50:width=12"; one of ours or any name timm knows.
        dataset: gives classes, channels and, for our architectures, the image size.

    Returns:
        The model, and the arguments timm's `create_model` needs to build it again (classes aside).

    Raises:
        UsageError: unknown architecture, an argument it does not take, or images of a size that it cannot
            read.
    """
    name, arguments = read(architecture)
    fixed = {"in_chans": dataset.channels, **_sized(name, dataset.size)}
    for key in fixed.keys() & arguments.keys():
        raise UsageError(f"the data set sets '{key}' of architecture '{name}'", hint="leave it out")
    arguments |= fixed
    model = build(name, len(dataset.classes), arguments)
    if name not in ARCHITECTURES:
        _check_reads(model, name, dataset)
    return model, arguments


def _sized(name: str, size: int) -> dict[str, int]:
    """Return the argument that makes an architecture of one image size read another.

    Args:
        name: of the architecture, known or not.
        size: height and width of the images.

    Returns:
        None where it reads images of any size, or these without being told.
    """
    import timm

    if name in ARCHITECTURES:
        return {"img_size": size} if ARCHITECTURES[name].fixes_img_size else {}
    usual = timm.get_pretrained_cfg(name)
    if usual is None or not usual.fixed_input_size or usual.input_size[1:] == (size, size):
        return {}
    return {"img_size": size}


def _check_reads(model: nn.Module, name: str, dataset: DatasetSpec) -> None:
    """See that a network of timm's reads a data set's images, and all of each.

    Raises:
        UsageError: it does not.
    """
    import torch
    from timm.layers.patch_embed import PatchEmbed

    size, trains = dataset.size, model.training
    what = f"architecture '{name}' cannot read the images of '{dataset.name}'"
    sides = (part.patch_size[0] for part in model.modules() if isinstance(part, PatchEmbed))
    if size % (side := next(sides, 1)):
        raise UsageError(
            what,
            expected=f"a side that is a multiple of its patches', {side} pixels",
            got=str(size),
            hint="choose another, or smaller patches, as in vit_tiny_patch16_224:patch_size=4",
        )
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            model.eval()(torch.zeros(2, dataset.channels, size, size))
    except Exception as error:  # what a network raises for images that are too small is its own affair
        raise UsageError(
            f"{what}, {size}x{size} pixels: {reason(error)}",
            hint="choose one for smaller images, small_… or cifar_…",
        ) from error
    model.train(trains)


def read(architecture: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the arguments in a spec such as "small_resnet50:width=12".

    Raises:
        UsageError: it cannot be read.
    """
    terms = parse_terms(architecture)
    if len(terms) != 1:
        raise UsageError(
            "cannot read the architecture",
            expected="one name, as in small_resnet50:width=12",
            got=f"'{architecture}'",
        )
    return terms[0].name, {key: _value(text) for key, text in terms[0].options.items()}


def build(name: str, classes: int | None, arguments: Mapping[str, Any]) -> nn.Module:
    """Build a freshly initialised classifier by timm's name of its architecture.

    Args:
        name: of the architecture.
        classes: how many it tells apart; None for the architecture's own number.
        arguments: of timm's `create_model`.

    Raises:
        UsageError: unknown architecture, or an argument it does not take.
    """
    import timm

    if (
        not timm.is_model(name) and name not in ARCHITECTURES
    ):  # a plug-in's is known to timm once it is loaded
        near = near_names(name, timm.list_models())
        known = {*ARCHITECTURES, *near}  # timm knows too many to list
        raise UnknownNameError("architecture", name, known, others=NAMED)
    for key in _LOADING & arguments.keys():
        raise UsageError(f"'{key}' is no option of architecture '{name}'", hint="leave it out")

    def make() -> nn.Module:
        model: nn.Module = timm.create_model(name, num_classes=classes, **arguments)  # None is left out
        return model

    check_size(name, classes, arguments, make)
    try:
        return make()
    except (TypeError, ValueError, RuntimeError, AssertionError, LookupError, AttributeError) as error:
        raise UsageError(
            f"cannot build architecture '{name}' with {dict(arguments)}: {reason(error)}"
        ) from error


def filtered(
    name: str,
    classes: int,
    arguments: Mapping[str, Any],
    reads: Mapping[str, Any],
    weights: Mapping[str, Tensor],
) -> dict[str, Tensor] | None:
    """Return weights under the names of today, by the filter that timm has for an architecture's older files.

    The repositories of Swin, BEiT, LeViT and others hold names and buffers that timm's models no longer
    have; its builder repairs them while it loads. It is given the tensors, so it reads and fetches nothing.

    Args:
        name: of the architecture.
        classes: how many the weights tell apart.
        arguments: of timm's `create_model`.
        reads: the `pretrained_cfg` of their config.json.
        weights: by their names in the file.

    Returns:
        The whole state dict; None where timm cannot use the weights, or leaves a part without any.
    """
    import timm
    import torch
    from timm.models import PretrainedCfg

    fields = {field.name for field in dataclasses.fields(PretrainedCfg)} - _SOURCES
    described = {key: value for key, value in reads.items() if key in fields}
    described |= {"architecture": name, "num_classes": classes}

    def load(state: dict[str, Tensor]) -> dict[str, Tensor]:
        config = {**described, "state_dict": state}
        model = timm.create_model(
            name, pretrained=True, pretrained_cfg=config, num_classes=classes, **arguments
        )
        return dict(model.state_dict())

    # Some builders put up with missing weights; where all that is given is NaN, they show.
    marked = {k: torch.full_like(t, torch.nan) if t.is_floating_point() else t for k, t in weights.items()}
    try:
        with _quiet():
            traced, found = load(marked), load(dict(weights))
    except Exception:  # a filter may fail in any way on names it was not written for
        return None
    whole = all(bool(part.isnan().all()) for part in traced.values() if part.is_floating_point())
    return found if whole else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence timm, which warns of every weight in a file that a model has no place for."""
    logger = logging.getLogger("timm")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
