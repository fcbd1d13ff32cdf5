"""Where the images of a data set lie, and which reader takes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from transferzoo import hub
from transferzoo.datasets import READERS
from transferzoo.errors import DataError, TransferZooError, UnknownNameError
from transferzoo.specs import assets

if TYPE_CHECKING:
    from transferzoo.datasets import Batch, Reader
    from transferzoo.specs import DatasetSpec


def load(spec: DatasetSpec, split: str, *, root: Path | None = None) -> Batch:
    """Read a split of a data set into memory.

    Args:
        spec: the data set.
        split: one of `spec.splits`.
        root: the user's own folder or file; without it, `spec.splits[split]` is tried in order.

    Returns:
        The whole split: uint8 (N, spec.channels, spec.size, spec.size), in the order of the files.

    Raises:
        UnknownNameError: no such split.
        DataError: nothing found, or what was found cannot be read or does not fit `spec`.
    """
    if split not in spec.splits:
        raise UnknownNameError("split", split, spec.splits)
    if root is not None:
        root = root.expanduser()
        if not root.exists():
            raise DataError(
                f"there is no {root}", expected="a folder or file with the images", hint="check --data"
            )
        reader = _reader(root, split)
        if reader is None:
            others = [other for other in spec.splits if _reader(root, other)]
            raise DataError(
                f"{root} holds no '{split}' images in a known layout",
                expected=layouts(split),
                got=f"the split {' or '.join(others)}" if others else "",
                hint="check --data",
            )
        return reader.read(root, split, spec)
    tried = []
    for place in spec.splits[split]:
        try:
            path = _locate(place)
        except TransferZooError as error:
            tried.append(f"{place} ({str(error).removesuffix('.')})")
            continue
        if not path.exists():
            tried.append(f"{place} (absent)")
            continue
        reader = _reader(path, split)
        if reader is not None:
            return reader.read(path, split, spec)
        tried.append(f"{place} (no '{split}' images in a known layout)")
    raise DataError(
        f"the '{split}' images of '{spec.name}' were not found; tried {' and '.join(tried) or 'nothing'}",
        hint="give their folder with --data PATH",
    )


def layouts(split: str) -> str:
    """Return the layouts of files that can be read, in one line."""
    return "; or ".join(reader.layout.replace("{split}", split) for reader in _readers())


def _locate(place: str) -> Path:
    """Return where `builtin:NAME`, `local:PATH` or `hub:OWNER/NAME/FILE` lies; it need not exist."""
    kind, _, rest = place.partition(":")
    if kind == "builtin":
        return assets() / rest
    if kind == "local":
        return Path(rest).expanduser()
    owner, _, name_and_file = rest.partition("/")
    name, _, file = name_and_file.partition("/")
    if kind != "hub" or not (owner and name and file):
        raise DataError("it is no place", expected="builtin:NAME, local:PATH or hub:OWNER/NAME/FILE")
    return hub.fetch(f"{owner}/{name}", file, repo_type="dataset")


def _readers() -> list[Reader]:
    return sorted((READERS[name]() for name in READERS), key=lambda reader: reader.priority)


def _reader(root: Path, split: str) -> Reader | None:
    return next((reader for reader in _readers() if reader.accepts(root, split)), None)
