"""Items: the models, images and packs that names of a command stand for, and where each is.

The Hub is not asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from transferzoo.base.errors import DataError
from transferzoo.evaluation import hub_packs
from transferzoo.evaluation.pack_manifest import manifest_of
from transferzoo.models.resolve import note_path, silent, unknown, unlisted
from transferzoo.sync.inventory import (
    RequiredFiles,
    files_of,
    files_of_images,
    name_of,
    state_of,
    state_of_images,
)
from transferzoo.zoo.selection import is_pattern, published

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from transferzoo.sync.inventory import State
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec, Role
    from transferzoo.zoo.source_facts import WebFile

GROUPS: dict[str, Role] = {"surrogates": "surrogate", "targets": "target", "validators": "validator"}


@dataclass(frozen=True)
class Item:
    """A model, the images of a split, or a pack.

    Attributes:
        name: "cifar10/resnet18"; "hf-hub:OWNER/NAME" of a model that no zoo lists; "cifar10 test" of images;
            "hf-pack:OWNER/NAME" of a pack.
        kind: "model", "images" or "pack".
        state: where it is.
        files: those of the Hub that it needs, None for none.
        licence: of the weights or the images.
        non_commercial: whether that forbids commercial use.
        pickle: whether it is a pickle, of which only tensors are loaded.
        recipe: name of the recipe that makes a model, if known.
        web: the file of weights that it needs from the web, None for none.
    """

    name: str
    kind: Literal["model", "images", "pack"]
    state: State
    files: RequiredFiles | None
    licence: str
    non_commercial: bool = False
    pickle: bool = False
    recipe: str | None = None
    web: WebFile | None = None

    @property
    def to_download(self) -> bool:
        """Whether it is elsewhere, and can be brought here."""
        return self.state == "hub" or (self.state == "web" and self.web is not None)


def select_items(
    zoo: Zoo,
    names: Iterable[str],
    dataset: str | None = None,
    split: str | None = None,
    notify: Callable[[str], None] = silent,
) -> list[Item]:
    """Return the models, images and packs that names stand for, in order and without repeats.

    Args:
        zoo: has the models and data sets.
        names: models, short or in full, and patterns of them; data sets; "surrogates", "targets",
            "validators"; "all" for every model that is not `extra`, and every data set; or what no zoo lists,
            as "hf-hub:OWNER/NAME[@REVISION]"; packs, as "hf-pack:OWNER/NAME[@REVISION]". Commas separate too.
        dataset: only models of this data set, and its images.
        split: of the images; the one that is attacked if None.
        notify: as for `resolve.select_models`.

    Raises:
        UnknownNameError: nothing of that name, or no such split.
        UsageError: a model that no zoo lists is not there.
        ModelError: a model of that name is yet to be trained; patterns may stand for such models too.
        DataError: the images of a data set of that name are not found anywhere.
    """
    spec = zoo.dataset(dataset) if dataset else None
    models = [m for m in zoo.models.values() if spec is None or m.dataset == spec.name]
    datasets = [spec] if spec else list(zoo.datasets.values())
    found: dict[str, Item] = {}
    for name in (part.strip() for argument in names for part in argument.split(",")):
        if name.startswith(hub_packs.PREFIX):
            item = item_of_pack(hub_packs.HubPack.parse(name))
            found.setdefault(item.name, item)
            continue
        selected = [m for m in models if _matches(name, m)]
        if selected and not is_pattern(name) and name not in GROUPS:
            selected = [m for m in selected if m.is_published] or [published(selected[0])]
            note_path(name, selected[0], notify)
        images = [item_of_images(d, split) for d in datasets if name in ("all", d.name)]
        if name != "all" and any(item.state == "absent" for item in images):
            raise DataError(
                f"the images '{images[0].name}' are not on the Hub",
                hint="give their folder with --data PATH",
            )
        if not selected and not images:
            model = unlisted(zoo, name, dataset or "")
            if model is None:
                known = (*GROUPS, *(m.name for m in models), *(d.name for d in datasets))
                raise unknown("model or data set", name, zoo, known)
            selected = [model]
        items = [*map(item_of, selected), *images]
        found |= {item.name: item for item in items if item.name not in found}
    return list(found.values())


def _matches(name: str, model: ModelSpec) -> bool:
    """Return whether a name or pattern stands for a model."""
    if name == "all" or name in GROUPS:
        return not model.extra and GROUPS.get(name, model.roles[0]) in model.roles
    return any(fnmatchcase(known, name) for known in (model.name, model.full_name))


def item_of(model: ModelSpec) -> Item:
    """Return a model as an item.

    Raises:
        UsageError: see `ModelSource.web_file`.
    """
    web = model.source.web_file()
    return Item(
        name_of(model),
        "model",
        "cached" if web and web.path.exists() else state_of(model),
        files_of(model),
        model.licence,
        model.non_commercial,
        bool(model.weights and model.weights.pickle),
        model.recipe,
        web,
    )


def item_of_images(dataset: DatasetSpec, split: str | None = None) -> Item:
    """Return the images of a split as an item; the split that is attacked if None.

    Raises:
        UnknownNameError: no such split.
    """
    name = split or dataset.attack.split
    state = state_of_images(dataset, name)
    files = files_of_images(dataset, name) if state in ("cached", "hub") else None
    return Item(f"{dataset.name} {name}", "images", state, files, dataset.licence, dataset.non_commercial)


def item_of_pack(pack: hub_packs.HubPack) -> Item:
    """Return a pack on the Hub as an item."""
    files = RequiredFiles(pack.repo, pack.revision, "dataset", {pack.file: None}, is_pack=True)
    folder = files.cached_folder()
    licence = manifest_of(folder / pack.file).licence if folder else ""
    return Item(str(pack), "pack", "cached" if folder else "hub", files, licence or "unknown")
