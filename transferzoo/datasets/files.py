"""An index of images in class folders: the file names, in one piece, and the labels."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import DataError, refusal
from transferzoo.datasets import pixels
from transferzoo.datasets.labels import of_folders

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from transferzoo.zoo.schema import DatasetSpec


SYNONYMS = {"validation": ("validation", "val")}
"""Split → names of its folder or list, where there is more than one."""
SPLITS = ("test", "validation", "train")
"""Splits that are looked for where nothing says which there are; the first that there is is attacked."""


def home_of(root: Path, split: str) -> Path:
    """Return the sub-folder of a split, or the folder itself where there is none."""
    homes = [root / name for name in names_of(split)]
    return next((home for home in homes if home.is_dir()), root)


def names_of(split: str) -> tuple[str, ...]:
    """Return what a split's folder or list may be called."""
    return SYNONYMS.get(split, (split,))


def only_folder(folder: Path, splits: Iterable[str] = (), classes: Iterable[str] = ()) -> Path | None:
    """Return the one folder in another that holds all of it; macOS's twins aside.

    Args:
        folder: may have another folder around its images.
        splits: a folder of one of these, or of `SPLITS`, is a part and not all of it.
        classes: likewise.

    Returns:
        None also where there is a table beside it.
    """
    entries = [
        entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name != "__MACOSX"
    ]
    folders = [entry for entry in entries if entry.is_dir()]
    tables = [entry for entry in entries if entry.suffix in (".csv", ".parquet")]
    parts = {*classes, *(name for split in (*SPLITS, *splits) for name in names_of(split))}
    return folders[0] if len(folders) == 1 and not tables and folders[0].name not in parts else None


class Files:
    """`HOME/CLASS/…/image.jpg`; see `disk.ImageIndex`.

    Hidden files and files that are no images are passed over.

    CLASS is a class name or number, or, of nameless classes, anything that sorts (`labels.of_folders`).

    Raises:
        DataError: there is no image, or a folder is no class.
    """

    def __init__(self, home: Path, spec: DatasetSpec) -> None:
        import numpy as np

        state, names, ends, lasts = hashlib.sha256(), bytearray(), [0], [0]
        with readable(home):
            found = sorted(path.name for path in class_folders(home) if any(walk(path)))
            if not found:
                raise DataError(f"{home} holds no image", expected="a sub-folder of images a class")
            label_of = of_folders(found, spec, str(home))
            for folder in found:
                for name, size in sorted(walk(home / folder)):
                    encoded = os.fsencode(f"{folder}/{name}")
                    names += encoded
                    ends.append(len(names))
                    state.update(encoded + f"\0{size}\0{label_of[folder]}\n".encode())
                lasts.append(len(ends) - 1)
        self._home, self._names, self._ends = home, bytes(names), np.array(ends)
        self.labels = np.repeat([label_of[folder] for folder in found], np.diff(lasts)).astype(np.int64)
        self.bounds, self.sizes = np.array([0, len(self.labels)]), np.zeros(1, np.int64)
        self.digest = state.hexdigest()

    def where(self, index: int) -> str:
        """See `ImageIndex.where`."""
        return str(self.encoded(index))

    def encoded(self, index: int) -> Path:
        """See `ImageIndex.encoded`."""
        return self._home / os.fsdecode(self._names[self._ends[index] : self._ends[index + 1]])


@contextmanager
def readable(home: Path) -> Iterator[None]:
    """Turn what the system refuses of a folder into a sentence.

    Raises:
        DataError: the block raised an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename or home} cannot be read ({refusal(error)})") from error


def class_folders(home: Path) -> list[Path]:
    """Return the folders in a place, and those that it links to; hidden ones, and ones around it, aside."""
    place = home.resolve()
    found = [path for path in home.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return [path for path in found if not (path.is_symlink() and place.is_relative_to(path.resolve()))]


def walk(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield (relative path, bytes) of every image in a folder and in those it links to, in no order.

    Raises:
        DataError: one is of a format that is not read.
        OSError: a folder cannot be read.
    """
    for name, entry in files_below(folder):
        suffix = name[name.rfind(".") :].lower()
        if suffix in pixels.UNREAD:
            pixels.check_suffix(folder / name)
        elif suffix in pixels.SUFFIXES and entry.is_file():
            yield name, entry.stat().st_size


def files_below(folder: Path, below: str = "", above: tuple[Path, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield (relative path, entry) of every file in a folder and in those it links to; hidden ones aside.

    A link that leads back to a folder around it is not followed.

    Args:
        folder: where paths begin.
        below: the part of it that is gone through, ends in "/".
        above: the folders that links on the way there lie in, and lead to.

    Raises:
        OSError: a folder cannot be read.
    """
    with os.scandir(folder / below) as found:
        for entry in found:
            if entry.name.startswith(".") or (entry.is_symlink() and not Path(entry.path).exists()):
                continue  # also a link that leads to itself
            if not entry.is_dir():
                yield f"{below}{entry.name}", entry
            elif not entry.is_symlink():
                yield from files_below(folder, f"{below}{entry.name}/", above)
            else:
                there, around = Path(entry.path).resolve(), (*above, (folder / below).resolve())
                if not any(one.is_relative_to(there) for one in around):
                    yield from files_below(folder, f"{below}{entry.name}/", (*around, there))
