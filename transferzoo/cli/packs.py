"""`transferzoo list packs`: those of the package, and those of the Hub that are on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def entries() -> list[dict[str, Any]]:
    """Return what the packs say of themselves, by the name that `score` takes; none of a damaged one."""
    from transferzoo.evaluation.hub_packs import cached_packs
    from transferzoo.evaluation.pack_manifest import built_in_packs

    found = [(name, "built-in", file) for name, file in built_in_packs().items()]
    found += [(str(pack), "cached", file) for pack, file in cached_packs()]
    return [entry for one in found if (entry := _entry(*one))]


def _entry(name: str, state: str, file: Path) -> dict[str, Any] | None:
    from transferzoo.evaluation.pack_manifest import manifest_of
    from transferzoo.results.comparisons import attack_name
    from transferzoo.results.records import short

    try:
        made = manifest_of(file)
    except DataError:
        return None
    return {
        "name": name,
        "dataset": made.dataset,
        "images": sum(path.startswith("clean/") for path in made.files),
        "surrogates": ", ".join(dict.fromkeys(short(row.surrogate) for row in made.images)),
        "attacks": ", ".join(dict.fromkeys(attack_name(row.attack) for row in made.images)),
        "licence": made.licence,
        "state": state,
    }
