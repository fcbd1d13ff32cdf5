"""A run folder: what was asked, the 8-bit images, one record a line; whatever is there is never done again.

    config.json            schema version, configuration, weights and data by digest, versions
    started.json           when the run was begun, and the command as it was written
    selection.json         the images attacked: ids, labels, names of files, and the target classes
    images/SURROGATE/ATTACK/NNNN.safetensors   adversarial images of one work unit, see `image_files`
    noise/BUDGET/NNNN.safetensors              the same images with random noise, one work unit likewise
    records.jsonl          one line a surrogate, attack and target
    curve.jsonl            the same after fewer steps
    noise.jsonl            one line a budget and target: random noise on the same images
    visibility.jsonl       how visible the perturbations of a surrogate and attack are
    clean.safetensors      clean images of those that are shown to people
    predictions.jsonl      what targets predict of the images that are shown to people, see `examples`
    timings.jsonl          seconds of each unit; it and started.json alone differ between two runs
    .claims/…              while processes are at work: which of them makes what, see `base.claims`

Every file is written whole or not at all, so a run may be killed at any moment and started again; the folder
is named by the fingerprint of all that its content depends on. Nothing here imports torch.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from shutil import rmtree
from typing import TYPE_CHECKING, Any, TypeVar

from transferzoo.base.atomic import sha256, sweep, write_json, write_text, writing
from transferzoo.base.claims import claimed
from transferzoo.base.errors import TransferZooError
from transferzoo.base.file_names import file_name
from transferzoo.base.foreign_files import read_json
from transferzoo.base.frozen_model import fingerprint
from transferzoo.evaluation.examples import Predictions, read_predictions
from transferzoo.evaluation.run_files import (
    Selection,
    read_file,
    read_lines,
    read_records,
    read_selection,
    write_anew,
)
from transferzoo.results.records import Record, SurrogateAttack, Timing, Visibility, read_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path


T = TypeVar("T")
STARTED = "started.json"
RECORDS, CURVE, NOISE = "records.jsonl", "curve.jsonl", "noise.jsonl"
PREDICTIONS, VISIBILITY = "predictions.jsonl", "visibility.jsonl"
CLAIMS = ".claims"
SCHEMA = 2
"""Raised when a run folder comes to hold something else, or the same elsewhere."""


class RunFolder:
    """A run on disk.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, root: Path, key: Mapping[str, Any], title: str) -> RunFolder:
        """Return the folder under `root` for the key of a run, named by its title and its fingerprint."""
        return cls(root / f"{title}-{fingerprint({'schema': SCHEMA, **key})[:12]}")

    def begin(self, content: Mapping[str, Any], command: str = "") -> None:
        """Make the folder and write `config.json`, unless an earlier try did; sweep what it left half-done.

        Args:
            content: all that the run depends on.
            command: what the user wrote, to be kept beside it with the time; empty for a program's run.

        Raises:
            TransferZooError: the folder cannot be written.
        """
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            sweep(self.path)
        if not (self.path / STARTED).exists():
            created = datetime.now(UTC).isoformat(timespec="seconds")
            write_json(self.path / STARTED, {"created": created, "command": command})
        path, wanted = self.path / "config.json", {"schema": SCHEMA, **json.loads(json.dumps(content))}
        try:
            known = read_json(path)
        except (OSError, ValueError):
            known = None  # absent, or damaged: all that it says follows from the command
        if known != wanted:
            write_json(path, wanted)

    def started(self) -> dict[str, str]:
        """Return when the run was `created`, and by which `command`; empty where that is not known."""
        try:
            return dict(read_json(self.path / STARTED))
        except (OSError, ValueError, TypeError):
            return {}

    # ------------------------------------------------------------ selection

    def save_selection(
        self,
        ids: Sequence[int],
        labels: Sequence[int],
        target_classes: Sequence[int] | None,
        names: Sequence[str] | None,
    ) -> None:
        """Keep which images are attacked, the names of their files, and their target classes, if any."""
        content: dict[str, Any] = {"ids": list(ids), "labels": list(labels)}
        if target_classes is not None:
            content["targets"] = list(target_classes)
        if names is not None:
            content["names"] = list(names)
        write_anew(self._selection(), json.dumps(content, ensure_ascii=False) + "\n")

    def selected(self) -> Selection:
        """Return which images are attacked.

        Raises:
            DataError: the file is missing or damaged.
        """
        return read_file(self._selection(), read_selection)

    def selection(self) -> str:
        """Return the SHA-256 of which images are attacked, and at which classes."""
        return sha256(self._selection())

    def _selection(self) -> Path:
        return self.path / "selection.json"

    # ------------------------------------------------------------ several processes

    def claim(self, path: Path) -> Path:
        """Return where the claim lies of the process that makes a file of the run."""
        return self.path / CLAIMS / f"{path.relative_to(self.path)}.lock"

    def is_whole(self, path: Path, check: Callable[[Path], bool]) -> bool:
        """Return whether a file is there and passes a check; one that does not is removed."""
        if not path.exists():
            return False
        if check(path):
            return True
        with claimed(self.claim(path)):  # nobody makes it anew meanwhile
            if not check(path):
                with writing(path):
                    path.unlink(missing_ok=True)
        return path.exists()

    def tidy(self) -> None:
        """Remove the claims of a run that is done, and what processes left that were killed meanwhile."""
        rmtree(self.path / CLAIMS, ignore_errors=True)
        sweep(self.path)

    # ------------------------------------------------------------ adversarial images

    def unit_path(self, pair: SurrogateAttack, unit: int) -> Path:
        """Return where the adversarial images of a work unit lie, made or not."""
        return self.path / "images" / pair.folder / f"{unit:04d}.safetensors"

    def noise_path(self, name: str, unit: int) -> Path:
        """Return where the images of a work unit lie with noise of that name, drawn or not."""
        return self.path / "noise" / file_name(name) / f"{unit:04d}.safetensors"

    @property
    def clean_path(self) -> Path:
        """Where the clean images lie that are shown to people, whatever becomes of the data set."""
        return self.path / "clean.safetensors"

    def add_timing(self, pair: SurrogateAttack, unit: int, images: int, seconds: float) -> None:
        """Keep how long a work unit took."""
        line = asdict(Timing(pair.surrogate, pair.attack, unit, images, round(seconds, 3)))
        with writing(self.path), (self.path / "timings.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    # ------------------------------------------------------------ records

    def records(self, file: str = RECORDS) -> list[Record]:
        """Return the records, or those of the curve, in their order; none if there are none yet.

        Raises:
            DataError: the file is damaged.
        """
        return self._kept(file, read_records)

    def save_records(self, records: Iterable[Record], file: str = RECORDS) -> None:
        """Replace the records, or those of the curve."""
        self._keep(file, map(asdict, records))

    def visibility(self) -> list[Visibility]:
        """Return how visible the perturbations are, a line a pair; none if it is not there yet.

        Raises:
            DataError: the file is damaged.
        """
        return self._kept(VISIBILITY, partial(read_lines, partial(read_line, Visibility)))

    def save_visibility(self, lines: Iterable[Visibility]) -> None:
        """Keep how visible the perturbations are."""
        self._keep(VISIBILITY, map(asdict, lines))

    def predictions(self) -> list[Predictions]:
        """Return what targets predict of the images that are shown; none if that is not there.

        Raises:
            DataError: the file is damaged.
        """
        return self._kept(PREDICTIONS, partial(read_lines, read_predictions))

    def save_predictions(self, lines: Iterable[Predictions]) -> None:
        """Keep what targets predict of the images that are shown."""
        self._keep(PREDICTIONS, map(asdict, lines))

    def version(self, file: str) -> tuple[int, ...] | None:
        """Return what changes whenever a file is written; None where there is none."""
        try:
            state = (self.path / file).stat()
        except OSError:
            return None
        return state.st_ino, state.st_mtime_ns, state.st_size

    def _kept(self, file: str, parse: Callable[[str], list[T]]) -> list[T]:
        path = self.path / file
        return read_file(path, parse) if path.exists() else []

    def _keep(self, file: str, lines: Iterable[Mapping[str, Any]]) -> None:
        texts = (json.dumps(line, ensure_ascii=False) for line in lines)
        write_text(self.path / file, "".join(text + "\n" for text in texts))

    def seconds(self) -> dict[SurrogateAttack, float]:
        """Return the seconds an image took, by pair."""
        path = self.path / "timings.jsonl"
        totals: dict[SurrogateAttack, tuple[float, int]] = {}
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        for line in text.splitlines():
            try:
                one = read_line(Timing, line)
            except ValueError:
                continue  # the last line of a killed run
            pair = SurrogateAttack(one.surrogate, one.attack)
            seconds, images = totals.get(pair, (0.0, 0))
            totals[pair] = (seconds + one.seconds, images + one.images)
        return {pair: seconds / images for pair, (seconds, images) in totals.items() if images > 0}


def open_run(path: Path) -> RunFolder:
    """Return an existing run.

    Raises:
        TransferZooError: no run folder, or a run that is not finished.
    """
    run = RunFolder(path)
    try:
        content = read_json(path / "config.json")
        config, schema = content["config"], content.get("schema", 1)
        sources = 1 if config["ensemble"] else len(config["surrogates"])
        rows, targets = sources * len(config["attacks"]), len(config["targets"])
    except (OSError, ValueError, KeyError, TypeError):
        raise TransferZooError(
            f"{path} is not a run folder",
            expected="a folder that `transferzoo attack` wrote",
            got="no readable config.json in it",
        ) from None
    if schema != SCHEMA:
        raise TransferZooError(
            f"the run {path} is of another version of this tool",
            expected=f"schema {SCHEMA}",
            got=str(schema),
            hint="run its attack command again, which makes a new folder",
        )
    cells = (len(run.visibility()) or rows) * targets  # a pack may have several rows of a budget
    if (done := len(run.records())) < cells:
        raise TransferZooError(
            f"the run {path} is not finished",
            expected=f"{cells} records",
            got=str(done),
            hint="run its attack command again to finish it",
        )
    return run
