"""The user's own images: whose classes they are of, and the data set that a zoo file would make of them.

A place of images is taken for one of a data set of the zoo where the user names that, or where it fits the
default one: every class it holds is one of that, and its first image has that size. Anything else becomes a
data set of its own, and is from then on as if a zoo file had it.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from transferzoo.base.errors import DataError, UsageError, few
from transferzoo.base.frozen_model import fingerprint
from transferzoo.datasets.archives import is_archive, unpacked
from transferzoo.datasets.files import SPLITS, names_of, only_folder
from transferzoo.datasets.hf_datasets import NO_COLUMNS, PATTERN, as_parquet, names_hf_dataset
from transferzoo.datasets.labels import names_of_labels, of_folder
from transferzoo.datasets.sources import reader_of
from transferzoo.zoo.schema import AttackDefaults, DatasetSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from transferzoo.datasets import Contents, Reader
    from transferzoo.datasets.hf_datasets import Columns
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import ModelSpec

UNSEEN = "unseen"
"""The split of those images of a place without splits that no training sees."""
SHARES = {"train": (0.0, 0.7), UNSEEN: (0.7, 1.0)}
"""What a training sees of a place without splits, and what it does not; "test" is all of it."""


def own_images(
    zoo: Zoo,
    dataset: str | None,
    root: Path | None,
    notify: Callable[[str], None] = lambda note: None,
    warn: Callable[[str], None] = lambda note: None,
    columns: Columns = NO_COLUMNS,
) -> tuple[Zoo, str, Path | None]:
    """Find out whose images a command is about; those of the library `datasets` are brought here first.

    Args:
        zoo: what names mean.
        dataset: the data set that the user named; None where none was.
        root: the user's own place, None for the data set's.
        notify: called with a sentence on what was decided.
        warn: called with a sentence on files that are passed over.
        columns: of a data set of the library `datasets`, where the user says them.

    Returns:
        A zoo that has the data set, its name, and the place where it is not the data set's own.

    Raises:
        UnknownNameError: no such data set.
        UsageError: there are no such columns, or nothing that has columns.
        DataError: the place holds images that cannot be read, or of one class alone.
    """
    default = zoo.dataset(dataset or zoo.default_dataset)
    here = _here(root, columns, notify)
    if dataset is not None or root is None or here is None or not here.exists():
        return zoo, default.name, here
    place = _home(here)
    found = _contents(place, (*SPLITS, *default.splits))
    if not found or _fits(place, found, default):
        if found:
            notify(_taken_for(root, default, found))
        return zoo, default.name, here
    spec = _spec(root, place, {split: held for split, held in found.items() if split in (*SPLITS, UNSEEN)})
    notify(_described(root, spec, found))
    if passed_over := _passed_over(place, found):
        warn(passed_over)
    return replace(zoo, datasets={**zoo.datasets, spec.name: spec}), spec.name, None


def _here(root: Path | None, columns: Columns, notify: Callable[[str], None]) -> Path | None:
    """Return where a place is on this machine; None for none.

    Raises:
        UsageError, TransferZooError, DataError: see `hf_datasets.as_parquet`.
    """
    if root is not None and names_hf_dataset(root):
        return as_parquet(root, columns, notify)
    if columns != NO_COLUMNS:
        raise UsageError(
            "--image-column and --label-column are of data sets that the library datasets reads",
            expected=f"--data {PATTERN}",
            got=str(root or "no --data"),
        )
    return root and root.expanduser()


def _home(root: Path) -> Path:
    """Return where the images lie: of an archive what it holds, of a folder in a folder the inner one."""
    folder = unpacked(root) if is_archive(root) else root
    while folder.is_dir() and (inner := only_folder(folder)):
        if not any(reader_of(inner, split) for split in SPLITS):
            break
        folder = inner
    return folder


def _contents(place: Path, splits: Iterable[str]) -> dict[str, Contents]:
    """Return what there is of each split; of a place without splits all of it, as "test" and by `SHARES`.

    A reader that does not say which classes there are is taken to hold none.
    """
    found = {}
    for split in dict.fromkeys(splits):
        reader = reader_of(place, split)
        if reader and _is_apart(reader, place, split) and (held := reader.contents(place, split)):
            found[split] = held
    if not found and (reader := reader_of(place, "")) and (held := reader.contents(place, "")):
        return {"test": held, **dict.fromkeys(SHARES, held)}
    return found


def _is_apart(reader: Reader, place: Path, split: str) -> bool:
    """Return whether a place has files of this split alone."""
    apart = any((place / f"{name}{end}").exists() for name in names_of(split) for end in ("", ".csv"))
    return apart or not reader.accepts(place, "")


def _fits(place: Path, found: Mapping[str, Contents], dataset: DatasetSpec) -> bool:
    """Return whether images may be a data set's: by their classes, and the size of the first one."""
    for split, held in found.items():
        try:
            for name in held.classes:
                of_folder(name, dataset, str(place))
        except DataError:
            return False
        reader = reader_of(place, split)
        assert reader is not None, "what has contents has a reader"
        if reader.shape(place, split)[1:] != (dataset.size, dataset.size):
            return False
    return True


