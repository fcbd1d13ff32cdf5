"""Data sets of the library `datasets`, on the Hub or in a folder: written once as Parquet, and read as that.

The library alone knows how such a data set is laid out. It runs no code of a repository: since version 4 it
has no loading scripts, and what would allow them in older ones is never set.
"""

from __future__ import annotations

import re
import sys
import warnings
from contextlib import contextmanager
from os.path import normpath
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from transferzoo.base.errors import DataError, UsageError, few, reason
from transferzoo.base.foreign_files import check_regular
from transferzoo.base.frozen_model import fingerprint
from transferzoo.base.optional import import_optional
from transferzoo.datasets.files import SYNONYMS
from transferzoo.datasets.kept_folder import kept_folder
from transferzoo.datasets.labels import LABEL_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PREFIX = "hf-datasets:"
"""How such a place begins."""
PATTERN = f"{PREFIX}OWNER/NAME[:CONFIG] or {PREFIX}./FOLDER"
_PLACE = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(:(?P<config>[^:/]+))?")
_HOME = re.compile(r"[./~]")
LAYOUT = 1
"""Counts changes of what is written."""
ROWS = 100
"""Images that are held at once while they are written."""
SAID = ".said.txt"
"""File that keeps what was decided."""
SAVED = ("dataset_dict.json", "state.json")
"""Files of a folder that `save_to_disk` wrote."""
KNOWN = ("test", *SYNONYMS["validation"], "train")
"""Splits that are looked for."""


class Columns(NamedTuple):
    """What the user says of the columns; None for what is guessed."""

    image: str | None = None
    label: str | None = None


NO_COLUMNS = Columns()


def names_hf_dataset(root: Path) -> bool:
    """Return whether a place of images is one of the library `datasets`."""
    return str(root).startswith(PREFIX)


def as_parquet(root: Path, columns: Columns, notify: Callable[[str], None]) -> Path:
    """Return the folder of the cache with the Parquet files of a data set, written unless they are there.

    They have the columns `image` and `label`. A data set of one split, called "train" or as no split is here,
    becomes one without splits: the library calls so what has none.

    Args:
        root: "hf-datasets:OWNER/NAME", with ":CONFIG" where it has several, or with the path of a folder that
            `load_dataset` reads or `save_to_disk` wrote.
        columns: those of images and labels.
        notify: called with a sentence on which columns were taken, and which splits were not.

    Raises:
        UsageError: it is of neither form, or has no such column.
        TransferZooError: the library is not installed.
        DataError: the library cannot load it, or no column of images or labels can be told.
    """
    library = import_optional("datasets", "datasets", f"{PREFIX} needs")
    with _quiet(library):
        known, load = _found(library, str(root).removeprefix(PREFIX))

        def write(folder: Path) -> None:
            splits = _translated(load, root)
            chosen = _columns(library, next(iter(splits.values())).features, root, columns)
            names = _names(library, splits, chosen, root)
            for split, name in names.items():
                _write(library, splits[split], chosen, folder / name, root)
            (folder / SAID).write_text(_told(splits, chosen, names), encoding="utf-8")

        folder = kept_folder("hf-datasets", fingerprint([LAYOUT, known, *columns]), write)
    notify((folder / SAID).read_text(encoding="utf-8"))
    return folder


def _found(library: Any, text: str) -> tuple[list[Any], Callable[[], Mapping[str, Any]]]:
    """Return what tells a data set from others, its content included, and what loads its splits.

    Raises:
        UsageError: the text is of neither form.
        DataError: the library does not find it.
    """
    if _HOME.match(text):
        folder = Path(text).expanduser()
        if not folder.is_dir():
            raise UsageError(f"there is no folder '{text}'", expected=PATTERN, hint="check --data")
        if any((folder / name).is_file() for name in SAVED):
            files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
            stats = [(file.relative_to(folder).as_posix(), file.stat()) for file in files]
            known = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
            return known, lambda: _by_split(library.load_from_disk(str(folder)))
        path, config = str(folder.resolve()), None
    elif match := _PLACE.fullmatch(text):
        path, config = match["name"], match["config"]
    else:
        near = f"did you mean {PREFIX}./{text}?" if Path(text).is_dir() else ""
        raise UsageError(f"'{PREFIX}{text}' is no data set", expected=PATTERN, hint=near)
    builder = _translated(lambda: library.load_dataset_builder(path, config), f"{PREFIX}{text}")

    def load() -> Mapping[str, Any]:
        builder.download_and_prepare()
        return _by_split(builder.as_dataset())

    return [*Path(builder.cache_dir).parts[-4:]], load  # its name, configuration, version and digest


