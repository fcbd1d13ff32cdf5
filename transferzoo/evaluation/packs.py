"""Packs: adversarial images in one file, made without a look at any target and tried on any number of them.

    pack.json                   surrogates with digests, attacks, budgets, seed, versions, licence, hashes
    labels.csv                  one line a clean image: file, label, id, target class, name of its own file
    clean/ID.png                the clean images
    adversarial/ROW/ROW-ID.png  what a surrogate, or several together, made of them under an attack

A pack is a zip of PNGs and text that any tool opens, written with the same bytes for the same run. It is what
a stranger wrote, too: it is unpacked as every archive is, and every file has to have the hash that
`pack.json` states, every image the size, and every perturbation the budget.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field, ValidationError

from transferzoo.attacks.norms import NORMS
from transferzoo.base.atomic import sha256, write_bytes
from transferzoo.base.attack_config import AttackConfig, AttackSpec
from transferzoo.base.budget import WrittenBudget
from transferzoo.base.digests import digest_of
from transferzoo.base.errors import DataError, UnknownNameError, UsageError, reason
from transferzoo.base.foreign_files import read_csv, read_json
from transferzoo.base.frozen_model import FrozenModel, wanted
from transferzoo.datasets import Batch, check_ids
from transferzoo.datasets.archives import CONTENTS, unpacked
from transferzoo.datasets.memory import MOST_BYTES, stacked
from transferzoo.evaluation.clean_predictions import parameters_digest
from transferzoo.evaluation.given_images import GivenImages
from transferzoo.evaluation.image_files import SLACK, read_unit
from transferzoo.evaluation.job import Job
from transferzoo.evaluation.pictures import png
from transferzoo.results.records import SurrogateAttack
from transferzoo.zoo.schema import MOST_CLASSES, MOST_PIXELS, DatasetSpec, assets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from transferzoo.evaluation.job import CraftingTask
    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.zoo.schema import ModelSpec

MANIFEST, LABELS = "pack.json", "labels.csv"
COLUMNS = ("file", "label", "id", "target_class", "name")
PINNED = re.compile(r"(?P<name>.+)@(?P<digest>[0-9a-fA-F]{1,64})")
LEAST = 8
"""Digits of a SHA-256 that name a pack, at least."""


class PackedImages(FrozenModel):
    """What made a row of adversarial images.

    Attributes:
        surrogate: full name; of an ensemble the names joined by " & ".
        attack: canonical form, budget included.
        budget: norm, epsilon, step and steps.
        gradients: evaluations an image.
        precision: of the surrogate's weights.
        surrogate_accuracy: clean accuracy, of an ensemble the mean.
        surrogate_sha256: of the weight file; of an ensemble joined by " & ".
        parameters: SHA-256 of each surrogate's parameters, whatever file they are in.
    """

    surrogate: str = Field(min_length=1)
    attack: str = Field(min_length=1)
    budget: WrittenBudget
    gradients: int = Field(ge=0)
    precision: Literal["fp32", "bf16"]
    surrogate_accuracy: float = Field(ge=0, le=1)
    surrogate_sha256: str
    parameters: tuple[str, ...]


class Manifest(FrozenModel):
    """What a pack says of itself.

    Attributes:
        version: of the format; raised when a pack comes to hold something else, or the same elsewhere.
        dataset: name of the data set.
        split: of the images.
        classes: their names in label order.
        channels: 1 or 3.
        size: height and width in pixels.
        mean: of the [0, 1] training pixels, for models that state none.
        std: likewise.
        licence: of the images.
        origin: where they come from.
        seed: of the draw of images, and of the attacks.
        images_correct_for: "all" where every surrogate classifies them correctly, "none" where nobody looked.
        targeted: how the class to be predicted was chosen; empty where any wrong class will do.
        images: a row each.
        versions: of the packages that made it.
        files: path → SHA-256 of every other file.
    """

    version: Literal[1] = 1
    dataset: str = Field(min_length=1)
    split: str
    classes: tuple[str, ...] = Field(min_length=2, max_length=MOST_CLASSES)
    channels: Literal[1, 3]
    size: int = Field(ge=4, le=MOST_PIXELS)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str
    origin: str
    seed: int = Field(ge=0)
    images_correct_for: Literal["all", "none"]
    targeted: str = ""
    images: tuple[PackedImages, ...] = Field(min_length=1)
    versions: dict[str, str]
    files: dict[str, str]


@dataclass(frozen=True, eq=False)
class Pack:
    """A pack that was read and checked.

    Attributes:
        place: its file.
        sha256: of that.
        manifest: what it says of itself.
        clean: the clean images, in order of id; `names` are those of their own files, if they have any.
        rows: the adversarial images of each surrogate and attack.
        target_classes: int64 (N,); None of an untargeted attack.
    """

    place: Path
    sha256: str
    manifest: Manifest
    clean: Batch
    rows: tuple[GivenImages, ...]
    target_classes: Tensor | None

    @property
    def name(self) -> str:
        """What it is called: by its file."""
        return self.place.stem

    @property
    def dataset(self) -> DatasetSpec:
        """The data set, as far as the pack knows it."""
        return _dataset(self.manifest)

    def files(self) -> tuple[list[str], list[str]]:
        """Return the names of the adversarial images' files, row by row, and of the clean ones."""
        ids = self.clean.ids.tolist()
        rows = range(1, len(self.rows) + 1)
        return [_adversarial(row, identity) for row in rows for identity in ids], [*map(_clean, ids)]


