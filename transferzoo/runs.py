"""A run folder: what was asked, the 8-bit images, one record a line; whatever is there is never done again.

    config.json            configuration, weights and data by digest, versions
    clean/MODEL.json       predictions on the clean images
    selection.json         the images attacked
    images/MODEL/NNNN.safetensors   adversarial images of one work unit: `images` uint8 (N, C, H, W), `ids`
    records.jsonl          one line a surrogate and target
    timings.jsonl          seconds of each unit; the only file that differs between two runs

Every file is written whole or not at all, so a run may be killed at any moment and started again; the folder
is named by the fingerprint of all that its content depends on. Nothing here imports torch.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from transferzoo.atomic import sha256, write_bytes, write_json, write_text, writing
from transferzoo.config import fingerprint
from transferzoo.errors import DataError, TransferZooError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor


@dataclass(frozen=True)
class Record:
    """What one surrogate's images do to one target.

    Attributes:
        surrogate: full name.
        target: full name.
        attack: canonical form, budget included.
        dataset: name of the data set.
        split: its split.
        seed: of the run.
        selection: SHA-256 of the ids and labels of the attacked images; equal for the same images.
        n: images counted.
        successes: of them, those that the target does not classify correctly.
        rate: successes / n.
        low: lower end of the 95 % Wilson interval of the rate.
        high: upper end.
        white_box: the target has the surrogate's own weights.
        surrogate_accuracy: clean accuracy on all candidate images.
        target_accuracy: likewise.
        gradients: gradient evaluations an image.
        surrogate_sha256: of the weight file.
        target_sha256: likewise.
        outcomes: a character an attacked image in order of id: 1 fooled, 0 not, - not counted.
        versions: of the packages the result depends on.
    """

    surrogate: str
    target: str
    attack: str
    dataset: str
    split: str
    seed: int
    selection: str
    n: int
    successes: int
    rate: float
    low: float
    high: float
    white_box: bool
    surrogate_accuracy: float
    target_accuracy: float
    gradients: int
    surrogate_sha256: str
    target_sha256: str
    outcomes: str
    versions: Mapping[str, str]


class RunFolder:
    """A run on disk.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, root: Path, content: Mapping[str, Any]) -> RunFolder:
        """Return the folder under `root` for what a run depends on, named by its fingerprint."""
        return cls(root / fingerprint(content)[:12])

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
            write_json(self.path / "config.json", content)

    # ------------------------------------------------------------ clean predictions and selection

    def clean(self, model: str) -> list[int] | None:
        """Return a model's predictions on the clean images, None if they are not there yet."""
        path = self._clean(model)
        return list(json.loads(path.read_text())) if path.exists() else None

    def save_clean(self, model: str, predictions: Sequence[int]) -> None:
        """Keep a model's predictions on the clean images."""
        write_text(self._clean(model), json.dumps(list(predictions)) + "\n")

    def _clean(self, model: str) -> Path:
        return self.path / "clean" / f"{_flat(model)}.json"

    def save_selection(self, ids: Sequence[int], labels: Sequence[int]) -> None:
        """Keep which images are attacked."""
        write_text(self._selection(), json.dumps({"ids": list(ids), "labels": list(labels)}) + "\n")

    def selection(self) -> str:
        """Return the SHA-256 of which images are attacked."""
        return sha256(self._selection())

    def _selection(self) -> Path:
        return self.path / "selection.json"

    # ------------------------------------------------------------ adversarial images

    def has_unit(self, surrogate: str, unit: int) -> bool:
        """Return whether a work unit is finished."""
        return self._unit(surrogate, unit).exists()

    def save_unit(self, surrogate: str, unit: int, images: Tensor, ids: Tensor, seconds: float) -> None:
        """Keep the adversarial images of a work unit and how long they took."""
        from safetensors.torch import save

        content = save({"images": images.contiguous(), "ids": ids.contiguous()})
        write_bytes(self._unit(surrogate, unit), content)
        line = {"surrogate": surrogate, "unit": unit, "images": len(ids), "seconds": round(seconds, 3)}
        with writing(self.path), (self.path / "timings.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def images(self, surrogate: str, units: int) -> Tensor:
        """Return all adversarial images of a surrogate, uint8 (N, C, H, W), in order of id.

        Raises:
            DataError: a file is missing or damaged.
        """
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        parts = []
        for unit in range(units):
            path = self._unit(surrogate, unit)
            try:
                parts.append(load_file(path)["images"])
            except (OSError, SafetensorError, KeyError) as error:
                raise DataError(
                    f"cannot read {path}: {error}", hint="delete it and run the same command again"
                ) from None
        return torch.cat(parts)

    def _unit(self, surrogate: str, unit: int) -> Path:
        return self.path / "images" / _flat(surrogate) / f"{unit:04d}.safetensors"

    # ------------------------------------------------------------ records

    def records(self) -> list[Record]:
        """Return the records, in their order; none if there are none yet.

        Raises:
            DataError: the file is damaged.
        """
        path = self.path / "records.jsonl"
        if not path.exists():
            return []
        try:
            return [Record(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
        except (ValueError, TypeError) as error:
            raise DataError(
                f"cannot read {path}: {error}", hint="delete it and run the same command again"
            ) from None

    def save_records(self, records: Iterable[Record]) -> None:
        """Replace the records."""
        lines = (json.dumps(asdict(record), ensure_ascii=False) for record in records)
        write_text(self.path / "records.jsonl", "".join(line + "\n" for line in lines))

    def seconds(self) -> dict[str, float]:
        """Return the seconds an image took, by surrogate."""
        path = self.path / "timings.jsonl"
        totals: dict[str, tuple[float, int]] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the last line of a killed run
            seconds, images = totals.get(entry["surrogate"], (0.0, 0))
            totals[entry["surrogate"]] = (seconds + entry["seconds"], images + entry["images"])
        return {surrogate: seconds / images for surrogate, (seconds, images) in totals.items()}


def open_run(path: Path) -> RunFolder:
    """Return an existing run.

    Raises:
        TransferZooError: no run folder, or a run that is not finished.
    """
    run = RunFolder(path)
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))["config"]
        cells = len(config["surrogates"]) * len(config["targets"])
    except (OSError, ValueError, KeyError, TypeError):
        raise TransferZooError(
            f"{path} is not a run folder", expected="a folder that `transferzoo attack` wrote",
            got="no readable config.json in it",
        ) from None  # fmt: skip
    if (done := len(run.records())) < cells:
        raise TransferZooError(
            f"the run {path} is not finished", expected=f"{cells} records", got=str(done),
            hint="run its attack command again to finish it",
        )  # fmt: skip
    return run


def _flat(model: str) -> str:
    return model.replace("/", "--")