def _by_split(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {str(found.split or "train"): found}


def _translated(call: Callable[[], Any], root: object) -> Any:
    """Return what a call of the library returns.

    Raises:
        DataError: it raises anything.
    """
    try:
        return call()
    except Exception as error:  # the library, the Hub's client and pyarrow raise all kinds
        raise DataError(
            f"the library datasets cannot load {root}: {reason(error.__cause__ or error)}",
            hint="check its name, its configuration (NAME:CONFIG) and the network; scripts are never run",
        ) from None


# ---------------------------------------------------------------- columns and splits


def _columns(library: Any, features: Mapping[str, Any], root: Path, asked: Columns) -> Columns:
    """Return the columns of images and of labels: those asked for, or guessed.

    Raises:
        UsageError: one that is asked for is not there, or of another kind.
        DataError: none can be told.
    """
    images = [name for name, kind in features.items() if _holds_images(library, kind)]
    labels = [name for name, kind in features.items() if _holds_labels(library, kind)]
    for option, name, fitting in (("image", asked.image, images), ("label", asked.label, labels)):
        if name is not None and name not in fitting:
            raise UsageError(
                f"--{option}-column {name} is no column of {option}s in {root}",
                expected=f"one of {few(fitting)}" if fitting else "one, and there is none",
                got=_listed(features),
            )
    classed = [name for name in labels if isinstance(features[name], library.ClassLabel)]
    usual = [name for name in LABEL_COLUMNS if name in labels]
    image = asked.image or next(iter(images), None)
    label = asked.label or next(iter([*usual, *(classed if len(classed) == 1 else ())]), None)
    if image is None or label is None:
        lacking = "images" if image is None else "labels"
        raise DataError(
            f"no column of {root} is known to hold {lacking}",
            expected="images (Image, or their bytes)"
            if image is None
            else f"classes, integers or names, called {' or '.join(LABEL_COLUMNS)}",
            got=_listed(features),
            hint=""
            if image is None
            else f"name it with --label-column, one of {few(labels)}"
            if labels
            else "",
        )
    return Columns(image, label)


def _holds_images(library: Any, kind: Any) -> bool:
    bare = kind.get("bytes") if isinstance(kind, dict) else kind
    return isinstance(kind, library.Image) or getattr(bare, "dtype", "") in ("binary", "large_binary")


def _holds_labels(library: Any, kind: Any) -> bool:
    return isinstance(kind, library.ClassLabel) or (
        isinstance(kind, library.Value) and kind.dtype.startswith(("int", "uint", "string", "large_string"))
    )


def _listed(features: Mapping[str, Any]) -> str:
    kinds = {name: getattr(kind, "dtype", type(kind).__name__) for name, kind in features.items()}
    return few([f"{name} ({kind})" for name, kind in kinds.items()], 12)


def _names(library: Any, splits: Mapping[str, Any], columns: Columns, root: Path) -> dict[str, str]:
    """Return the splits that are taken, each with the name of its file.

    Raises:
        DataError: none has labels, or none of several is known.
    """
    labelled = [name for name, rows in splits.items() if not {*rows.unique(columns.label)} <= {-1, None}]
    if len(splits) == 1 and labelled and labelled[0] not in KNOWN[:-1]:
        return {labelled[0]: "0000.parquet"}
    taken = {name: f"{name}-00000-of-00001.parquet" for name in KNOWN if name in labelled}
    if not taken:
        raise DataError(
            f"{root} has no split with labels",
            expected=f"one of {', '.join(KNOWN)}, or one alone",
            got=", ".join(splits),
        )
    return taken


def _told(splits: Mapping[str, Any], chosen: Columns, names: Mapping[str, str]) -> str:
    """Return what was decided, in words."""
    others = [name for name in next(iter(splits.values())).column_names if name not in chosen]
    said = f"Columns: images are '{chosen.image}', labels are '{chosen.label}'"
    said += f"; not used: {few(others)} (--image-column, --label-column)." if others else "."
    if left := [name for name in splits if name not in names]:
        many = f"{len(left)} split{'s' * (len(left) > 1)}"
        said += f" Passed over: {many} of other names or without labels ({few(left)})."
    return said


# ---------------------------------------------------------------- what is written


def _write(library: Any, rows: Any, columns: Columns, file: Path, root: Path) -> None:
    """Write the images, encoded as they are, and labels of a split.

    Raises:
        DataError: the library cannot read them, or one names a file that is no part of the data set.
    """
    import pyarrow.parquet as pq

    image, label = columns
    parts = rows.select_columns([image, label]).cast_column(image, library.Image(decode=False))
    parts = parts.rename_columns({image: "image", label: "label"})
    homes = _homes(library, str(root).removeprefix(PREFIX))
    with pq.ParquetWriter(file, parts.features.arrow_schema) as writer:
        for part in parts.with_format("arrow").iter(ROWS):
            writer.write_table(_with_bytes(part, homes, root))


def _homes(library: Any, text: str) -> list[str]:
    """Return the folders where files of a data set may lie."""
    from huggingface_hub import constants

    own = [str(Path(text).expanduser().resolve())] if _HOME.match(text) else []
    return [*own, str(library.config.HF_DATASETS_CACHE), constants.HF_HUB_CACHE]


def _with_bytes(part: Any, homes: Sequence[str], root: Path) -> Any:
    """Return rows whose images are here, not in files beside, whose path in the data set is their name."""
    import pyarrow as pa

    images = []
    for image in part.column("image").to_pylist():
        if image and image["bytes"] is None and image["path"]:
            path = normpath(Path(image["path"]).absolute())
            home = next((home for home in homes if Path(path).is_relative_to(home)), None)
            if home is None:
                raise DataError(
                    f"{root} names a file that is no part of it", expected="images in its folder", got=path
                )
            image = {"bytes": _content(Path(path)), "path": Path(path).relative_to(home).as_posix()}
        images.append(image)
    column = pa.array(images, part.schema.field("image").type)
    return part.set_column(part.schema.get_field_index("image"), part.schema.field("image"), column)


def _content(file: Path) -> bytes:
    try:
        check_regular(file)
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error})") from error


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Silence the library's warnings and, where nobody looks, its bars; what matters is an error here."""
    logging = library.utils.logging
    verbosity, barred = logging.get_verbosity(), library.are_progress_bars_disabled()
    logging.set_verbosity(logging.CRITICAL)
    if not sys.stderr.isatty():
        library.disable_progress_bars()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.set_verbosity(verbosity)
        if not barred:
            library.enable_progress_bars()