def _spec(root: Path, place: Path, found: Mapping[str, Contents]) -> DatasetSpec:
    """Return what a zoo file would say of a place."""
    classes = _all_classes(held.classes for held in found.values())
    if len(classes) < 2:
        raise DataError(
            f"{root} holds images of {'one class' if classes else 'no class'}",
            expected="images of two classes at least, by folder, column or list",
            got=", ".join(classes),
            hint="give the folder above the class folders",
        )
    home = place if place.is_dir() else place.parent
    files = {file for held in found.values() for file in held.files if file.is_file()}
    sizes = sorted((os.path.relpath(file, home), file.stat().st_size) for file in files)
    mark = fingerprint([classes, sizes])
    stem = re.sub(r"[^A-Za-z0-9._]+", "-", root.resolve().name.partition(".")[0]).strip("-.")
    first = next(iter(found))
    return DatasetSpec.of(
        name=f"{stem or 'images'}-{mark[:8]}",
        classes=classes,
        splits={split: (f"local:{place.resolve()}",) for split in found},
        shares=SHARES if UNSEEN in found else {},
        attack=AttackDefaults(split=first),
        origin=str(root),
    )


def _all_classes(lists: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the classes of all splits: the list that has them all, in its order, or all of them, sorted."""
    lists = list(lists)
    every = {name for names in lists for name in names}
    longest = max(lists, key=len)
    return longest if len(longest) == len(every) else names_of_labels(every)


def read_as_by(zoo: Zoo, name: str, models: Iterable[ModelSpec]) -> tuple[Zoo, str]:
    """Let the images of a data set of the user's own be read as the models read them.

    Args:
        zoo: has the data set, `measured`.
        name: of the data set.
        models: the first that says what it reads decides on channels, size, mean and standard deviation;
            where none does, it stays as it was measured by the first image.

    Returns:
        The zoo, and a sentence on how images are read.

    Raises:
        ModelError: a model's files are damaged.
    """
    spec, who = zoo.dataset(name), "the first of them is"
    for model in models:
        form = None if model.weights else model.source.reads()  # bare weights read what there is
        if form is not None:
            half = (0.5,) * form.channels
            found = {"channels": form.channels, "size": form.size, "fit": "crop"}
            found |= {"mean": form.mean or half, "std": form.std or half}
            spec, who = spec.model_copy(update=found), f"'{model.name}' reads them"
            break
    colours = "grey" if spec.channels == 1 else "in colour"
    note = f"Images are read {colours}, {spec.size}x{spec.size} pixels, as {who}."
    return replace(zoo, datasets={**zoo.datasets, name: spec}), note


def usual_budget(spec: DatasetSpec) -> str:
    """Return the sentence on the budget of a data set that states none."""
    return f"Their budget, {spec.attack.epsilon} in {spec.attack.norm}, is an assumption: --epsilon."


# ---------------------------------------------------------------- what is said of them


def _described(root: Path, spec: DatasetSpec, found: Mapping[str, Contents]) -> str:
    classes = f"{len(spec.classes)} classes ({few(spec.classes)})"
    images = ", ".join(f"{found[split].images:,} for {split}" for split in spec.splits)
    if spec.shares:
        images = (
            f"{found[spec.attack.split].images:,} without splits, of which a training sees "
            f"{SHARES['train'][1]:.0%} and --split {UNSEEN} is the rest"
        )
    return (
        f"Data: {root} is taken for a data set of its own, {spec.name}, of {classes}; "
        f"images: {images}. If they are those of a data set of the zoo, name it with --dataset."
    )


def _taken_for(root: Path, dataset: DatasetSpec, found: Mapping[str, Contents]) -> str:
    classes = few(_all_classes(held.classes for held in found.values()), 3)
    return (
        f"Data: {root} has classes and size of {dataset.name}, and is taken for images of it. If they are of "
        f"something else, give the classes other names than {classes}, or a zoo file the data set (--zoo)."
    )


def _passed_over(place: Path, found: Mapping[str, Contents]) -> str:
    """Return how many files of a folder are no images or belong to no class; empty for none.

    Hidden ones are not counted.
    """
    if not place.is_dir():
        return ""
    read = {file for held in found.values() for file in held.files}
    names = [
        file.relative_to(place) for file in sorted(place.rglob("*")) if file.is_file() and file not in read
    ]
    left = [name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts)]
    if not left:
        return ""
    return f"Passed over: {len(left):,} file{'s' * (len(left) > 1)} that no class has ({few(left)})."
