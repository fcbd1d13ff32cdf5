"""What `list` says of all but models: an entry each, by column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from transferzoo.base.registry import Registry
    from transferzoo.zoo.reader import Zoo


def attacks(zoo: Zoo) -> list[dict[str, Any]]:
    """Return the presets, suites, other names and techniques, these by their stage."""
    from transferzoo.attacks.techniques import TECHNIQUES

    composed: list[tuple[str, str, str, int | None, str]] = [
        (name, "preset", p.spec or "(no technique)", _steps_cost(p.spec), p.about)
        for name, p in zoo.presets.items()
    ]
    composed += [
        (n, "suite", ", ".join(specs), None, "attacks to compare") for n, specs in zoo.suites.items()
    ]
    composed += [(n, "another name", spec, None, "as papers call it") for n, spec in zoo.aliases.items()]
    techniques = [(name, TECHNIQUES[name]) for name in TECHNIQUES]
    return [
        {
            "name": name,
            "kind": kind,
            "spec": spec,
            "stage": None,
            "cost": cost,
            "source": source,
            "plugin": None,
        }
        for name, kind, spec, cost, source in composed
    ] + [
        {
            "name": name,
            "kind": "technique",
            "spec": cls().whole_spec,
            "stage": cls.stage.name.lower(),
            "cost": cls().cost,
            "source": cls.paper,
            "plugin": _plugin(TECHNIQUES, name),
        }
        for name, cls in sorted(techniques, key=lambda pair: pair[1].stage)
    ]


def _steps_cost(spec: str) -> int | None:
    """Return the gradients of a step of a preset, one-off ones with the first; None where it is wrong."""
    from transferzoo.attacks.composition import compose
    from transferzoo.base.errors import UsageError

    try:
        return compose(spec).cost(1)
    except UsageError:
        return None


def datasets(zoo: Zoo) -> list[dict[str, Any]]:
    """Return the data sets."""
    return [
        {
            "name": name,
            "classes": len(d.classes),
            "pixels": f"{d.size}×{d.size}×{d.channels}",
            "splits": ", ".join(d.splits),
            "epsilon": d.attack.epsilon,
            "licence": d.licence,
        }
        for name, d in zoo.datasets.items()
    ]


def protocols(zoo: Zoo) -> list[dict[str, Any]]:
    """Return the protocols."""
    return [
        {
            "name": name,
            "attacks": ", ".join(p.attacks),
            "budget": ", ".join(f"{key} {value}" for key, value in p.said.items()),
            "images": p.images,
            "counted": p.images_correct_for,
            "source": p.about,
        }
        for name, p in zoo.protocols.items()
    ]


def recipes(zoo: Zoo) -> list[dict[str, Any]]:
    """Return the recipes of trainings."""
    from transferzoo.cli.models import beside

    columns = ("dataset", "architecture", "minimizer", "epochs")
    return [
        {"name": name, **{key: getattr(r, key) for key in columns}, "beside": beside(r), "seed": r.seed}
        for name, r in zoo.recipes.items()
    ]


def packs(_: Zoo) -> list[dict[str, Any]]:
    """Return the packs."""
    from transferzoo.cli.packs import entries

    return entries()


def minimizers(_: Zoo) -> list[dict[str, Any]]:
    """Return the minimizers."""
    from transferzoo.minimizers import MINIMIZERS

    rules = ((name, MINIMIZERS[name]()) for name in MINIMIZERS)
    return [
        {
            "name": name,
            "defaults": rule.whole_spec,
            "passes": f"{rule.passes:g}",
            "source": rule.paper,
            "plugin": _plugin(MINIMIZERS, name),
        }
        for name, rule in rules
    ]


def defences(_: Zoo) -> list[dict[str, Any]]:
    """Return the defences."""
    from transferzoo.defences import DEFENCES, show_defence

    return [
        {
            "name": name,
            "defaults": show_defence(name),
            "source": DEFENCES[name].paper,
            "plugin": _plugin(DEFENCES, name),
        }
        for name in DEFENCES
    ]


def formats(_: Zoo) -> list[dict[str, Any]]:
    """Return the layouts of images."""
    from transferzoo.datasets import READERS

    return [
        {"name": name, "layout": READERS[name].layout, "plugin": _plugin(READERS, name)} for name in READERS
    ]


def sources(_: Zoo) -> list[dict[str, Any]]:
    """Return the examples of each form of a model's source."""
    from transferzoo.zoo.model_source import SOURCES, forms

    return [
        {
            "name": form.form,
            "you have": one.have,
            "you write": one.written,
            "surrogate": one.surrogate,
            "needs": one.needs or None,
            "plugin": _plugin(SOURCES, form.form),
        }
        for form in forms()
        for one in form.examples
    ]


def studies(_: Zoo) -> list[dict[str, Any]]:
    """Return the studies of the package."""
    from transferzoo.studies.schema import built_in, find_study

    return [
        {
            "name": s.name,
            "dataset": s.dataset,
            "surrogates": len(s.surrogates),
            "seeds": len(s.seeds),
            "claims": len(s.claims),
            "question": s.about,
        }
        for s in map(find_study, built_in())
    ]


def architectures(_: Zoo) -> list[dict[str, Any]]:
    """Return the architectures."""
    from transferzoo.models.architectures import ARCHITECTURES

    entries = (ARCHITECTURES[name] for name in ARCHITECTURES)
    return [
        {
            "name": a.name,
            "family": a.family,
            "width": a.defaults["width"],
            "source": a.paper,
            "plugin": _plugin(ARCHITECTURES, a.name),
        }
        for a in entries
    ]


def _plugin(registry: Registry[Any], name: str) -> str | None:
    origin = registry.origin(name)
    return None if origin is None else str(origin)


ENTRIES: dict[str, Callable[[Zoo], list[dict[str, Any]]]] = {
    "datasets": datasets,
    "attacks": attacks,
    "minimizers": minimizers,
    "architectures": architectures,
    "defences": defences,
    "formats": formats,
    "packs": packs,
    "protocols": protocols,
    "sources": sources,
    "recipes": recipes,
    "studies": studies,
}
"""What is listed → its entries."""
