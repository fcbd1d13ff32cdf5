"""What a pack says of itself, and where it lies. Nothing here imports torch."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from transferzoo.base.budget import WrittenBudget
from transferzoo.base.digests import digest_of
from transferzoo.base.errors import DataError, UnknownNameError, UsageError, reason
from transferzoo.base.foreign_files import parse_json
from transferzoo.base.frozen_model import FrozenModel, wanted
from transferzoo.evaluation import hub_packs
from transferzoo.zoo.schema import MOST_CLASSES, MOST_PIXELS, assets

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


MOST_BYTES = 2**26
"""Bytes of a manifest at most."""


def manifest_of(file: Path) -> Manifest:
    """Return what a pack says of itself; whether it is true `packs.read_pack` tells.

    Raises:
        DataError: it is no pack, damaged, or of another version.
    """
    try:
        with zipfile.ZipFile(file) as archive, archive.open(MANIFEST) as stream:
            text = stream.read(MOST_BYTES)
        return parse_manifest(text.decode(), file)
    except KeyError:
        raise wrong_pack(file, "no pack", expected=f"a {MANIFEST} in it", got="none") from None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise wrong_pack(file, f"damaged ({reason(error)})") from None


def parse_manifest(text: str, file: Path) -> Manifest:
    """Return the manifest that a text holds; `file` is named in errors.

    Raises:
        DataError: it is damaged, or of another version.
    """
    try:
        content = parse_json(text)
    except ValueError as error:
        raise wrong_pack(file, f"damaged ({reason(error)})") from None
    version = content.get("version") if isinstance(content, dict) else None
    if version != 1:
        raise wrong_pack(file, "of another version", expected="version 1", got=repr(version))
    try:
        return Manifest.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise wrong_pack(file, "damaged", expected=f"'{name}' as {wanted(first['msg'])}") from None


def wrong_pack(file: Path, what: str, **parts: str) -> DataError:
    """Return the error that a pack is not as it should be."""
    return DataError(f"the pack {file} is {what}", **parts)


def clean_name(identity: int) -> str:
    """Return the path of a clean image in a pack."""
    return f"clean/{identity}.png"


def adversarial_name(row: int, identity: int) -> str:
    """Return the path of an adversarial image in a pack; rows count from 1."""
    return f"adversarial/{row}/{row}-{identity}.png"


def built_in_packs() -> dict[str, Path]:
    """Return the packs of the package by name."""
    return {path.stem: path for path in sorted((assets() / "packs").glob("*.zip"))}


def find_pack(text: str) -> Path:
    """Return the file that a name stands for: of a built-in pack, a path, or one on the Hub.

    The first two may be pinned, `NAME@SHA256`; of "hf-pack:OWNER/NAME[@REVISION]" the commit is the pin.

    Raises:
        UnknownNameError: there is neither.
        UsageError: the digest has too few digits.
        DataError: the file has another digest.
        TransferZooError: the Hub has no such pack, or cannot be reached.
    """
    if text.startswith(hub_packs.PREFIX):
        return hub_packs.HubPack.parse(text).download()
    known = built_in_packs()
    pinned = None if text in known or Path(text).is_file() else PINNED.fullmatch(text)
    name = pinned["name"] if pinned else text
    file = known.get(name, Path(name).expanduser())
    if not file.is_file():
        raise UnknownNameError("pack", name, known, others=f"the path of one, or {hub_packs.WRITTEN}")
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
    """Return whether a text names a built-in pack, a zip with a pack's manifest, or one on the Hub."""
    if text.startswith(hub_packs.PREFIX):
        return True
    pinned = PINNED.fullmatch(text)
    if text in built_in_packs() or (pinned and pinned["name"] in built_in_packs()):
        return True
    place = Path(text if pinned is None or Path(text).exists() else pinned["name"]).expanduser()
    try:
        with zipfile.ZipFile(place) as archive:
            return MANIFEST in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
