"""A finished run → a pack, the same bytes for the same run."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from typing import TYPE_CHECKING

import torch

from transferzoo.base.atomic import write_bytes
from transferzoo.base.budget import WrittenBudget
from transferzoo.base.errors import UsageError
from transferzoo.evaluation.image_files import read_unit
from transferzoo.evaluation.pack_manifest import (
    COLUMNS,
    LABELS,
    MANIFEST,
    Manifest,
    PackedImages,
    adversarial_name,
    clean_name,
)
from transferzoo.evaluation.pictures import png

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from transferzoo.base.attack_config import AttackConfig
    from transferzoo.evaluation.job import CraftingTask, Job
    from transferzoo.evaluation.run_files import Selection
    from transferzoo.evaluation.run_folder import RunFolder


def check_packable(config: AttackConfig) -> None:
    """Check that a run can be packed: its targets are its surrogates, which decide alone on the images.

    Raises:
        UsageError: others have a say.
    """
    if config.images_correct_for == "target" or not {*config.targets} <= {*config.surrogates}:
        raise UsageError(
            "a pack is made without a look at any target",
            expected="images chosen by the surrogates, or by nobody (--images-correct-for all or none)",
            got=f"--images-correct-for {config.images_correct_for}, targets {', '.join(config.targets)}",
        )


def write_pack(file: Path, job: Job, folder: RunFolder, device: torch.device | None = None) -> Manifest:
    """Write the images of a finished run as a pack.

    Args:
        file: a .zip; replaced if it is there.
        job: whose targets are its surrogates; see `check_packable`.
        folder: of the finished run.
        device: where a surrogate computes whose parameters are not known yet.

    Raises:
        UsageError: targets had a say in the choice of images.
        DataError: a file of the run is missing or damaged.
        TransferZooError: the file cannot be written.
    """
    check_packable(job.config)
    selection = folder.selected()
    ids = selection.ids
    clean = job.data.images[job.data.places(ids)]
    content = {clean_name(identity): png(image) for identity, image in zip(ids, clean, strict=True)}
    for row, task in enumerate(job.crafting_tasks, start=1):
        images = _crafted(job, folder, task, clean, torch.tensor(ids))
        content |= {adversarial_name(row, one): png(image) for one, image in zip(ids, images, strict=True)}
    content[LABELS] = _table(selection)
    manifest = _manifest(job, folder, device or torch.device("cpu"), content)
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    write_bytes(file, _zipped({MANIFEST: text.encode(), **content}))
    return manifest


def _crafted(job: Job, folder: RunFolder, task: CraftingTask, clean: Tensor, ids: Tensor) -> Tensor:
    """Return the adversarial images of a row, uint8 (N, C, H, W)."""
    parts = torch.arange(len(ids)).split(job.config.batch_size)
    files = (folder.unit_path(task.pair, unit) for unit in range(len(parts)))
    steps = task.attack.budget.steps
    return torch.cat(
        [
            read_unit(file, steps, clean[within], ids[within], task.attack)
            for file, within in zip(files, parts, strict=True)
        ]
    )


def _table(selection: Selection) -> bytes:
    stream = io.StringIO(newline="")
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(COLUMNS)
    ids = selection.ids
    aimed_at: Sequence[object] = selection.target_classes or [""] * len(ids)
    rows.writerows(zip(map(clean_name, ids), selection.labels, ids, aimed_at, selection.names, strict=True))
    return stream.getvalue().encode()


def _manifest(job: Job, folder: RunFolder, device: torch.device, content: Mapping[str, bytes]) -> Manifest:
    records = {record.pair: record for record in folder.records()}
    rows = []
    for task in job.crafting_tasks:
        record = records[task.pair]
        digests = [job.predictions(model).parameters_digest(device) for model in task.models]
        rows.append(
            PackedImages(
                surrogate=record.surrogate,
                attack=record.attack,
                budget=WrittenBudget(**task.attack.budget.written),
                gradients=record.gradients,
                precision=job.config.precision,
                surrogate_accuracy=record.surrogate_accuracy,
                surrogate_sha256=record.surrogate_sha256,
                parameters=tuple(digest for digest in digests if digest),
            )
        )
    known = job.dataset
    return Manifest(
        dataset=known.name,
        split=job.config.split,
        classes=known.classes,
        channels=1 if job.data.images.shape[1] == 1 else 3,
        size=job.data.images.shape[2],
        mean=known.mean,
        std=known.std,
        licence=known.licence,
        origin=known.origin,
        seed=job.config.seed,
        images_correct_for="all" if job.config.images_correct_for == "all" else "none",
        targeted=job.config.targeted,
        images=tuple(rows),
        versions=job.content["versions"],
        files={name: hashlib.sha256(data).hexdigest() for name, data in content.items()},
    )


def _zipped(content: Mapping[str, bytes]) -> bytes:
    """Return a zip of files, in their order, without times or owners; PNGs are stored as they are."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in content.items():
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            method = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            archive.writestr(entry, data, method)
    return stream.getvalue()
