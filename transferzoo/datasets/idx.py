"""IDX files, the format of MNIST and its like, plain or gzipped (Debian's `dataset-fashion-mnist`)."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, ClassVar

from transferzoo.base.errors import DataError, refusal
from transferzoo.base.foreign_files import unpack_gzip
from transferzoo.datasets import READERS, Batch, Contents, Reader
from transferzoo.datasets.labels import checked, names_of_labels
from transferzoo.datasets.memory import rows_of

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from transferzoo.datasets import OnProgress
    from transferzoo.zoo.schema import DatasetSpec


@READERS.register("idx")
class Idx(Reader):
    """A folder with `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`; `t10k-…` for the split `test`.

    Each may end in `.gz`. Grey images of `spec.size` only; ids are positions in the file.
    """

    priority: ClassVar[int] = 1
    layout: ClassVar[str] = (
        "{split}-images-idx3-ubyte[.gz] and {split}-labels-idx1-ubyte[.gz] (t10k for test)"
    )

    def accepts(self, root: Path, split: str) -> bool:
        """Return whether `root` holds the images of `split`."""
        return root.is_dir() and _find(root, split, "images", 3) is not None

    def shape(self, root: Path, split: str) -> tuple[int, int, int]:
        """Return 1 channel, and the height and width that the file's head says.

        Raises:
            DataError: the file is truncated or of another type.
        """
        file = _find(root, split, "images", 3)
        assert file is not None, "an accepted folder has images"
        _, height, width = _array(file, 3).shape
        return 1, height, width

    def contents(self, root: Path, split: str) -> Contents:
        """Return as many classes without names as the labels tell, and the two files.

        Raises:
            DataError: a file is missing, truncated or of another type.
        """
        files = self._files(root, split)
        labels = _array(files[1], 1)
        return Contents(names_of_labels(labels.tolist()), len(labels), files)

    def read(self, root: Path, split: str, spec: DatasetSpec, on_progress: OnProgress) -> Batch:
        """Read images and labels.

        Raises:
            DataError: a file is missing, truncated, of another type or shape, or a label is no class.
        """
        import numpy as np
        import torch

        image_file, label_file = self._files(root, split)
        images, labels = _array(image_file, 3), _array(label_file, 1)
        if len(images) != len(labels) or not len(images):
            raise DataError(
                f"{image_file} and {label_file.name} do not belong together",
                expected="as many labels as images, and at least one",
                got=f"{len(images)} images and {len(labels)} labels",
            )
        if spec.channels != 1 or images.shape[1:] != (spec.size, spec.size):
            raise DataError(
                f"{image_file} does not fit '{spec.name}'",
                expected=f"{spec.channels} channel(s) of {spec.size}x{spec.size} pixels",
                got=f"1 of {images.shape[1]}x{images.shape[2]}",
            )
        for row in np.flatnonzero(labels >= len(spec.classes))[:1]:
            checked(int(labels[row]), spec, f"row {row} of {label_file}")
        whole = Batch(
            torch.from_numpy(images[:, None]),
            torch.from_numpy(labels.astype(np.int64)),
            torch.arange(len(images)),
        )
        rows = rows_of(len(images), spec, split)
        return whole if len(rows) == len(images) else whole.select(rows)

    def _files(self, root: Path, split: str) -> tuple[Path, Path]:
        images, labels = _find(root, split, "images", 3), _find(root, split, "labels", 1)
        if images is None or labels is None:
            raise DataError(f"{root} holds no images and labels of the split '{split}'", expected=self.layout)
        return images, labels


def _find(root: Path, split: str, kind: str, dimensions: int) -> Path | None:
    stem = {"test": "t10k"}.get(split, split)
    names = [f"{stem}-{kind}{mark}idx{dimensions}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
    return next((root / name for name in names if (root / name).is_file()), None)


def _array(file: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read one IDX file: 0, 0, type 8 (unsigned byte), rank; big-endian sizes; the values."""
    import numpy as np

    try:
        content = unpack_gzip(file) if file.suffix == ".gz" else file.read_bytes()
    except ValueError as error:
        raise DataError(f"{file} cannot be read: {error}", hint="fetch it again") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read ({refusal(error)})") from error
    start = 4 + 4 * dimensions
    if content[:4] != bytes((0, 0, 8, dimensions)):
        raise DataError(
            f"{file} is no IDX file of {dimensions} dimension(s)",
            expected=f"the first bytes {bytes((0, 0, 8, dimensions)).hex(' ')}",
            got=content[:4].hex(" ") or "an empty file",
        )
    if len(content) < start:
        raise DataError(f"{file} is truncated", expected=f"a head of {start} bytes", got=f"{len(content)}")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise DataError(
            f"{file} is truncated or has a tail",
            expected=f"{math.prod(shape)} values, as its head says",
            got=f"{len(content) - start}",
            hint="fetch it again",
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy()
