"""What of a checkpoint goes to the Hub: its files, and a model card made of what was measured."""

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
from transferzoo.sync.model_card import PATH, card
from transferzoo.zoo.schema import HUB, NAMED_ON_HUB

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from transferzoo.hub import Published
    from transferzoo.results.records import Record
    from transferzoo.zoo.reader import Zoo

CARD = "README.md"


@dataclass(frozen=True)
class Parcel:
    """A checkpoint on its way to the Hub.

    Attributes:
        folder: the checkpoint.
        repo: "OWNER/NAME".
        files: what is uploaded besides the card.
        texts: file → what is uploaded in its place: the card, and a recipe that names local folders.
    """

    folder: Path
    repo: str
    files: tuple[str, ...]
    texts: Mapping[str, str]

    @property
    def card(self) -> str:
        """Text of the model card."""
        return self.texts[CARD]

    @property
    def size(self) -> int:
        """Bytes of the files."""
        texts = {name: len(text.encode()) for name, text in self.texts.items()}
        return sum(texts.get(name) or (self.folder / name).stat().st_size for name in self.files)


def newest(root: Path) -> Path:
    """Return the checkpoint below a folder that was finished last.

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


def parcel(
    zoo: Zoo, folder: Path, repo: str, *, licence: str, runs: Path, unmeasured: bool = False
) -> Parcel:
    """Check a checkpoint and make its card.

    Args:
        zoo: knows where its data set lies on the Hub.
        folder: the checkpoint.
        repo: "OWNER/NAME".
        licence: of the weights.
        runs: where run folders are kept; success rates of these weights are taken from them.
        unmeasured: let a checkpoint pass whose recipe has no accuracy.

    Raises:
        ModelError: the checkpoint is damaged, or a weight is not finite.
        UsageError: no licence, or nothing was measured.
    """
    config = checkpoint.read_config(folder)
    checkpoint.load_network(folder, config["num_classes"])
    private = checkpoint.read_recipe(folder) or {}
    recipe = {**private, "config": _shared(private["config"])} if private.get("config") else private
    if not (recipe.get("accuracy") or unmeasured):
        raise UsageError(
            f"nothing was measured of {folder}",
            expected=f"an accuracy in its {checkpoint.RECIPE}",
            hint="train it with test images, or push it with --unmeasured",
        )
    trained = recipe.get("config", {})
    start = str(trained.get("start") or "")
    base = start.removeprefix(NAMED_ON_HUB).partition("@")[0] if start.startswith(NAMED_ON_HUB) else None
    text = card(
        repo,
        config,
        recipe,
        licence=licence,
        dataset_repo=_dataset_repo(zoo, str(trained.get("dataset"))),
        base_model=base,
        records=_measured(folder, runs),
    )
    samples = [f"{checkpoint.SAMPLES}/{path.name}" for path in checkpoint.samples(folder)]
    names = [checkpoint.WEIGHTS, checkpoint.CONFIG, *([checkpoint.RECIPE] if recipe else [])]
    changed = {checkpoint.RECIPE: json.dumps(recipe, indent=2, ensure_ascii=False) + "\n"}
    return Parcel(folder, repo, (*names, *samples), {CARD: text, **(changed if recipe != private else {})})


def _shared(value: Any) -> Any:
    """Return part of a recipe without folders of this machine.

    Of a path the last part stays; a checkpoint in the Hub's cache gets its name there.
    """
    if isinstance(value, dict):
        return {key: _shared(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shared(item) for item in value]
    if not isinstance(value, str) or not PATH.match(value):
        return value
    cached = re.search(r"/models--([^/]+?)--([^/]+)/snapshots/([0-9a-f]{40})/?$", value)
    return f"{NAMED_ON_HUB}{cached[1]}/{cached[2]}@{cached[3]}" if cached else PureWindowsPath(value).name


def send(what: Parcel, place: Path, **options: Any) -> Published:
    """Upload a checkpoint and its card in one commit; what is there already is not sent again.

    Args:
        what: the checkpoint.
        place: an empty folder on the same machine, where card and files are put together.
        **options: of `hub.publish`.

    Raises:
        TransferZooError: see `hub.publish`.
    """
    for name in what.files:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        if name not in what.texts:
            _put(what.folder / name, place / name)
    for name, text in what.texts.items():
        write_text(place / name, text)
    message = f"Upload {what.folder.resolve().name} with TransferZoo"
    return hub.publish(place, what.repo, files=(*what.files, CARD), message=message, **options)


def _put(file: Path, place: Path) -> None:
    """Put a file at another place as well, without copying its bytes where the system can."""
    try:
        os.link(file.resolve(), place)
    except OSError:  # another disk
        shutil.copyfile(file, place)


def _dataset_repo(zoo: Zoo, dataset: str) -> str | None:
    """Return the repository of a data set on the Hub, None where it has none."""
    if dataset not in zoo.datasets:
        return None
    places = (place for places in zoo.datasets[dataset].splits.values() for place in places)
    found = [place.removeprefix(HUB) for place in places if place.startswith(HUB)]
    return "/".join(found[0].split("/")[:2]) if found else None


def _measured(folder: Path, runs: Path) -> list[Record]:
    """Return what finished runs say of images crafted on these weights, by the newest run."""
    digest = checkpoint.digest(folder)
    found: dict[tuple[str, str], Record] = {}
    for place in sorted(runs.glob("*/"), key=lambda path: path.stat().st_mtime_ns):
        try:
            records = open_run(place).records()
        except TransferZooError:
            continue  # not finished, or no run
        found |= {
            (r.attack, r.target): r for r in records if r.surrogate_sha256 == digest and not r.white_box
        }
    return list(found.values())
