"""The inventory: which models and images are on this machine, and which files of the Hub they need.

The Hub is not asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from huggingface_hub import constants

from transferzoo import hub
from transferzoo.base.errors import ModelError
from transferzoo.models import checkpoint, open_clip_files
from transferzoo.models.recipe_file import read_recipe
from transferzoo.models.sources.hub_repository import HubRepository
from transferzoo.models.transformers_folder import PROCESSOR, is_transformers
from transferzoo.zoo.schema import HUB, NAMED_ON_HUB

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from transferzoo.zoo.schema import DatasetSpec, ModelSpec

State = Literal["built-in", "local", "cached", "hub", "web", "train", "absent"]
"""In the package; in a local folder; downloaded; on the Hub only; yet to be trained; not found anywhere."""


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
        if folder is not None and self.is_checkpoint and open_clip_files.is_open_clip(folder):
            return folder
        if folder is None or not all((folder / file).exists() for file in self.files):
            return None
        return folder if not self.is_checkpoint or _is_complete(folder) else None

    def cached_files(self, folder: Path) -> list[Path]:
        """Return its files in a folder of the cache."""
        paths = [folder / file for file in self.files]
        if self.is_checkpoint:
            paths += [folder / checkpoint.RECIPE, folder / PROCESSOR, *checkpoint.samples(folder)]
            paths += [folder / name for name in open_clip_files.FILES]
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


def name_of(model: ModelSpec) -> str:
    """Return the name of a model for `transferzoo pull`."""
    source, name = model.source, model.name.partition("|")[0]
    if name == str(source):
        return name
    listed = not isinstance(source, HubRepository) or name != source.place
    return f"{model.dataset}/{name}" if listed else f"{NAMED_ON_HUB}{source.place}"


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
