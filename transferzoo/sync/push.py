"""The upload plan: the files of a checkpoint, and a model card with its measured results."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Any

from transferzoo import hub
from transferzoo.base.atomic import write_text
from transferzoo.base.errors import TransferZooError, UsageError
from transferzoo.evaluation.run_folder import open_run
from transferzoo.models import checkpoint
from transferzoo.models.download import download_model
from transferzoo.models.recipe_file import read_recipe
from transferzoo.models.resolve import resolve_model
from transferzoo.models.sources.hub_repository import HubRepository
from transferzoo.sync.licences import check_repo
from transferzoo.sync.model_card import PATH, model_card
from transferzoo.zoo.schema import HUB, NAMED_ON_HUB

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from transferzoo.hub import Published
    from transferzoo.results.records import Record
    from transferzoo.zoo.reader import Zoo

CARD = "README.md"


@dataclass(frozen=True)
class UploadPlan:
    """What is uploaded: a checkpoint or a pack, with its card.

    Attributes:
        name: what it is called on this machine.
        repo: "OWNER/NAME".
        sources: path in the repository → file, of all that is uploaded besides the card.
        texts: path → text that is uploaded instead of the file: the card, and a recipe without local folders.
        repo_type: "model" or "dataset".
    """

    name: str
    repo: str
    sources: Mapping[str, Path]
    texts: Mapping[str, str]
    repo_type: str = "model"

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of all that is uploaded besides the card."""
        return tuple(self.sources)

    @property
    def card(self) -> str:
        """Text of the card."""
        return self.texts[CARD]

    @property
    def size(self) -> int:
        """Bytes of the files."""
        texts = {name: len(text.encode()) for name, text in self.texts.items()}
        return sum(texts.get(name) or file.stat().st_size for name, file in self.sources.items())


def checkpoint_of(zoo: Zoo, name: str, notify: Callable[[str], None]) -> Path:
    """Return the checkpoint folder of the model that a name stands for.

    Args:
        zoo: has the models.
        name: see `resolve.resolve_model`.
        notify: called with a sentence that the user should read.

    Raises:
        UsageError: nothing of that name, or no checkpoint on this machine.
    """
    model = resolve_model(zoo, name, notify=notify)
    if model.source.state == "hub":
        raise UsageError(
            f"'{name}' is on the Hub", expected="a checkpoint on this machine", got=str(model.source)
        )
    return download_model(model, notify).folder


def newest_checkpoint(root: Path) -> Path:
    """Return the checkpoint in a folder that was finished last.

    Raises:
        UsageError: there is none.
    """
    finished = [path.parent for path in root.glob(f"*/{checkpoint.RECIPE}")]
    if not finished:
        raise UsageError(
            f"there is no finished checkpoint in {root}",
            expected="a folder that `transferzoo train` wrote",
            hint="name one: transferzoo push PATH",
        )
    return max(finished, key=lambda folder: (folder / checkpoint.RECIPE).stat().st_mtime_ns)