# ---------------------------------------------------------------- writing


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
    ids, labels = folder.selected()
    known = {identity: at for at, identity in enumerate(job.data.ids.tolist())}
    clean = job.data.images[torch.tensor([known[identity] for identity in ids])]
    content = {_clean(identity): png(image) for identity, image in zip(ids, clean, strict=True)}
    for row, task in enumerate(job.crafting_tasks, start=1):
        images = _crafted(job, folder, task, clean, torch.tensor(ids))
        content |= {_adversarial(row, one): png(image) for one, image in zip(ids, images, strict=True)}
    content[LABELS] = _table(ids, labels, folder.target_classes(), folder.names())
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


def _table(
    ids: Sequence[int], labels: Sequence[int], aimed_at: Sequence[int] | None, names: Sequence[str] | None
) -> bytes:
    stream = io.StringIO(newline="")
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(COLUMNS)
    for at, (identity, label) in enumerate(zip(ids, labels, strict=True)):
        target = "" if aimed_at is None else aimed_at[at]
        rows.writerow((_clean(identity), label, identity, target, names[at] if names else ""))
    return stream.getvalue().encode()


def _manifest(job: Job, folder: RunFolder, device: torch.device, content: Mapping[str, bytes]) -> Manifest:
    records = {record.pair: record for record in folder.records()}
    rows = []
    for task in job.crafting_tasks:
        record = records[task.pair]
        digests = [parameters_digest(job, model, device) for model in task.models]
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


def _clean(identity: int) -> str:
    return f"clean/{identity}.png"


def _adversarial(row: int, identity: int) -> str:
    return f"adversarial/{row}/{row}-{identity}.png"


# ---------------------------------------------------------------- reading


def built_in_packs() -> dict[str, Path]:
    """Return the packs of the package by name."""
    return {path.stem: path for path in sorted((assets() / "packs").glob("*.zip"))}


def find_pack(text: str) -> Path:
    """Return the file that a name of a built-in pack or a path stands for, pinned or not: `NAME@SHA256`.

    Raises:
        UnknownNameError: there is neither.
        UsageError: the digest has too few digits.
        DataError: the file has another digest.
    """
    known = built_in_packs()
    pinned = None if text in known or Path(text).is_file() else PINNED.fullmatch(text)
    name = pinned["name"] if pinned else text
    file = known.get(name, Path(name).expanduser())
    if not file.is_file():
        raise UnknownNameError("pack", name, known, others="the path of one")
    if pinned:
        _check_pinned(file, pinned["digest"])
    return file


def _check_pinned(file: Path, digest: str) -> None:
    if len(digest) < LEAST:
        raise UsageError(
            f"too few digits of a SHA-256 behind {file.stem}", expected=f"{LEAST} or more", got=repr(digest)
        )
    if not (found := digest_of(file, 64)).startswith(digest.lower()):
        raise DataError(f"{file} is another pack", expected=f"a SHA-256 of {digest}…", got=found)


def names_pack(text: str) -> bool:
    """Return whether a text names a built-in pack, or a zip with a pack's manifest, pinned or not."""
    pinned = PINNED.fullmatch(text)
    if text in built_in_packs() or (pinned and pinned["name"] in built_in_packs()):
        return True
    place = Path(text if pinned is None or Path(text).exists() else pinned["name"]).expanduser()
    try:
        with zipfile.ZipFile(place) as archive:
            return MANIFEST in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def read_pack(file: Path) -> Pack:
    """Read a pack and check all that it says of itself.

    Args:
        file: a zip that `write_pack` wrote; see `find_pack`.

    Raises:
        DataError: it is damaged, no pack, or of another version; a file is missing, unlisted, or not the one
            that was listed; an image has another size, or is outside of its attack's budget; an id repeats.
    """
    folder = unpacked(file)
    manifest = _read_manifest(folder / MANIFEST, file)
    _check_files(folder, manifest, file)
    spec = _dataset(manifest)
    ids, labels, aimed_at, names = _read_table(folder / LABELS, manifest, file)
    pixels = len(ids) * (1 + len(manifest.images)) * manifest.channels * manifest.size**2
    if pixels > MOST_BYTES:
        raise _wrong(file, "too large", expected=f"at most {MOST_BYTES:,} bytes of pixels", got=f"{pixels:,}")

    def images(name: Callable[[int], str]) -> Tensor:
        encoded = ((folder / name(one), f"{file}/{name(one)}") for one in ids)
        return stacked(encoded, len(ids), spec, "exact", lambda *_: None)

    clean = Batch(images(_clean), torch.tensor(labels), torch.tensor(ids), names)
    check_ids(clean.ids, str(file))
    rows = []
    for number, row in enumerate(manifest.images, start=1):
        made = images(lambda one, number=number: _adversarial(number, one))  # type: ignore[misc]
        farthest = float(row.budget.exact.epsilon) * (1 + SLACK)
        if bool((NORMS[row.budget.norm].distance(made, clean.images) > farthest).any()):
            raise _wrong(file, "not within its budget", expected=row.attack, got="images farther away")
        rows.append(_row(row, made))
    targets = None if aimed_at is None else torch.tensor(aimed_at)
    return Pack(file, digest_of(file, 64), manifest, clean, tuple(rows), targets)


