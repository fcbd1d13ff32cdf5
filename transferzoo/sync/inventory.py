"""The inventory: which models and images are on this machine, and which files of the Hub they need.

The Hub is not asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from huggingface_hub import constants

from transferzoo import hub
from transferzoo.base.errors import DataError, ModelError
from transferzoo.evaluation import hub_packs
from transferzoo.evaluation.pack_manifest import manifest_of
from transferzoo.models import checkpoint
from transferzoo.models.recipe_file import read_recipe
from transferzoo.models.resolve import note_path, silent, unknown, unlisted
from transferzoo.models.sources.hub_repository import HubRepository
from transferzoo.models.transformers_folder import PROCESSOR, is_transformers
from transferzoo.zoo.schema import HUB, NAMED_ON_HUB
from transferzoo.zoo.selection import is_pattern, published

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from transferzoo.zoo.model_source import WebFile
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec, Role

State = Literal["built-in", "local", "cached", "hub", "web", "train", "absent"]
"""In the package; in a local folder; downloaded; on the Hub only; yet to be trained; not found anywhere."""
OPEN_CLIP = (
    checkpoint.OPEN_CLIP_CONFIG,
    checkpoint.OPEN_CLIP_WEIGHTS,
    *checkpoint.OPEN_CLIP_TOKENIZER,
)
"""Files of a zero-shot model."""
GROUPS: dict[str, Role] = {"surrogates": "surrogate", "targets": "target", "validators": "validator"}


@dataclass(frozen=True)
class RequiredFiles:
    """Files of one repository of the Hub that a model or the images of a split need.

    Attributes:
        repo: "OWNER/NAME".
        revision: a commit, tag or branch; None for the default branch.
        repo_type: "model" or "dataset".
        files: path → its SHA-256 where that is pinned.
        is_checkpoint: whether they are a checkpoint folder, with its recipe and collected weights if any.
        is_pack: whether they are a pack, which is checked when it is downloaded.
    """

    repo: str
    revision: str | None
    repo_type: str
    files: dict[str, str | None]
    is_checkpoint: bool = False
    is_pack: bool = False

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, whose files never change."""
        return hub.is_commit(self.revision)

    def cached_folder(self) -> Path | None:
        """Return the folder of the cache that has all of its files, None where one is missing."""
        folder = hub.cached_snapshot(self.repo, self.revision, self.repo_type)
        if folder is not None and self.is_checkpoint and checkpoint.is_open_clip(folder):
            return folder
        if folder is None or not all((folder / file).exists() for file in self.files):
            return None
        return folder if not self.is_checkpoint or _is_complete(folder) else None

    def cached_files(self, folder: Path) -> list[Path]:
        """Return its files in a folder of the cache."""
        paths = [folder / file for file in self.files]
        if self.is_checkpoint:
            paths += [folder / checkpoint.RECIPE, folder / PROCESSOR, *checkpoint.samples(folder)]
            paths += [folder / name for name in OPEN_CLIP]
        return [path for path in paths if path.is_file()]


def _is_complete(folder: Path) -> bool:
    """Return whether a cached checkpoint has its recipe and the collected weights that the recipe names.

    One of transformers needs what describes its image processor instead.
    """
    if is_transformers(folder):
        return (folder / PROCESSOR).exists()
    if not (folder / checkpoint.RECIPE).exists():
        return hub.known_absent(folder, checkpoint.RECIPE)
    try:
        samples = (read_recipe(folder) or {}).get("samples")
    except ModelError:
        return True  # damaged, which is reported where it is loaded
    return not isinstance(samples, dict) or all((folder / name).exists() for name in samples)


def files_of(model: ModelSpec) -> RequiredFiles | None:
    """Return the files of the Hub that a model needs, None for a model from elsewhere."""
    source = model.source
    if not isinstance(source, HubRepository):
        return None
    if model.weights:
        files = {model.weights.file: model.weights.sha256}
        return RequiredFiles(source.repo, source.revision, "model", files)
    names = dict.fromkeys((checkpoint.CONFIG, checkpoint.WEIGHTS))
    return RequiredFiles(source.repo, source.revision, "model", names, is_checkpoint=True)


def files_of_images(dataset: DatasetSpec, split: str) -> RequiredFiles | None:
    """Return the files of the Hub that the images of a split need, None for images from elsewhere.

    Raises:
        UnknownNameError: no such split.
    """
    from transferzoo.datasets.sources import hub_files

    files = hub_files(dataset, split)
    if not files:
        return None
    return RequiredFiles(files[0].repo, None, "dataset", {file.file: file.sha256 for file in files})


def state_of(model: ModelSpec) -> State:
    """Return where the weights of a model are."""
    files = files_of(model)
    return "cached" if files and files.cached_folder() else model.source.state


def state_of_images(dataset: DatasetSpec, split: str) -> State:
    """Return where the images of a split are: in the first of its sources that has them.

    Raises:
        UnknownNameError: no such split.
    """
    from transferzoo.datasets.sources import place_of_images

    files, place = files_of_images(dataset, split), place_of_images(dataset, split)
    if place is None:
        return "absent"
    if files and place.startswith(HUB):
        return "cached" if files.cached_folder() else "hub"
    return "built-in" if place.startswith("builtin:") else "local"


def require_cached(models: Iterable[ModelSpec]) -> None:
    """Check, where the Hub may not be asked, that every model is on this machine; one error names all others.

    Raises:
        NotCachedError: `HF_HUB_OFFLINE` is set and some are not.
    """
    if not constants.HF_HUB_OFFLINE:
        return
    missing = list(dict.fromkeys(name_of(model) for model in models if state_of(model) == "hub"))
    if missing:
        subject = f"{missing[0]} is" if len(missing) == 1 else f"{len(missing)} models are"
        raise hub.NotCachedError(
            f"{subject} not on this machine and HF_HUB_OFFLINE is set",
            hint=f"unset it once and run `transferzoo pull {' '.join(missing)}`",
        )


# ---------------------------------------------------------------- names of items


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


def name_of(model: ModelSpec) -> str:
    """Return the name of a model for `transferzoo pull`."""
    source, name = model.source, model.name.partition("|")[0]
    if name == str(source):
        return name
    listed = not isinstance(source, HubRepository) or name != source.place
    return f"{model.dataset}/{name}" if listed else f"{NAMED_ON_HUB}{source.place}"


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
