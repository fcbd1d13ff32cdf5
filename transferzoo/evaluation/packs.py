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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from transferzoo.attacks.norms import NORMS
from transferzoo.base.atomic import sha256
from transferzoo.base.attack_config import AttackConfig, AttackSpec
from transferzoo.base.digests import digest_of
from transferzoo.base.errors import UsageError, reason
from transferzoo.base.foreign_files import read_csv, read_text
from transferzoo.datasets import Batch, check_ids
from transferzoo.datasets.archives import unpacked
from transferzoo.datasets.kept_folder import CONTENTS
from transferzoo.datasets.memory import MOST_BYTES, stacked
from transferzoo.evaluation.given_images import GivenImages
from transferzoo.evaluation.image_files import SLACK
from transferzoo.evaluation.job import Job
from transferzoo.evaluation.pack_manifest import (
    COLUMNS,
    LABELS,
    MANIFEST,
    Manifest,
    PackedImages,
    adversarial_name,
    built_in_packs,
    clean_name,
    parse_manifest,
    wrong_pack,
)
from transferzoo.results.records import SurrogateAttack
from transferzoo.zoo.schema import DatasetSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from torch import Tensor

    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import ModelSpec


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

    @property
    def facts(self) -> dict[str, Any]:
        """What a reader wants to know of it."""
        made = self.manifest
        named = self.name if built_in_packs().get(self.name) == self.place else self.place
        rows = [row.model_dump(mode="json", exclude={"budget", "parameters"}) for row in made.images]
        unsaid = {"version", "classes", "channels", "size", "mean", "std", "images", "files"}
        return {
            "kind": "pack",
            "name": self.name,
            "place": str(self.place),
            "sha256": self.sha256,
            "bytes": self.place.stat().st_size,
            "clean_images": len(self.clean),
            **made.model_dump(mode="json", exclude=unsaid),
            "adversarial_images": rows,
            "command": f"transferzoo score {named} --target NAME",
        }

    def files(self) -> tuple[list[str], list[str]]:
        """Return the names of the adversarial images' files, row by row, and of the clean ones."""
        ids = self.clean.ids.tolist()
        rows = range(1, len(self.rows) + 1)
        return [adversarial_name(row, identity) for row in rows for identity in ids], [*map(clean_name, ids)]


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
        raise wrong_pack(
            file, "too large", expected=f"at most {MOST_BYTES:,} bytes of pixels", got=f"{pixels:,}"
        )

    def images(name: Callable[[int], str]) -> Tensor:
        encoded = ((folder / name(one), f"{file}/{name(one)}") for one in ids)
        return stacked(encoded, len(ids), spec, "exact", lambda *_: None)

    clean = Batch(images(clean_name), torch.tensor(labels), torch.tensor(ids), names)
    check_ids(clean.ids, str(file))
    rows = []
    for number, row in enumerate(manifest.images, start=1):
        made = images(lambda one, number=number: adversarial_name(number, one))  # type: ignore[misc]
        farthest = float(row.budget.exact.epsilon) * (1 + SLACK)
        if bool((NORMS[row.budget.norm].distance(made, clean.images) > farthest).any()):
            raise wrong_pack(file, "not within its budget", expected=row.attack, got="images farther away")
        rows.append(_row(row, made))
    targets = None if aimed_at is None else torch.tensor(aimed_at)
    return Pack(file, digest_of(file, 64), manifest, clean, tuple(rows), targets)


def _row(row: PackedImages, images: Tensor) -> GivenImages:
    facts = {"steps": row.budget.steps, **row.model_dump(exclude={"budget", "parameters"})}
    pair = SurrogateAttack(facts.pop("surrogate"), facts.pop("attack"))
    weights = frozenset([*row.surrogate_sha256.split(" & "), *row.parameters]) - {""}
    return GivenImages(pair, images, facts, weights)


def _read_manifest(place: Path, file: Path) -> Manifest:
    try:
        text = read_text(place)
    except FileNotFoundError:
        raise wrong_pack(file, "no pack", expected=f"a {MANIFEST} in it", got="none") from None
    except (OSError, ValueError) as error:
        raise wrong_pack(file, f"damaged ({reason(error)})") from None
    return parse_manifest(text, file)


def _check_files(folder: Path, manifest: Manifest, file: Path) -> None:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    apart = found.keys() ^ {*manifest.files, MANIFEST, CONTENTS}
    if apart:
        raise wrong_pack(
            file, "not whole", expected=f"the files that {MANIFEST} lists", got=f"{min(apart)} apart"
        )
    for name, digest in manifest.files.items():
        if sha256(found[name]) != digest:
            raise wrong_pack(
                file, "damaged", expected=f"{name} with the SHA-256 {digest[:12]}…", got="another"
            )


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
        raise wrong_pack(file, f"damaged ({LABELS}: {reason(error)})") from None
    within = all(0 <= label < len(manifest.classes) for label in (*labels, *(aimed_at or ())))
    if not lines or not within or files != [*map(clean_name, ids)]:
        raise wrong_pack(file, "damaged", expected=f"a class and a file of each image in {LABELS}")
    wanted_files = {
        *files,
        *(adversarial_name(row + 1, one) for row in range(len(manifest.images)) for one in ids),
    }
    if wanted_files | {LABELS} != manifest.files.keys():
        raise wrong_pack(file, "not whole", expected="every image once clean, and once in each row")
    return ids, labels, aimed_at, tuple(names) if any(names) else ()


def _dataset(manifest: Manifest) -> DatasetSpec:
    return DatasetSpec.of(
        name=manifest.dataset,
        splits={manifest.split or "test": ()},
        **manifest.model_dump(include={"classes", "channels", "size", "mean", "std", "licence", "origin"}),
    )


def with_packed(zoo: Zoo, packs: Iterable[Pack]) -> tuple[Zoo, str | None]:
    """Return a zoo that has the data set of packs, and its name; None without any pack.

    Raises:
        UsageError: they are of several data sets.
    """
    found = {pack.manifest.dataset: pack.dataset for pack in packs}
    if len(found) > 1:
        raise UsageError("packs of several data sets share no table", expected="one", got=", ".join(found))
    known = {name: zoo.datasets.get(name, spec) for name, spec in found.items()}
    return replace(zoo, datasets={**zoo.datasets, **known}), next(iter(known), None)


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
