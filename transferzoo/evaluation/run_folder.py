"""A run folder: what was asked, the 8-bit images, one record a line; whatever is there is never done again.

    config.json            schema version, configuration, weights and data by digest, versions
    clean/MODEL.json       predictions on the clean images
    least_likely.json      the first surrogate's least likely classes, where they are what is aimed at
    selection.json         the images attacked: ids, labels, and the target classes
    images/SURROGATE/ATTACK/NNNN.safetensors   adversarial images of one work unit: `images` uint8
                           (N, C, H, W), `ids`, and `after N` for steps of the curve
    records.jsonl          one line a surrogate, attack and target
    curve.jsonl            the same after fewer steps
    visibility.jsonl       how visible the perturbations of a surrogate and attack are
    timings.jsonl          seconds of each unit; the only file that differs between two runs

Every file is written whole or not at all, so a run may be killed at any moment and started again; the folder
is named by the fingerprint of all that its content depends on. Nothing here imports torch.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from transferzoo.base.atomic import sha256, write_bytes, write_json, write_text, writing
from transferzoo.base.errors import DataError, TransferZooError, reason
from transferzoo.base.frozen_model import fingerprint
from transferzoo.results.records import Record, SurrogateAttack, Visibility, flat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor


T = TypeVar("T")
RECORDS, CURVE = "records.jsonl", "curve.jsonl"
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
    def of(cls, root: Path, key: Mapping[str, Any]) -> RunFolder:
        """Return the folder under `root` for the key of a run, named by its fingerprint."""
        return cls(root / fingerprint({"schema": SCHEMA, **key})[:12])

    def begin(self, content: Mapping[str, Any]) -> None:
        """Make the folder and write `config.json`, unless an earlier try did; sweep what it left half-done.

        Raises:
            TransferZooError: the folder cannot be written.
        """
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for leftover in self.path.rglob(".*.tmp"):
                leftover.unlink(missing_ok=True)
        if not (self.path / "config.json").exists():
            write_json(self.path / "config.json", {"schema": SCHEMA, **content})

    # ------------------------------------------------------------ clean predictions and selection

    def clean(self, model: str) -> list[int] | None:
        """Return a model's predictions on the clean images, None if they are not there yet.

        Raises:
            DataError: the file is damaged.
        """
        path = self._clean(model)
        return _read(path, _items) if path.exists() else None

    def save_clean(self, model: str, predictions: Sequence[int]) -> None:
        """Keep a model's predictions on the clean images."""
        write_text(self._clean(model), json.dumps(list(predictions)) + "\n")

    def _clean(self, model: str) -> Path:
        return self.path / "clean" / f"{flat(model)}.json"

    def least_likely(self) -> list[int] | None:
        """Return the least likely class of every clean image, None if they are not there yet.

        Raises:
            DataError: the file is damaged.
        """
        path = self.path / "least_likely.json"
        return _read(path, _items) if path.exists() else None

    def save_least_likely(self, classes: Sequence[int]) -> None:
        """Keep the least likely class of every clean image."""
        write_text(self.path / "least_likely.json", json.dumps(list(classes)) + "\n")

    def save_selection(
        self, ids: Sequence[int], labels: Sequence[int], targets: Sequence[int] | None
    ) -> None:
        """Keep which images are attacked, and which classes are aimed at, if any."""
        content = {"ids": list(ids), "labels": list(labels)}
        if targets is not None:
            content["targets"] = list(targets)
        if not self._selection().exists():  # it follows from the configuration
            write_text(self._selection(), json.dumps(content) + "\n")

    def selected(self) -> tuple[list[int], list[int]]:
        """Return the ids of the images attacked, in order, and their labels.

        Raises:
            DataError: the file is missing or damaged.
        """
        return _read(self._selection(), _ids_and_labels)

    def selection(self) -> str:
        """Return the SHA-256 of which images are attacked, and at which classes."""
        return sha256(self._selection())

    def _selection(self) -> Path:
        return self.path / "selection.json"

    # ------------------------------------------------------------ adversarial images

    def has_unit(self, pair: SurrogateAttack, unit: int) -> bool:
        """Return whether a work unit is finished."""
        return self._unit(pair, unit).exists()

    def save_unit(
        self,
        pair: SurrogateAttack,
        unit: int,
        images: Mapping[int, Tensor],
        steps: int,
        ids: Tensor,
        seconds: float,
    ) -> None:
        """Keep the adversarial images of a work unit and how long they took.

        Args:
            pair: what they were crafted by.
            unit: number of the unit.
            images: by the steps after which they were taken.
            steps: of the whole attack.
            ids: of the images.
            seconds: for all of them.
        """
        from safetensors.torch import save

        named = {_after(at, steps): taken.contiguous() for at, taken in images.items()}
        write_bytes(self._unit(pair, unit), save({**named, "ids": ids.contiguous()}))
        line = {**asdict(pair), "unit": unit, "images": len(ids), "seconds": round(seconds, 3)}
        with writing(self.path), (self.path / "timings.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def images(self, pair: SurrogateAttack, units: int, at: int, steps: int) -> Tensor:
        """Return all adversarial images of a pair, uint8 (N, C, H, W), in order of id.

        Args:
            pair: what they were crafted by.
            units: how many there are.
            at: after which step.
            steps: of the whole attack.

        Raises:
            DataError: a file is missing or damaged.
        """
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        parts = []
        for unit in range(units):
            path = self._unit(pair, unit)
            try:
                parts.append(load_file(path)[_after(at, steps)])
            except (OSError, SafetensorError, KeyError) as error:
                raise _unreadable(path, error) from None
        return torch.cat(parts)

    def _unit(self, pair: SurrogateAttack, unit: int) -> Path:
        return self.path / "images" / pair.folder / f"{unit:04d}.safetensors"

    # ------------------------------------------------------------ records

    def records(self, file: str = RECORDS) -> list[Record]:
        """Return the records, or those of the curve, in their order; none if there are none yet.

        Raises:
            DataError: the file is damaged.
        """
        path = self.path / file
        if not path.exists():
            return []
        return _read(path, lambda text: [Record(**json.loads(line)) for line in text.splitlines()])

    def save_records(self, records: Iterable[Record], file: str = RECORDS) -> None:
        """Replace the records, or those of the curve."""
        lines = (json.dumps(asdict(record), ensure_ascii=False) for record in records)
        write_text(self.path / file, "".join(line + "\n" for line in lines))

    def visibility(self) -> list[Visibility]:
        """Return how visible the perturbations are, a line a pair; none if it is not there yet.

        Raises:
            DataError: the file is damaged.
        """
        path = self.path / "visibility.jsonl"
        if not path.exists():
            return []
        return _read(path, lambda text: [Visibility(**json.loads(line)) for line in text.splitlines()])

    def save_visibility(self, lines: Iterable[Visibility]) -> None:
        """Keep how visible the perturbations are."""
        texts = (json.dumps(asdict(line), ensure_ascii=False) for line in lines)
        write_text(self.path / "visibility.jsonl", "".join(text + "\n" for text in texts))

    def seconds(self) -> dict[SurrogateAttack, float]:
        """Return the seconds an image took, by pair."""
        path = self.path / "timings.jsonl"
        totals: dict[SurrogateAttack, tuple[float, int]] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                entry = json.loads(line)
                pair = SurrogateAttack(entry["surrogate"], entry["attack"])
                seconds, images = totals.get(pair, (0.0, 0))
                totals[pair] = (seconds + entry["seconds"], images + entry["images"])
            except (ValueError, KeyError, TypeError):
                continue  # the last line of a killed run
        return {pair: seconds / images for pair, (seconds, images) in totals.items()}


def open_run(path: Path) -> RunFolder:
    """Return an existing run.

    Raises:
        TransferZooError: no run folder, or a run that is not finished.
    """
    run = RunFolder(path)
    try:
        content = json.loads((path / "config.json").read_text(encoding="utf-8"))
        config, schema = content["config"], content.get("schema", 1)
        sources = 1 if config["ensemble"] else len(config["surrogates"])
        cells = sources * len(config["attacks"]) * len(config["targets"])
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
    if (done := len(run.records())) < cells:
        raise TransferZooError(
            f"the run {path} is not finished",
            expected=f"{cells} records",
            got=str(done),
            hint="run its attack command again to finish it",
        )
    return run


def _read(path: Path, parse: Callable[[str], T]) -> T:
    """Return what a file of a run holds.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path} is missing", hint="run the attack command again, which makes it")
    return DataError(
        f"cannot read {path}: {reason(error)}", hint="delete it and run the attack command again"
    )


def _items(text: str) -> list[int]:
    return list(json.loads(text))


def _ids_and_labels(text: str) -> tuple[list[int], list[int]]:
    content = json.loads(text)
    return list(content["ids"]), list(content["labels"])


def _after(step: int, steps: int) -> str:
    return "images" if step == steps else f"after {step}"
