"""What of the zoo is on this machine, and what it needs from the Hub. The Hub is not asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from transferzoo import hub
from transferzoo.base.errors import DataError, ModelError, UnknownNameError
from transferzoo.models import checkpoint
from transferzoo.models.resolve import select_models
from transferzoo.zoo.schema import HUB, NAMED_ON_HUB, TO_TRAIN, assets
from transferzoo.zoo.selection import is_pattern, published

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec, Role

State = Literal["built-in", "local", "cached", "hub", "train", "absent"]
"""In the package; elsewhere on this machine; downloaded; on the Hub; published by nobody; nowhere known."""
GROUPS: dict[str, Role] = {"surrogates": "surrogate", "targets": "target", "validators": "validator"}


@dataclass(frozen=True)
class Need:
    """Files of one repository of the Hub.

    Attributes:
        repo: "OWNER/NAME".
        revision: a commit, tag or branch; None for the default branch.
        repo_type: "model" or "dataset".
        files: path → its SHA-256 where that is pinned; nothing can be done without them.
        plain: whether it is a checkpoint, with a recipe and collected weights where it has them.
    """

    repo: str
    revision: str | None
    repo_type: str
    files: dict[str, str | None]
    plain: bool = False

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which does not change."""
        return bool(re.fullmatch(r"[0-9a-f]{40}", self.revision or ""))

    def takes(self, file: str) -> bool:
        """Return whether a file of the repository is downloaded."""
        return file in self.files or (
            self.plain and (file == checkpoint.RECIPE or bool(checkpoint.SAMPLE.fullmatch(file)))
        )

    def found(self, folder: Path) -> list[Path]:
        """Return the files of it that a folder has."""
        paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return [path for path in paths if self.takes(path.relative_to(folder).as_posix())]

    def kept(self) -> Path | None:
        """Return the folder of the cache that has all of it, None where something is missing."""
        folder = hub.snapshot(self.repo, self.revision, self.repo_type)
        if folder is None or not all((folder / file).exists() for file in self.files):
            return None
        return folder if not self.plain or _whole(folder) else None


def _whole(folder: Path) -> bool:
    """Return whether a checkpoint in the cache has the recipe and the weights that belong to it."""
    if not (folder / checkpoint.RECIPE).exists():
        return hub.known_absent(folder, checkpoint.RECIPE)
    try:
        samples = (checkpoint.read_recipe(folder) or {}).get("samples")
    except ModelError:
        return True  # damaged, which who reads it is told
    return not isinstance(samples, dict) or all((folder / name).exists() for name in samples)


def need_of(model: ModelSpec) -> Need | None:
    """Return what a model needs from the Hub, None for those that are not there."""
    if not model.on_hub:
        return None
    repo, _, revision = model.source.removeprefix(HUB).partition("@")
    if model.weights:
        return Need(repo, revision or None, "model", {model.weights.file: model.weights.sha256})
    files = dict.fromkeys((checkpoint.CONFIG, checkpoint.WEIGHTS))
    return Need(repo, revision or None, "model", files, plain=True)


def need_of_images(dataset: DatasetSpec, split: str) -> Need | None:
    """Return what a split needs from the Hub, None for one that is not there.

    Raises:
        UnknownNameError: no such split.
    """
    from transferzoo.datasets.sources import hub_files

    files = hub_files(dataset, split)
    return Need(files[0].repo, None, "dataset", {one.file: one.sha256 for one in files}) if files else None


def state_of(model: ModelSpec) -> State:
    """Return where the weights of a model are."""
    if model.source == TO_TRAIN:
        return "train"
    if need := need_of(model):
        return "cached" if need.kept() else "hub"
    return "built-in" if model.source.startswith("builtin:") else "local"


def state_of_images(dataset: DatasetSpec, split: str) -> State:
    """Return where the images of a split are found.

    Raises:
        UnknownNameError: no such split.
    """
    need = need_of_images(dataset, split)
    for place in dataset.splits[split]:
        kind, _, rest = place.partition(":")
        if kind == "builtin" and (assets() / rest).exists():
            return "built-in"
        if kind == "local" and Path(rest).expanduser().exists():
            return "local"
        if need and place.startswith(HUB):
            return "cached" if need.kept() else "hub"
    return "absent"


