"""Images that stay on disk: what an index of them is, where one is found, and how an image is decoded.

Nothing but the index is held in memory, and by whoever reads Parquet shards the row groups it read last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from transferzoo.base.errors import DataError
from transferzoo.base.frozen_model import fingerprint
from transferzoo.datasets import pixels, sources
from transferzoo.datasets.files import Files, home_of, walk
from transferzoo.datasets.parquet import Parquet, _shards
from transferzoo.datasets.shards import Shards
from transferzoo.datasets.shares import rows_of_share

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from transferzoo.zoo.schema import DatasetSpec

LAYOUT = "{split}-*.parquet; or a sub-folder of images a class, or {split}/ with those"


class ImageIndex(Protocol):
    """An index of N images in G groups; a group is what is read in one piece.

    Attributes:
        labels: 0-based classes, int64 (N,).
        bounds: the first image of every group, and N, (G + 1,).
        sizes: encoded bytes that are read at once with a group, (G,); 0 where images are read one by one.
        digest: SHA-256 of names, sizes and labels; of the images themselves only their number of bytes.
    """

    labels: NDArray[np.int64]
    bounds: NDArray[np.int64]
    sizes: NDArray[np.int64]
    digest: str

    def where(self, index: int) -> str:
        """Name an image in an error."""
        ...

    def encoded(self, index: int) -> bytes | Path:
        """Return an image as it lies on disk, or the file that holds it.

        Raises:
            DataError: it cannot be read.
        """
        ...


def open_index(spec: DatasetSpec, split: str, root: Path | None) -> ImageIndex:
    """Index the images of a split.

    Args:
        spec: the data set.
        split: one of `spec.splits`.
        root: the user's own folder, file or archive; without it, `spec.splits[split]` is tried in order.

    Raises:
        UnknownNameError: no such split.
        DataError: nothing found, or what was found cannot be indexed.
    """
    found = _index(next(sources.roots(spec, split, root)), split, spec)
    return Part(found, spec.shares[split]) if split in spec.shares else found


class Part:
    """A share of an index; see `shares.rows_of_share`, and `ImageIndex`."""

    def __init__(self, whole: ImageIndex, share: tuple[float, float]) -> None:
        self._whole, self._rows = whole, rows_of_share(whole.labels, share)
        self.labels = whole.labels[self._rows]
        bounds = self._rows.searchsorted(whole.bounds)
        filled = bounds[1:] > bounds[:-1]
        self.bounds, self.sizes = bounds[[True, *filled]], whole.sizes[filled]
        self.digest = fingerprint([whole.digest, *share])

    def where(self, index: int) -> str:
        """See `ImageIndex.where`."""
        return self._whole.where(int(self._rows[index]))

    def encoded(self, index: int) -> bytes | Path:
        """See `ImageIndex.encoded`."""
        return self._whole.encoded(int(self._rows[index]))


def count_images(spec: DatasetSpec, split: str, root: Path | None) -> int:
    """Return how many images of a split there are, from their index where they have one.

    Args:
        spec: the data set.
        split: one of `spec.splits`.
        root: as for `open_index`.

    Raises:
        UnknownNameError: no such split.
        DataError: nothing found, or what was found cannot be read.
    """
    try:
        return len(open_index(spec, split, root).labels)
    except DataError:  # a layout that is read as a whole
        return len(sources.load_split(spec, split, root=root))


def _index(root: Path, split: str, spec: DatasetSpec) -> ImageIndex:
    if Parquet().accepts(root, split):
        return Shards(_shards(root, split), spec)
    home = home_of(root, split)
    if not home.is_dir() or not any(any(walk(path)) for path in home.iterdir() if path.is_dir()):
        raise DataError(
            f"{root} holds no '{split}' images that can be streamed",
            expected=LAYOUT.replace("{split}", split),
            hint="check --data",
        )
    return Files(home, spec)


def picture(source: ImageIndex, index: int, channels: int) -> Any:
    """Decode an image with Pillow, upright as its EXIF data says.

    Args:
        source: the index.
        index: of the image, 0..N-1.
        channels: 1 (grey) or 3 (RGB).

    Returns:
        A Pillow image of mode L or RGB, of its own size.

    Raises:
        DataError: it cannot be read, is not a whole image, has more than 8 bits a channel, or is too long.
    """
    encoded = source.encoded(index)
    try:
        with pixels.opened(encoded) as image:
            found = pixels._upright(image, channels, source.where(index))
            pixels.check_sides(found, source.where(index))
            return found
    except DataError:
        raise
    except Exception as error:
        raise pixels.undecoded(source.where(index), error) from error