def plan_upload(
    zoo: Zoo, folder: Path, repo: str, *, licence: str, runs: Path, unmeasured: bool = False
) -> UploadPlan:
    """Check a checkpoint and write its card.

    Args:
        zoo: has the repository of its data set.
        folder: the checkpoint.
        repo: "OWNER/NAME".
        licence: of the weights.
        runs: folder of run folders; the card shows the success rates of these weights in them.
        unmeasured: accept a checkpoint whose recipe has no accuracy.

    Raises:
        ModelError: the checkpoint is damaged, or a weight is not finite.
        UsageError: no repository can have that name, no licence or an unknown one, or no accuracy in the
            recipe.
    """
    check_repo(repo)
    config = checkpoint.read_config(folder)
    checkpoint.load_network(folder, config["num_classes"])
    local = read_recipe(folder) or {}
    recipe = {**local, "config": _without_folders(local["config"])} if local.get("config") else local
    if not (recipe.get("accuracy") or unmeasured):
        raise UsageError(
            f"the accuracy of {folder} was not measured",
            expected=f"an accuracy in its {checkpoint.RECIPE}",
            hint="train it with test images, or push it with --unmeasured",
        )
    trained = recipe.get("config", {})
    start = str(trained.get("start") or "")
    on_hub = start.startswith(NAMED_ON_HUB)
    base = HubRepository.parse(start.removeprefix(NAMED_ON_HUB)).repo if on_hub else None
    card = model_card(
        repo,
        config,
        recipe,
        licence=licence,
        dataset_repo=None if recipe.get("images") else _dataset_repo(zoo, str(trained.get("dataset"))),
        base_model=base,
        records=_records(folder, runs),
    )
    samples = [f"{checkpoint.SAMPLES}/{path.name}" for path in checkpoint.samples(folder)]
    names = [checkpoint.WEIGHTS, checkpoint.CONFIG, *([checkpoint.RECIPE] if recipe else [])]
    changed = {checkpoint.RECIPE: json.dumps(recipe, indent=2, ensure_ascii=False) + "\n"}
    sources = {name: folder / name for name in (*names, *samples)}
    texts = {CARD: card, **(changed if recipe != local else {})}
    return UploadPlan(folder.resolve().name, repo, sources, texts)


def _without_folders(value: Any) -> Any:
    """Return part of a recipe without folders of this machine, which are private.

    The last part of a path stays; a checkpoint in the Hub's cache gets its name on the Hub.
    """
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    if not isinstance(value, str) or not PATH.match(value):
        return value
    cached = re.search(r"/models--([^/]+?)--([^/]+)/snapshots/([0-9a-f]{40})/?$", value)
    return f"{NAMED_ON_HUB}{cached[1]}/{cached[2]}@{cached[3]}" if cached else PureWindowsPath(value).name


def upload(plan: UploadPlan, folder: Path, **options: Any) -> Published:
    """Upload what is planned, with its card, in one commit; files that the Hub has are not uploaded again.

    Args:
        plan: of a checkpoint or a pack.
        folder: an empty folder, where card and files are put together.
        **options: of `hub.publish`.

    Raises:
        TransferZooError: see `hub.publish`.
    """
    for name, file in plan.sources.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name not in plan.texts:
            _link_or_copy(file, folder / name)
    for name, text in plan.texts.items():
        write_text(folder / name, text)
    return hub.publish(
        folder,
        plan.repo,
        files=(*plan.files, CARD),
        message=f"Upload {plan.name} with TransferZoo",
        repo_type=plan.repo_type,
        **options,
    )


def _link_or_copy(file: Path, target: Path) -> None:
    """Make a hard link to a file, or a copy on another disk."""
    try:
        os.link(file.resolve(), target)
    except OSError:
        shutil.copyfile(file, target)


def _dataset_repo(zoo: Zoo, dataset: str) -> str | None:
    """Return the repository of a data set on the Hub, None where it has none."""
    if dataset not in zoo.datasets:
        return None
    sources = (source for split in zoo.datasets[dataset].splits.values() for source in split)
    on_hub = [source.removeprefix(HUB) for source in sources if source.startswith(HUB)]
    return "/".join(on_hub[0].split("/")[:2]) if on_hub else None


def _records(folder: Path, runs: Path) -> list[Record]:
    """Return the records of images crafted on these weights, each from the newest run that has it."""
    digest = checkpoint.digest(folder)
    found: dict[tuple[str, str], Record] = {}
    for run in sorted(runs.glob("*/"), key=lambda path: path.stat().st_mtime_ns):
        try:
            records = open_run(run).records()
        except TransferZooError:
            continue  # not a finished run
        found |= {
            (r.attack, r.target): r for r in records if r.surrogate_sha256 == digest and not r.white_box
        }
    return list(found.values())