def require(models: Iterable[ModelSpec]) -> None:
    """Tell before anything else which models are missing where the Hub may not be asked.

    Raises:
        NotCachedError: `HF_HUB_OFFLINE` is set and some are not on this machine.
    """
    if not hub.offline():
        return
    lacking = list(dict.fromkeys(name_of(model) for model in models if state_of(model) == "hub"))
    if lacking:
        what = f"{lacking[0]} is" if len(lacking) == 1 else f"{len(lacking)} models are"
        raise hub.NotCachedError(
            f"{what} not on this machine and HF_HUB_OFFLINE is set",
            hint=f"unset it once and run `transferzoo pull {' '.join(lacking)}`",
        )


# ---------------------------------------------------------------- what a user names


@dataclass(frozen=True)
class Item:
    """A model, or the images of a split.

    Attributes:
        name: "cifar10/resnet18"; "hf-hub:OWNER/NAME" of a model that no zoo lists; "cifar10 test" of images.
        kind: "model" or "images".
        state: where it is.
        need: what it needs from the Hub.
        licence: of the weights or the images.
        non_commercial: whether that forbids commercial use.
        pickle: whether it is a pickle, which is read as tensors only.
        recipe: name of the recipe that makes a model, if known.
    """

    name: str
    kind: Literal["model", "images"]
    state: State
    need: Need | None
    licence: str
    non_commercial: bool = False
    pickle: bool = False
    recipe: str | None = None


def chosen(
    zoo: Zoo, names: Iterable[str], dataset: str | None = None, split: str | None = None
) -> list[Item]:
    """Return what names stand for, in order and without repeats.

    Args:
        zoo: what names mean.
        names: models, short or in full, and patterns of them; data sets; "surrogates", "targets",
            "validators"; "hf-hub:OWNER/NAME[@REVISION]"; "all" for every model that is not `extra`, and
            every data set. Commas separate too.
        dataset: only models of this data set, and its images.
        split: of the images; the one that is attacked where none is given.

    Raises:
        UnknownNameError: nothing of that name, or no such split.
        UsageError: no name of a repository.
        ModelError: nobody has published what is named; patterns may stand for such models too.
        DataError: images that are named are nowhere.
    """
    spec = zoo.dataset(dataset) if dataset else None
    models = [m for m in zoo.models.values() if spec is None or m.dataset == spec.name]
    sets = [spec] if spec else list(zoo.datasets.values())
    found: dict[str, Item] = {}
    for name in (part.strip() for text in names for part in text.split(",")):
        if name.startswith(NAMED_ON_HUB):
            items = [item_of(m) for m in select_models(zoo, [name], dataset or zoo.default_dataset, "target")]
        else:
            meant = [m for m in models if _means(name, m)]
            if meant and not is_pattern(name) and name not in GROUPS:
                meant = [m for m in meant if m.source != TO_TRAIN] or [published(meant[0])]
            items = [item_of(m) for m in meant]
            images = [item_of_images(one, split) for one in sets if name in ("all", one.name)]
            if name != "all" and any(one.state == "absent" for one in images):
                raise DataError(
                    f"the images '{images[0].name}' are not on the Hub",
                    hint="give their folder with --data PATH",
                )
            items += images
        if not items:
            known = (*GROUPS, *(m.name for m in models), *(one.name for one in sets))
            raise UnknownNameError("model or data set", name, known)
        found |= {item.name: item for item in items if item.name not in found}
    return list(found.values())


def _means(name: str, model: ModelSpec) -> bool:
    """Return whether a name or pattern stands for a model of a zoo."""
    if name == "all" or name in GROUPS:
        return not model.extra and GROUPS.get(name, model.roles[0]) in model.roles
    return any(fnmatchcase(own, name) for own in (model.name, model.full_name))


def name_of(model: ModelSpec) -> str:
    """Return the name that a model is pulled by."""
    name = model.full_name.partition("|")[0]
    place = model.source.removeprefix(HUB)
    return NAMED_ON_HUB + place if name == f"{model.dataset}/{place}" else name


def item_of(model: ModelSpec) -> Item:
    """Return a model as an item."""
    return Item(
        name_of(model),
        "model",
        state_of(model),
        need_of(model),
        model.licence,
        model.non_commercial,
        bool(model.weights and model.weights.pickle),
        model.recipe,
    )


def item_of_images(dataset: DatasetSpec, split: str | None = None) -> Item:
    """Return the images of a split as an item, those that are attacked where none is named.

    Raises:
        UnknownNameError: no such split.
    """
    which = split or dataset.attack.split
    state = state_of_images(dataset, which)
    need = need_of_images(dataset, which) if state in ("cached", "hub") else None
    return Item(f"{dataset.name} {which}", "images", state, need, dataset.licence, dataset.non_commercial)
