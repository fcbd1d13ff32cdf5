"""Which CSV file lists the images, where others lie beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image

from helpers.archives import zipped
from helpers.data_layouts import LABELS, encoded, pixels, same, spec, write_folder, write_listing
from transferzoo.base.errors import DataError
from transferzoo.datasets import disk
from transferzoo.datasets.sources import load_split

if TYPE_CHECKING:
    from pathlib import Path

TWIN = b"\0\5\26\7\0\2\0\0Mac OS X"
RESULTS = b"surrogate,target,success_rate\nresnet18,vgg,31.5\n"
LIST = b"file,label\n" + b"".join(b"%d.png,%d\n" % (index, label) for index, label in enumerate(LABELS))
OTHER = b"file,label\n0.png,0\n"


@pytest.mark.parametrize(
    "files",
    [
        {"my.csv": LIST, "._my.csv": TWIN},
        {"labels.csv": LIST, "._labels.csv": TWIN, ".hidden.csv": OTHER},
        {"my.csv": LIST, "results.csv": RESULTS},
        {"my.csv": LIST, "labels.csv": b"number,name\n0,Dress\n"},
        {"my.csv": LIST, "thumbnails.csv": b"\xff\xfe\0", "empty.csv": b""},
        {"test.csv": LIST, "train.csv": OTHER},
        {"test.csv": LIST, "train.csv": OTHER, "labels.csv": OTHER},
        {"images.csv": LIST, "more.csv": OTHER},
        {"test/my.csv": LIST.replace(b"\n", b"\n../", 4), "my.csv": OTHER},
    ],
    ids=lambda files: "+".join(files),
)
def test_the_list_is_found_among_other_tables(files: dict[str, bytes], tmp_path: Path) -> None:
    write_listing(tmp_path, pixels(), [])
    (tmp_path / "labels.csv").unlink()
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert same(load_split(spec(), "test", root=tmp_path), pixels(), LABELS, [0, 1, 2, 3])


def test_the_list_of_validation_images_has_a_short_name_too(tmp_path: Path) -> None:
    write_listing(tmp_path, pixels(), [])
    (tmp_path / "val.csv").write_bytes(LIST)
    (tmp_path / "labels.csv").write_bytes(OTHER)
    both = spec(splits={"validation": (), "test": ()})
    assert len(load_split(both, "validation", root=tmp_path)) == 4
    assert len(load_split(both, "test", root=tmp_path)) == 1


def test_several_lists_are_named(tmp_path: Path) -> None:
    write_listing(tmp_path, pixels(), [])
    (tmp_path / "labels.csv").unlink()
    for name in ("a", "train"):
        (tmp_path / f"{name}.csv").write_bytes(LIST)
    with pytest.raises(
        DataError, match=r"several lists of images: .* called test\.csv, got a\.csv, train\.csv"
    ):
        load_split(spec(), "test", root=tmp_path)


@pytest.mark.parametrize(
    "tables", [("results.csv",), ("cells.csv", "labels.csv"), ("._a.csv",), ("test.csv",)]
)
def test_class_folders_are_read_beside_tables_that_are_no_lists(
    tables: tuple[str, ...], tmp_path: Path
) -> None:
    write_folder(tmp_path, pixels())
    for name in tables:
        (tmp_path / name).write_bytes(RESULTS)
    assert len(load_split(spec(), "test", root=tmp_path)) == 4


def test_an_archive_of_macos_is_read_like_its_folder(tmp_path: Path) -> None:
    files = {f"data/{index}.png": encoded(image) for index, image in enumerate(pixels())}
    twins = {"__MACOSX/data/._labels.csv": TWIN, "._data.csv": TWIN}
    archive = tmp_path / "data.zip"
    archive.write_bytes(zipped({**files, "data/labels.csv": LIST, **twins}))
    assert same(load_split(spec(), "test", root=archive), pixels(), LABELS, [0, 1, 2, 3])


@pytest.mark.parametrize("fit", ["squash", "crop"])
@pytest.mark.parametrize("size", [(40, 20), (16, 64), (9, 9)])
def test_lists_and_folders_scale_alike(fit: str, size: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "folder" / "Dress").mkdir(parents=True)
    noise = torch.randint(0, 256, (size[1], size[0]), dtype=torch.uint8).numpy()
    Image.fromarray(noise).save(tmp_path / "folder" / "Dress" / "0.png")
    (tmp_path / "list.csv").write_text("file,label\nfolder/Dress/0.png,2\n")
    one, other = (
        load_split(spec(fit=fit), "test", root=tmp_path / name).images for name in ("folder", "list.csv")
    )
    assert torch.equal(one, other)


IDS = {"n01440764": 0, "n01443537": 1, "n02112018": 259, "n15075141": 999}
"""Of torchvision's and Keras's list of ImageNet's classes."""


@pytest.mark.parametrize("folders", [["n01443537"], ["n15075141", "n02112018"], list(IDS)])
def test_a_few_folders_of_imagenet_are_told_by_their_ids(folders: list[str], tmp_path: Path) -> None:
    for name in folders:
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8), len(folders)).save(tmp_path / name / "a.png")
    thousand = spec(classes=tuple(map(str, range(1000))))
    wanted = sorted(IDS[name] for name in folders)
    assert load_split(thousand, "test", root=tmp_path).labels.tolist() == wanted
    assert disk.open_index(thousand, "test", tmp_path).labels.tolist() == wanted


@pytest.mark.parametrize("folders", [["n99999999"], ["n01443537", "goldfish"], ["n01443537", "n00000001"]])
def test_folders_that_are_no_ids_of_imagenet_are_refused(folders: list[str], tmp_path: Path) -> None:
    for name in folders:
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / name / "a.png")
    with pytest.raises(
        DataError, match="cannot be told apart: expected a folder for each of the 1000 classes"
    ):
        load_split(spec(classes=tuple(map(str, range(1000)))), "test", root=tmp_path)
