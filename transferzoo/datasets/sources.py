"""Where the images of a data set lie, and which reader takes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from transferzoo import hub
from transferzoo.base.errors import DataError, TransferZooError, UnknownNameError
from transferzoo.base.plugins import owner
from transferzoo.datasets import READERS, check_ids
from transferzoo.datasets.archives import is_archive, unpacked
from transferzoo.datasets.files import only_folder
from transferzoo.datasets.shares import rows_of_share
from transferzoo.zoo.schema import HUB, PLACE, assets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from transferzoo.base.plugins import Plugin
    from transferzoo.datasets import Batch, Reader
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import DatasetSpec

    OnStage = Callable[[str, int, int], None]


LARGEST = 224
"""Height and width in pixels, at most, of images whose data set does not say."""


class HubFile(NamedTuple):
    """A file of a data set of the Hub.

    Attributes:
        repo: "OWNER/NAME".
        file: its path within the repository.
        sha256: what its SHA-256 must be, None where it is not pinned.
    """

    repo: str
    file: str
    sha256: str | None


def load_split(
    spec: DatasetSpec, split: str, *, root: Path | None = None, on_progress: OnStage = lambda *_: None
) -> Batch:
    """Read a split of a data set into memory.

    Args:
        spec: the data set.
        split: one of `spec.splits`.
        root: the user's own folder, file or archive; without it, `spec.splits[split]` is tried in order.
        on_progress: called with what is being done, how much of it is done, and how much there is.

    Returns:
        The whole split, or `spec.at_most` of it: uint8 (N, spec.channels, spec.size, spec.size), in the order
        of the files.

    Raises:
        UnknownNameError: no such split.
        DataError: nothing found, or what was found cannot be read, does not fit `spec` or has an id twice.
    """
    reader, place = _found(spec, split, root, on_progress)
    batch = reader.read(place, split, spec, lambda done, total: on_progress("reading images", done, total))
    check_ids(batch.ids, str(place))
    if split not in spec.shares:
        return batch
    return batch.select(rows_of_share(batch.labels.numpy(), spec.shares[split]).tolist())


def measured(zoo: Zoo, name: str, split: str | None = None, root: Path | None = None) -> Zoo:
    """Return a zoo that knows how large the images of a data set are, where its entry does not say.

    Channels, height and width are those of the split's first image; the size is the shorter side, at most
    `LARGEST`, and the centre of larger images is cut out unless the entry says otherwise. Where mean and
    standard deviation are not given they are 0.5 each.

    Args:
        zoo: has the data set.
        name: of the data set.
        split: which images are looked at; None for those that are attacked.
        root: as for `load_split`.

    Raises:
        UnknownNameError: no such data set, or no such split.
        DataError: nothing found, or what was found cannot be read.
    """
    spec = zoo.dataset(name)
    if spec.channels and spec.size and spec.mean and spec.std:
        return zoo
    channels, size, fit = spec.channels or len(spec.mean) or len(spec.std), spec.size, spec.fit
    if not (channels and size):
        split = split or spec.attack.split
        reader, place = _found(spec, split, root)
        seen, *sides = reader.shape(place, split)
        channels = channels or seen
        if not size:
            size = min(*sides, LARGEST)
            fit = "crop" if "fit" not in spec.model_fields_set and sides != [size, size] else fit
    half = (0.5,) * channels
    found = {
        "channels": channels,
        "size": size,
        "mean": spec.mean or half,
        "std": spec.std or half,
        "fit": fit,
    }
    return replace(zoo, datasets={**zoo.datasets, name: spec.model_copy(update=found)})


def _found(
    spec: DatasetSpec, split: str, root: Path | None, on_progress: OnStage = lambda *_: None
) -> tuple[Reader, Path]:
    """Return the first place that has a split, and what reads it.

    Raises:
        UnknownNameError, DataError: see `roots`.
    """
    places = roots(spec, split, root, on_progress)
    return next((reader, place) for place in places if (reader := reader_of(place, split)))


def roots(
    spec: DatasetSpec, split: str, root: Path | None, on_progress: OnStage = lambda *_: None
) -> Iterator[Path]:
    """Yield folders and files where a split may lie, one after the other, and raise after the last.

    They exist: what is on the Hub is fetched, and archives are unpacked, when their turn comes.

    Args:
        spec: the data set.
        split: one of `spec.splits`.
        root: the user's own place, the only one then.
        on_progress: as for `load_split`.

    Raises:
        UnknownNameError: no such split.
        DataError: none was taken, or an archive cannot be used.
    """
    if split not in spec.splits:
        raise UnknownNameError("split", split, spec.splits)
    if root is not None:
        yield from _own(spec, split, root.expanduser(), on_progress)
    tried = []
    for place in spec.splits[split]:
        name = place.partition("@sha256:")[0]
        try:
            path = _resolve_place(place)
        except TransferZooError as error:
            tried.append(f"{name} ({str(error).removesuffix('.')})")
            continue
        if path.exists():
            yield _unpack_archive(path, spec, on_progress)
            tried.append(f"{name} (no '{split}' images in a known layout)")
        else:
            tried.append(f"{name} (absent)")
    raise DataError(
        f"the '{split}' images of '{spec.name}' were not found; tried {' and '.join(tried) or 'nothing'}",
        hint="give their folder with --data PATH",
    )


def _own(spec: DatasetSpec, split: str, root: Path, on_progress: OnStage) -> Iterator[Path]:
    """Yield a place of the user's, and raise if it is not taken."""
    if not root.exists():
        raise DataError(
            f"there is no {root}", expected="a folder or file with the images", hint="check --data"
        )
    path = _unpack_archive(root, spec, on_progress)
    yield path
    others = [other for other in spec.splits if reader_of(path, other)]
    measured = [other for other in others if "train" not in (split, other)]  # training has no other to offer
    raise DataError(
        f"{root} holds no '{split}' images in a known layout",
        expected=layouts(split),
        got=f"the split {' or '.join(others)}" if others else "",
        hint=f"check --data, or where the command takes it, --split {measured[0]}"
        if measured
        else "check --data",
    )


