"""Our architectures as timm models: `timm.create_model("small_resnet50")`, and timm's checkpoint folders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import UsageError
from transferzoo.base.plugins import HERE
from transferzoo.models.architectures import ARCHITECTURES, Architecture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

    from torch import nn

default_cfgs: dict[str, dict[str, Any]] = {}
"""Name → timm's pretrained configuration, under the name where timm looks for it; no weights."""


def register(timm_models: ModuleType, names: Iterable[str]) -> None:
    """Give `timm.models` architectures.

    Raises:
        UsageError: timm has one of that name.
    """
    for name in names:
        known = name in default_cfgs
        if not known and timm_models.is_model(name):
            by = ARCHITECTURES.origin(name) or HERE
            raise UsageError(f"architecture '{name}' of {by} is one of timm's", hint="rename it")
        entry = ARCHITECTURES[name]
        defaults = entry.defaults
        default_cfgs[name] = {
            "input_size": (defaults["in_chans"], defaults["img_size"], defaults["img_size"]),
            "num_classes": defaults["num_classes"],
            "fixed_input_size": entry.fixes_img_size,
            "mean": (0.0,),
            "std": (1.0,),
            "crop_pct": 1.0,
            "paper_ids": f"arXiv:{entry.paper.rpartition(' ')[2]}",
        }
        if not known:
            timm_models.register_model(_entrypoint(entry, timm_models.build_model_with_cfg))


def _entrypoint(entry: Architecture, build_with_cfg: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def build(**arguments: Any) -> nn.Module:
        registered = ARCHITECTURES[entry.name]  # a plug-in that has failed since has none
        return registered.build(**_without_timm_idioms(entry.name, arguments))

    def create(pretrained: bool = False, **options: Any) -> nn.Module:
        return build_with_cfg(build, entry.name, pretrained, **options)

    create.__name__ = entry.name
    create.__doc__ = entry.builder.__doc__
    return create


def _without_timm_idioms(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return `arguments` as ours take them: timm writes the size as a pair and spells out the pooling."""
    ours = dict(arguments)
    if ours.pop("global_pool", "avg") != "avg":
        raise UsageError(f"bad global_pool of {name}", expected="avg", got=f"'{arguments['global_pool']}'")
    size = ours.get("img_size")
    if isinstance(size, (tuple, list)):
        if len(set(size)) != 1:
            raise UsageError(f"bad img_size of {name}", expected="a square", got=str(tuple(size)))
        ours["img_size"] = size[0]
    return ours
