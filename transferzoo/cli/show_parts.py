"""What `show` says of what is registered: techniques, minimizers, architectures, defences, formats, forms."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transferzoo.attacks.technique import Technique
    from transferzoo.base.registry import Registry
    from transferzoo.defences import Defence
    from transferzoo.minimizers import Rule
    from transferzoo.models.architectures import Architecture

    Part = tuple[str, Registry[Any], Callable[[Any], dict[str, Any]]]


def registered(name: str, attack: str) -> Iterator[dict[str, Any]]:
    """Yield what is known about everything that is registered under a name.

    Args:
        name: what the user wrote.
        attack: what it stands for among attacks.
    """
    from transferzoo.attacks.techniques import TECHNIQUES
    from transferzoo.datasets import READERS
    from transferzoo.defences import DEFENCES
    from transferzoo.minimizers import MINIMIZERS
    from transferzoo.models.architectures import ARCHITECTURES
    from transferzoo.zoo.model_source import SOURCES

    parts: tuple[Part, ...] = (
        ("technique", TECHNIQUES, _technique),
        ("minimizer", MINIMIZERS, _minimizer),
        ("defence", DEFENCES, _defence),
        ("format of images", READERS, lambda reader: {"layout": reader.layout}),
        ("form of models", SOURCES, lambda form: {"examples": [one.written for one in form.examples]}),
        ("architecture", ARCHITECTURES, _architecture),
    )
    for kind, registry, described in parts:
        own = attack if registry is TECHNIQUES else name
        if own in registry:
            entry = registry[own]
            origin = registry.origin(own)
            plugin = {} if origin is None else {"plugin": f"{origin}, sha256 {origin.sha256}"}
            about = inspect.getdoc(getattr(entry, "builder", entry))
            yield {"kind": kind, "name": own, **plugin, **described(entry), "about": about}


def _technique(technique: type[Technique]) -> dict[str, Any]:
    from transferzoo.attacks.technique import SMALL
    from transferzoo.base.spec_strings import Term

    usual = technique()
    small = technique.for_images(Term(technique.name, {}), SMALL - 1)
    return {
        "defaults": usual.whole_spec,
        **({f"defaults below {SMALL} pixels a side": small.whole_spec} if technique.small else {}),
        "source": technique.paper,
        "stage": technique.stage.name.lower(),
        "gradient evaluations": usual.cost,
    }


def _minimizer(rule: type[Rule]) -> dict[str, Any]:
    usual = rule()
    return {"defaults": usual.whole_spec, "source": usual.paper, "passes a step": usual.passes}


def _defence(defence: type[Defence]) -> dict[str, Any]:
    return {"defaults": defence().whole_spec, "source": defence.paper}


def _architecture(entry: Architecture) -> dict[str, Any]:
    return {"family": entry.family, "source": entry.paper, "arguments": entry.defaults}
