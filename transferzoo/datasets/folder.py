"""A folder with one sub-folder a class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from transferzoo.base.errors import DataError
from transferzoo.datasets import READERS, Batch, Contents, Reader
from transferzoo.datasets.files import class_folders, files_below, home_of, readable, walk
from transferzoo.datasets.labels import names_of_labels, of_folders
from transferzoo.datasets.memory import rows_of, stacked
from transferzoo.datasets.pixels import SUFFIXES, shape_of

if TYPE_CHECKING:
    from transferzoo.datasets import OnProgress
    from transferzoo.zoo.schema import DatasetSpec


@READERS.register("folder")
class Folder(Reader):
    """`ROOT/CLASS/…/image.png`, or `ROOT/{split}/CLASS/…/image.png` where that exists.

    CLASS is a class name or a 0-based class number; not every class need be there. Nameless classes may have
    any names that sort as they do, if all are there. Images of another size are scaled as `spec.fit` says and
    turned upright as their EXIF data says. Ids count the images in sorted order of their relative path.
    Links to folders are followed. Hidden files and files that are no images are passed over.
    """

    priority: ClassVar[int] = 3
    layout: ClassVar[str] = "a sub-folder of images a class, or {split}/ with those"

    def accepts(self, root: Path, split: str) -> bool:
        """Return whether a sub-folder of `root` (or of `root/split`) holds an image.

        Raises:
            DataError: one cannot be read.
        """
        if not root.is_dir():
            return False
        with readable(home := home_of(root, split)):
            return any(
                Path(name).suffix.lower() in SUFFIXES
                for folder in class_folders(home)
                for name, entry in files_below(folder)
                if entry.is_file()
            )

    def shape(self, root: Path, split: str) -> tuple[int, int, int]:
        """Return channels, height and width of the first image by its relative path.

        Raises:
            DataError: it cannot be decoded, or an image is of a format that is not read.
        """
        first = _sorted(home_of(root, split))[0]
        return shape_of(first, str(first))

    def contents(self, root: Path, split: str) -> Contents:
        """Return the names of the class folders, sorted, and the images in them.

        Raises:
            DataError: an image is of a format that is not read.
        """
        home = home_of(root, split)
        files = _sorted(home)
        classes = names_of_labels(file.relative_to(home).parts[0] for file in files)
        return Contents(classes, len(files), tuple(files))

    def read(self, root: Path, split: str, spec: DatasetSpec, on_progress: OnProgress) -> Batch:
        """Read the images of all class folders.

        Raises:
            DataError: a folder is no class, or an image cannot be decoded or is of a format that is not read.
        """
        import torch

        home = home_of(root, split)
        files = _sorted(home)
        if not files:
            raise DataError(f"{home} holds no image", expected=self.layout)
        classes = sorted({file.relative_to(home).parts[0] for file in files})
        label_of = of_folders(classes, spec, str(home))
        rows = rows_of(len(files), spec, split)
        found = [files[row] for row in rows]
        images = stacked(((file, str(file)) for file in found), len(rows), spec, spec.fit, on_progress)
        labels = torch.tensor([label_of[file.relative_to(home).parts[0]] for file in found])
        names = tuple(file.relative_to(home).as_posix() for file in found)
        return Batch(images, labels, torch.tensor(rows), names)


def _sorted(home: Path) -> list[Path]:
    with readable(home):
        return [
            home / name
            for name in sorted(
                f"{folder.name}/{name}" for folder in class_folders(home) for name, _ in walk(folder)
            )
        ]
