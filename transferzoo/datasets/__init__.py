"""Data sets: the contract of a batch of images and of what reads one from disk.

A reader is one file of this package with one `@READERS.register(NAME)` on a subclass of `Reader`.
`sources.load_split` finds the images of a data set and picks the reader. Importing this package does not
import torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from transferzoo.base.errors import DataError
from transferzoo.base.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from torch import Tensor

    from transferzoo.zoo.schema import DatasetSpec

    OnProgress = Callable[[int, int], None]
    """Called with how much of something is done, and how much there is."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Images with their labels, as they lie on disk.

    Attributes:
        images: pixels, uint8 in 0..255, (N, C, H, W) with C = 1 (grey) or 3 (RGB).
        labels: 0-based classes, int64, (N,).
        ids: what identifies an image within its split, int64, (N,).
        names: the images' files, relative to where they lie; empty where they have none.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check shapes and types.

        Raises:
            DataError: a tensor has the wrong type or shape.
        """
        import torch

        fitting = isinstance(self.images, torch.Tensor) and self.images.dtype == torch.uint8
        if not fitting or self.images.ndim != 4 or self.images.shape[1] not in (1, 3):
            raise DataError(
                "the images of a batch do not fit",
                expected="a tensor, uint8 of shape (N, 1 or 3, H, W)",
                got=_form(self.images),
            )
        for name, values in (("labels", self.labels), ("ids", self.ids)):
            fitting = isinstance(values, torch.Tensor) and values.dtype == torch.int64
            if not fitting or values.shape != self.images.shape[:1]:
                raise DataError(
                    f"the {name} of a batch do not fit",
                    expected=f"a tensor, int64 of shape ({len(self.images)},)",
                    got=_form(values),
                )
        if self.names and len(self.names) != len(self.images):
            raise DataError(
                "the names of a batch do not fit",
                expected=f"none or {len(self.images)}",
                got=str(len(self.names)),
            )

    def __len__(self) -> int:
        return len(self.images)

    def places(self, ids: Iterable[int]) -> Tensor:
        """Return the positions of images, int64 (M,), by their ids, which are those of some."""
        import torch

        known = {identity: at for at, identity in enumerate(self.ids.tolist())}
        return torch.tensor([known[identity] for identity in ids], dtype=torch.int64)

    def select(self, indices: Sequence[int] | Tensor) -> Batch:
        """Return the images at `indices`, in that order.

        Args:
            indices: positions in 0..N-1, or a boolean mask of shape (N,).

        Raises:
            DataError: a position outside 0..N-1, no integers, or a mask of another length.
        """
        import torch

        index = torch.as_tensor(indices, device=self.images.device)
        if index.dtype == torch.bool:
            if index.shape != self.labels.shape:
                raise DataError("the mask does not fit", expected=f"({len(self)},)", got=_form(index))
            index = index.nonzero().flatten()
        if index.ndim != 1 or (index.is_floating_point() and len(index)):
            raise DataError("a batch is indexed by position", expected="a list of integers", got=_form(index))
        index = index.to(torch.int64)
        strays = index[(index < 0) | (index >= len(self))]
        if len(strays):
            raise DataError(
                "the batch has no such image",
                expected=f"positions in 0..{len(self) - 1}",
                got=f"{int(strays[0])}",
            )
        names = tuple(self.names[place] for place in index.tolist()) if self.names else ()
        return Batch(self.images[index], self.labels[index], self.ids[index], names)


def check_ids(ids: Tensor, where: str) -> None:
    """Check that every image has an id of its own: draws, results and pictures go by it.

    Args:
        ids: int64 (N,).
        where: names the images in the error.

    Raises:
        DataError: one repeats.
    """
    values, counts = ids.unique(return_counts=True)
    if len(values) != len(ids):
        twice = int(values[counts > 1][0])
        raise DataError(
            f"several images of {where} have the id {twice}",
            expected="an id for each image",
            got=f"{len(values)} ids of {len(ids)} images",
            hint="leave the ids out: images are then numbered",
        )


class Contents(NamedTuple):
    """What a split holds, judged without decoding an image.

    Attributes:
        classes: their names in label order, for labels without names "0", "1", … up to the largest one.
        images: how many there are.
        files: what is read, lists of images and labels included.
    """

    classes: tuple[str, ...]
    images: int
    files: tuple[Path, ...]


class Reader(ABC):
    """Reads one layout of files.

    Attributes:
        priority: where several readers accept a path, the lowest reads it.
        layout: the files it looks for, in the words of an error message.
    """

    priority: ClassVar[int]
    layout: ClassVar[str]

    @abstractmethod
    def accepts(self, root: Path, split: str) -> bool:
        """Return whether `root` holds a split in this layout, judged by file names alone."""

    @abstractmethod
    def shape(self, root: Path, split: str) -> tuple[int, int, int]:
        """Return channels (1 or 3), height and width of the first image.

        Args:
            root: what is accepted.
            split: name of the split.

        Raises:
            DataError: there is none, or it cannot be read.
        """

    def contents(self, root: Path, split: str) -> Contents | None:
        """Return what a split holds; None where the layout does not say which classes there are.

        Args:
            root: what is accepted.
            split: name of the split; empty for files that belong to none.

        Raises:
            DataError: it cannot be read.
        """
        return None

    @abstractmethod
    def read(self, root: Path, split: str, spec: DatasetSpec, on_progress: OnProgress) -> Batch:
        """Read a split into memory, whole or the part that `spec.at_most` allows.

        Args:
            root: what is accepted.
            split: name of the split.
            spec: the data set.
            on_progress: called with the number of images read, and of all.

        Raises:
            DataError: a file is missing, broken, or does not fit `spec`.
        """


READERS: Registry[type[Reader]] = Registry("data format", "transferzoo.datasets", Reader)


def _form(values: object) -> str:
    import torch

    if not isinstance(values, torch.Tensor):
        return type(values).__name__
    return f"{str(values.dtype).removeprefix('torch.')} of shape {tuple(values.shape)}"
