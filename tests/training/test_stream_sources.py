"""Images that stay on disk: which folders are classes, and what cannot be read or is asked wrongly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from helpers.data_layouts import picture, spec, write_parquet
from helpers.streams import (
    KINDS,
    config,
    epoch,
    opened,
    shades,
    tiny,
)
from transferzoo.base.errors import DataError, TransferZooError, UsageError
from transferzoo.datasets import disk, pixels, shards
from transferzoo.training import feeds, stream

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.zoo.schema import DatasetSpec

pytestmark = pytest.mark.usefixtures("one_thread")


# Class folders


def write_folders(root: Path, folders: list[str]) -> Path:
    for name in folders:
        (root / "val" / name).mkdir(parents=True)
        picture(shades(1)[0]).save(root / "val" / name / "a.jpg")
    return root


def nameless(count: int) -> DatasetSpec:
    splits = {"validation": (), "test": ()}
    return tiny(classes=tuple(str(label) for label in range(count)), splits=splits)


def test_sorted_folders_of_nameless_classes(tmp_path: Path) -> None:
    root = write_folders(tmp_path, ["n02", "n01", "n03"])
    source = disk.open_index(nameless(3), "validation", root)
    assert [(source.where(i).rsplit("/", 2)[1], int(source.labels[i])) for i in range(3)] == [
        ("n01", 0),
        ("n02", 1),
        ("n03", 2),
    ]


def test_numbered_folders_of_nameless_classes(tmp_path: Path) -> None:
    source = disk.open_index(nameless(12), "validation", write_folders(tmp_path, ["2", "10"]))
    assert source.labels.tolist() == [10, 2], "in order of the names, not of the labels"


def test_folders_that_are_no_classes(tmp_path: Path) -> None:
    root = write_folders(tmp_path, ["n01", "n02"])
    with pytest.raises(DataError, match=r"cannot be told apart: expected a folder for each of the 3 classes"):
        disk.open_index(nameless(3), "validation", root)
    with pytest.raises(DataError, match="n01 is a folder, but no class of 'tiny'"):
        disk.open_index(tiny(splits={"validation": (), "test": ()}), "validation", root)


# Mistakes


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no .*/absent: expected a folder or file"):
        opened(tmp_path / "absent")
    with pytest.raises(DataError, match=r"holds no 'train' images that can be streamed: expected train-\*"):
        opened(tmp_path)
    with pytest.raises(
        DataError, match=r"were not found; tried local:/nowhere \(absent\); give their folder"
    ):
        dataset = tiny(splits={"train": ("local:/nowhere",), "test": ()})
        stream.open_stream(dataset, "train", None, config())
    with pytest.raises(UsageError, match="unknown split 'dev'"):
        disk.open_index(tiny(), "dev", tmp_path)


@KINDS
@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_named(tmp_path: Path, kind: str, workers: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if kind == "folder":
        write_folders(tmp_path, ["Dress", "Trouser"])
        (tmp_path / "val").rename(tmp_path / "train")
        broken = tmp_path / "train" / "Trouser" / "a.jpg"
        broken.write_bytes(broken.read_bytes()[:300])
        name = str(broken)
    else:
        file = tmp_path / "train-00000-of-00001.parquet"
        rows = [{"bytes": b"broken", "path": None}] * 2
        pq.write_table(pa.table({"image": rows, "label": [0, 1]}), file)
        name = f"row [01] of {file}"
    feed = opened(tmp_path, workers=workers, batch_size=2)
    with pytest.raises(DataError, match=rf"^{name} cannot be decoded \(\w+\): expected a whole image"):
        epoch(feed)


def test_broken_parquet(tmp_path: Path) -> None:
    file = tmp_path / "train-00000-of-00001.parquet"
    write_parquet(file, shades(2), [0, 3])
    with pytest.raises(DataError, match=r"row 1 of .* has a label that is no class of 'tiny'"):
        opened(tmp_path)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DataError, match="is not a whole Parquet file"):
        opened(tmp_path)
    write_parquet(file, shades(2), [0, 1], id=[3, 4])
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    pq.write_table(table.drop_columns("label"), file)
    with pytest.raises(DataError, match=r"lacks a column: expected .*, got image: struct"):
        opened(tmp_path)
    pq.write_table(table.slice(0, 0), file)
    with pytest.raises(DataError, match="holds no image"):
        opened(tmp_path)


def test_row_groups_that_are_too_large(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "LARGEST", 100)
    with pytest.raises(DataError, match="are too large to stream: expected at most 100 bytes, got "):
        opened(places["parquet"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": 31}, r"too few training images: expected at least one batch \(31\), got 30"),
        ({"validation": 30}, "too many validation images: expected fewer than the 30"),
        (
            {"auto_augment": "much", "augment": "crop"},
            "option 'auto_augment' is wrong: expected timm's notation",
        ),
        ({"auto_augment": "rand-m9"}, "a policy of augmentation without augmentation"),
        ({"mixup": 1.0, "batch_size": 5}, "images cannot be mixed in pairs"),
    ],
)
def test_wrong_options(places: dict[str, Path], options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TransferZooError, match=sentence):
        epoch(opened(places["folder"], **options))


def test_images_in_memory_have_no_policy_of_augmentation() -> None:
    from transferzoo.datasets import Batch

    data = Batch(
        torch.zeros(9, 1, 8, 8, dtype=torch.uint8), torch.zeros(9, dtype=torch.int64), torch.arange(9)
    )
    with pytest.raises(UsageError, match="the images of 'tiny' are too small for auto_augment"):
        feeds.Memory(data, spec(), config(auto_augment="rand-m9"))


def test_what_is_streamed() -> None:
    assert stream.streams(tiny())
    assert not stream.streams(spec(size=64))
    assert {".jpg", ".jpeg"} <= pixels.SUFFIXES
