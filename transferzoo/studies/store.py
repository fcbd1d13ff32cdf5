"""The store of cells: a folder for each, with `cell.json` in it once it is done.

    store.json           the schema version of all that
    KIND/KEY/cell.json   its kind, inputs and result, with time and versions
    KIND/KEY/…           files of its kind: a checkpoint, a run folder, images
    clean/…              predictions of models on clean images, which many cells share

The result is a function of the key; `seconds` and `versions` beside it are not. Studies share a store, and
commands on one store share its cells: each takes those that no other computes, see `base.claims`.
Nothing here imports torch.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transferzoo.base.atomic import write_json, writing
from transferzoo.base.claims import claimed
from transferzoo.base.errors import DataError
from transferzoo.base.foreign_files import read_json
from transferzoo.studies.cells import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from transferzoo.studies.cells import Cell

DONE, VERSION = "cell.json", "store.json"


class Store:
    """Cells on disk.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def check(self) -> None:
        """Check that cells that are there are of this version.

        Raises:
            DataError: they have another schema.
        """
        path = self.root / VERSION
        try:
            schema = read_json(path)["schema"]
        except FileNotFoundError:
            schema = None if any(self.root.glob(f"*/*/{DONE}")) else SCHEMA
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"cannot read {path}: {error}", hint="delete it, or choose another --store"
            ) from None
        if schema != SCHEMA:
            raise DataError(
                f"the store {self.root} is of another version of this tool",
                expected=f"schema {SCHEMA}",
                got=str(schema or "none"),
                hint="choose another with --store, or delete it; files of results stay readable",
            )

    def folder(self, kind: str, key: str) -> Path:
        """Return the folder of a cell, whether it exists or not."""
        return self.root / kind / key

    def result(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return the result of a cell, None if it is not done.

        Raises:
            DataError: its file cannot be read.
        """
        return self._part("result", kind, key)

    def versions(self, kind: str, key: str) -> dict[str, str]:
        """Return the versions of the packages that a cell was done with; none if it is not done.

        Raises:
            DataError: its file cannot be read.
        """
        return self._part("versions", kind, key) or {}

    def _part(self, part: str, kind: str, key: str) -> dict[str, Any] | None:
        path = self.folder(kind, key) / DONE
        try:
            return dict(read_json(path, finite=False)[part])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"cannot read {path}: {error}", hint="delete it and run the same command again"
            ) from None

    def is_done(self, cell: Cell) -> bool:
        """Return whether a cell is done."""
        return (self.folder(cell.kind, cell.key) / DONE).is_file()

    def save(
        self, cell: Cell, result: Mapping[str, Any], seconds: float, versions: Mapping[str, str]
    ) -> None:
        """Save the result of a cell, which is done now."""
        content = {
            "kind": cell.kind,
            "label": cell.label,
            "inputs": cell.inputs,
            "environment": cell.environment._asdict(),
            "result": result,
            "seconds": round(seconds, 1),
            "versions": versions,
        }
        write_json(self.folder(cell.kind, cell.key) / DONE, content)

    @contextmanager
    def claimed(self, cell: Cell) -> Iterator[bool]:
        """Give whether no other process computes a cell; then none begins to until the block ends."""
        folder = self.folder(cell.kind, cell.key)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        if not (self.root / VERSION).exists():
            write_json(self.root / VERSION, {"schema": SCHEMA})
        with claimed(folder / ".lock", wait=False) as ours:
            yield ours
