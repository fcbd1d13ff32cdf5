"""Adversarial images that somebody else made: read, paired with their clean twins, measured.

An image and its twin have the same path, or the same file name whatever the folders and the format, or the
name that this tool saves pictures by. Of clean images without names the first number in the name is the id.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from transferzoo.attacks.norms import NORMS
from transferzoo.base.budget import BALLS, Ball, Budget
from transferzoo.base.errors import DataError, UnknownNameError, near_names
from transferzoo.base.spec_strings import require
from transferzoo.datasets.archives import is_archive, unpacked
from transferzoo.datasets.files import walk
from transferzoo.datasets.memory import stacked
from transferzoo.datasets.pixels import shape_of
from transferzoo.evaluation.pack_manifest import built_in_packs
from transferzoo.evaluation.pictures import SHEET, picture_name
from transferzoo.results.records import NOISE_FIELDS

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from torch import Tensor

    from transferzoo.datasets import Batch, OnProgress
    from transferzoo.results.records import SurrogateAttack
    from transferzoo.zoo.schema import DatasetSpec


@dataclass(frozen=True, eq=False)
class GivenImages:
    """Adversarial images that are there: a row of the results.

    Attributes:
        pair: what the records say that they were crafted by.
        images: of every candidate, uint8 (N, C, H, W).
        facts: what the records say of the surrogate, like `NOISE_FIELDS`; what is left out is unknown.
        weights: digests of the surrogates' weight files and parameters: a target of one is a white box.
    """

    pair: SurrogateAttack
    images: Tensor
    facts: Mapping[str, Any]
    weights: frozenset[str] = frozenset()

    @property
    def fields(self) -> dict[str, Any]:
        """What records say of the surrogate, the attack and the cost."""
        return {**NOISE_FIELDS, **self.facts, **asdict(self.pair)}


@dataclass(frozen=True)
class ImageFolder:
    """A folder, or an archive, of images.

    Attributes:
        place: as the user wrote it.
        root: where the files lie.
        names: of the files, relative to there, sorted.
        shape: channels, height and width of the first.
    """

    place: Path
    root: Path
    names: tuple[str, ...]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, place: Path) -> ImageFolder:
        """Look what a place holds.

        Raises:
            DataError: it is not there, or holds no image.
        """
        if not place.expanduser().exists():
            near = near_names(str(place), built_in_packs())
            raise DataError(
                f"there is no {place}",
                expected="a folder or archive of PNGs, or a pack",
                hint=f"did you mean {near[0]}?" if near else "check its path",
            )
        root = unpacked(place) if is_archive(place) else place.expanduser()
        names = _without_sheets(sorted(name for name, _ in walk(root))) if root.is_dir() else ()
        if not names:
            raise DataError(f"{place} holds no image", expected="a folder or archive of PNGs", got="none")
        return cls(place, root, names, shape_of(root / names[0], names[0]))

    def read(self, spec: DatasetSpec, on_progress: OnProgress) -> Tensor:
        """Return the images, uint8 (N, C, H, W), all of the size that a data set has.

        Raises:
            DataError: one cannot be read, or has another size.
        """
        files = ((self.root / name, f"{self.place}/{name}") for name in self.names)
        return stacked(files, len(self.names), spec, "exact", on_progress)


def _without_sheets(names: Sequence[str]) -> tuple[str, ...]:
    """Leave out sheets of pictures that `attack --save-images` wrote beside pictures named by numbers."""
    folders: dict[Path, list[Path]] = {}
    for path in map(Path, names):
        folders.setdefault(path.parent, []).append(path)
    ours = {
        parent / SHEET
        for parent, paths in folders.items()
        if len(paths) > 1 and all(path.stem[:1].isdigit() for path in paths if path.name != SHEET)
    }
    return tuple(name for name in names if Path(name) not in ours)


def twins(names: Sequence[str], clean: Batch, place: str) -> tuple[list[int], list[int]]:
    """Pair images with clean ones, by the first rule of the module that pairs any.

    Args:
        names: of the adversarial images' files.
        clean: the clean images.
        place: where the former lie, for an error.

    Returns:
        Positions of those that have a twin, and of their twins, in the order of the twins.

    Raises:
        DataError: none has, or two have the same.
    """
    for mine, theirs in _rules(names, clean):
        times = Counter(theirs)
        known = {key: at for at, key in enumerate(theirs) if times[key] == 1}
        pairs = sorted((known[key], at) for at, key in enumerate(mine) if key in known)
        if len({twin for twin, _ in pairs}) < len(pairs):
            raise DataError(
                f"two images of {place} belong to one clean image", expected="one of each in a folder"
            )
        if pairs:
            return [at for _, at in pairs], [twin for twin, _ in pairs]
    example = f"{names[0]} in {place}"
    other = clean.names[0] if clean.names else f"an image with the id {int(clean.ids[0])}"
    raise DataError(
        "no adversarial image has a clean twin",
        expected="files of the same names, or called by the clean images' ids",
        got=f"{example}, and {other}",
        hint="give the folder of the clean images with --clean",
    )


def _rules(names: Sequence[str], clean: Batch) -> list[tuple[list[Hashable], list[Hashable]]]:
    """Return what is compared by each rule: keys of the adversarial images, and of the clean ones."""
    paths = [PurePosixPath(name) for name in names]
    ids = clean.ids.tolist()
    if not clean.names:
        numbers = (re.match(r"\D*(\d+)", path.stem) for path in paths)
        return [([int(found[1]) if found else None for found in numbers], ids)]
    others = [PurePosixPath(name) for name in clean.names]
    saved = [picture_name(identity, path.name) for identity, path in zip(ids, others, strict=True)]
    return [
        ([path.with_suffix("") for path in paths], [path.with_suffix("") for path in others]),
        ([path.stem for path in paths], [path.stem for path in others]),
        ([path.name for path in paths], [*saved]),
    ]


@dataclass(frozen=True)
class Perturbations:
    """How far images are from their twins.

    Attributes:
        linf: the largest L∞ distance, in levels of 255.
        l2: the largest L2 distance, in [0, 1] pixels.
        beyond: positions of those beyond a budget.
    """

    linf: int
    l2: float
    beyond: tuple[int, ...]


def perturbations(adversarial: Tensor, clean: Tensor, budget: Budget) -> Perturbations:
    """Measure images, uint8 (N, C, H, W), against their twins and a budget."""
    linf, l2 = (NORMS[norm].distance(adversarial, clean) for norm in ("linf", "l2"))
    far = NORMS[budget.norm].distance(adversarial, clean).double() > float(budget.epsilon) + 1e-6
    return Perturbations(round(float(linf.max()) * 255), float(l2.max()), tuple(far.nonzero()[:, 0].tolist()))


def observed_budget(adversarial: Tensor, images: Tensor, norm: Ball) -> Budget:
    """Return the smallest budget that holds all perturbations; in L∞ a whole number of levels.

    Raises:
        UnknownNameError: no such norm.
        UsageError: the images are the clean ones.
    """
    if norm not in BALLS:
        raise UnknownNameError("norm", str(norm), BALLS)
    farthest = float(NORMS[norm].distance(adversarial, images).max()) if len(images) else 0.0
    require(farthest > 0, "the adversarial images are the clean ones", expected="a change", got="none")
    epsilon = (
        Fraction(round(farthest * 255), 255) if norm == "linf" else Fraction(ceil(farthest * 1e4), 10**4)
    )
    return Budget(norm, epsilon, epsilon, 1)