def _row(row: PackedImages, images: Tensor) -> GivenImages:
    facts = {"steps": row.budget.steps, **row.model_dump(exclude={"budget", "parameters"})}
    pair = SurrogateAttack(facts.pop("surrogate"), facts.pop("attack"))
    weights = frozenset([*row.surrogate_sha256.split(" & "), *row.parameters]) - {""}
    return GivenImages(pair, images, facts, weights)


def _wrong(file: Path, what: str, **parts: Any) -> DataError:
    return DataError(f"the pack {file} is {what}", **parts)


def _read_manifest(place: Path, file: Path) -> Manifest:
    try:
        content = read_json(place)
    except FileNotFoundError:
        raise _wrong(file, "no pack", expected=f"a {MANIFEST} in it", got="none") from None
    except (OSError, ValueError) as error:
        raise _wrong(file, f"damaged ({reason(error)})") from None
    version = content.get("version") if isinstance(content, dict) else None
    if version != 1:
        raise _wrong(file, "of another version", expected="version 1", got=repr(version))
    try:
        return Manifest.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise _wrong(file, "damaged", expected=f"'{name}' as {wanted(first['msg'])}") from None


def _check_files(folder: Path, manifest: Manifest, file: Path) -> None:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    apart = found.keys() ^ {*manifest.files, MANIFEST, CONTENTS}
    if apart:
        raise _wrong(
            file, "not whole", expected=f"the files that {MANIFEST} lists", got=f"{min(apart)} apart"
        )
    for name, digest in manifest.files.items():
        if sha256(found[name]) != digest:
            raise _wrong(file, "damaged", expected=f"{name} with the SHA-256 {digest[:12]}…", got="another")


def _read_table(
    place: Path, manifest: Manifest, file: Path
) -> tuple[list[int], list[int], list[int] | None, tuple[str, ...]]:
    """Return ids, labels, target classes if there are any, and names if there are any."""
    try:
        lines = list(read_csv(place))
        columns = [[line[column] for line in lines] for column in COLUMNS]
        files, *numbers, names = columns
        labels, ids = ([int(text) for text in column] for column in numbers[:2])
        aimed_at = [int(text) for text in numbers[2]] if manifest.targeted else None
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise _wrong(file, f"damaged ({LABELS}: {reason(error)})") from None
    within = all(0 <= label < len(manifest.classes) for label in (*labels, *(aimed_at or ())))
    if not lines or not within or files != [*map(_clean, ids)]:
        raise _wrong(file, "damaged", expected=f"a class and a file of each image in {LABELS}")
    wanted_files = {
        *files,
        *(_adversarial(row + 1, one) for row in range(len(manifest.images)) for one in ids),
    }
    if wanted_files | {LABELS} != manifest.files.keys():
        raise _wrong(file, "not whole", expected="every image once clean, and once in each row")
    return ids, labels, aimed_at, tuple(names) if any(names) else ()


def _dataset(manifest: Manifest) -> DatasetSpec:
    return DatasetSpec.of(
        name=manifest.dataset,
        splits={manifest.split or "test": ()},
        **manifest.model_dump(include={"classes", "channels", "size", "mean", "std", "licence", "origin"}),
    )


# ---------------------------------------------------------------- trying


def pack_job(
    pack: Pack,
    dataset: DatasetSpec,
    targets: Sequence[ModelSpec],
    images_correct_for: str = "all",
    **job: Any,
) -> Job:
    """Return the job of trying a pack on targets, for `run.measure_given`.

    Args:
        pack: gives images, budgets and seed.
        dataset: as the targets know it.
        targets: at least one.
        images_correct_for: see `AttackConfig`.
        **job: further attributes of the job, like `trusted`.
    """
    manifest = pack.manifest
    budgets = {row.budget.model_dump_json(): row.budget for row in manifest.images}
    config = AttackConfig.of(
        dataset=dataset.name,
        split=manifest.split,
        surrogates=tuple(dict.fromkeys(row.surrogate for row in manifest.images)),
        targets=tuple(model.full_name for model in targets),
        attacks=tuple(AttackSpec(techniques="", **one.model_dump()) for one in budgets.values()),
        targeted="file" if manifest.targeted else "",
        images=len(pack.clean),
        images_correct_for=images_correct_for,
        seed=manifest.seed,
        batch_size=dataset.attack.batch_size,
    )
    known = dataset.model_copy(update=manifest.model_dump(include={"classes", "channels", "size"}))
    return Job(config, known, (), tuple(targets), pack.clean, pack.target_classes, **job)