def hub_files(spec: DatasetSpec, split: str | None = None) -> list[HubFile]:
    """Return the files of the Hub that a split is read from where no place before them has it.

    Of several places on the Hub the first counts. The Hub is not asked.

    Args:
        spec: the data set.
        split: one of `spec.splits`; None for all of them.

    Raises:
        UnknownNameError: no such split.
    """
    if split is None:
        return list(dict.fromkeys(file for name in spec.splits for file in hub_files(spec, name)))
    if split not in spec.splits:
        raise UnknownNameError("split", split, spec.splits)
    first = next((place for place in spec.splits[split] if place.startswith(HUB)), None)
    return _files(first) if first else []


def reading_plugin(spec: DatasetSpec, split: str, root: Path | None) -> Plugin | None:
    """Return the plug-in that reads a split from a place of the user's, None where it is read by none.

    Arguments are those of `roots`; nothing is fetched.
    """
    local = (place.partition(":")[2] for place in spec.splits.get(split, ()) if place.startswith("local:"))
    own = [root] if root is not None else [Path(place).expanduser() for place in local]
    places = (_unpack_archive(path, spec, lambda *_: None) for path in own if path.exists())
    reader = next((reader for place in places if (reader := reader_of(place, split))), None)
    return owner(type(reader).__module__) if reader else None


def place_of_images(spec: DatasetSpec, split: str) -> str | None:
    """Return the first place of a split that has it, as `spec` writes it; None where none has.

    Nothing is downloaded, so the Hub is taken to have what it shall have, or unpacked.

    Args:
        spec: the data set.
        split: one of `spec.splits`.
    """
    for place in spec.splits[split]:
        if place.startswith(HUB):
            return place
        path = _resolve_place(place)
        if path.exists() and (is_archive(path) or reader_of(path, split)):
            return place
    return None


def layouts(split: str) -> str:
    """Return the layouts of files that can be read, in one line."""
    return "; or ".join(reader.layout.replace("{split}", split) for reader in _readers(READERS))


def _resolve_place(place: str) -> Path:
    """Return where a place of `DatasetSpec.splits` lies; it need not exist.

    Raises:
        TransferZooError: the Hub does not give it.
    """
    kind, _, rest = place.partition(":")
    if kind == "builtin":
        return assets() / rest
    if kind == "local":
        return Path(rest).expanduser()
    first, *others = _files(place)
    path = hub.download_file(first.repo, first.file, repo_type="dataset", sha256=first.sha256)
    for part in others:
        hub.download_file(part.repo, part.file, revision=hub.commit_of(path), repo_type="dataset")
    return path.parent if others else path


def _files(place: str) -> list[HubFile]:
    """Return the files that a place on the Hub stands for."""
    match = PLACE.fullmatch(place)
    assert match, place
    if match["file"]:
        return [HubFile(match["repo"], match["file"], match["sha256"])]
    names = (f"{match['start']}{part:05d}{match['end']}" for part in range(int(match["parts"])))
    return [HubFile(match["repo"], name, None) for name in names]


def _unpack_archive(path: Path, spec: DatasetSpec, on_progress: OnStage) -> Path:
    """Return a path as it is, or the folder with what an archive holds."""
    if not is_archive(path):
        return path
    folder = unpacked(path, lambda done, total: on_progress(f"unpacking {path.name}", done, total))
    while inner := only_folder(folder, spec.splits, spec.classes):
        folder = inner
    return folder


def _readers(names: Iterable[str]) -> list[Reader]:
    return sorted((READERS[name]() for name in names), key=lambda reader: reader.priority)


def reader_of(root: Path, split: str) -> Reader | None:
    """Return what reads a split, None for nothing; plug-ins are asked for what nothing built in reads."""
    sets = (READERS.built_in, READERS)
    return next((one for names in sets for one in _readers(names) if one.accepts(root, split)), None)
