"""Every reader against files that are subtly or plainly broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from helpers.data_layouts import (
    LABELS,
    as_idx,
    encoded,
    idx,
    pixels,
    same,
    spec,
    write_folder,
    write_idx,
    write_listing,
    write_parquet,
)
from transferzoo.base.errors import DataError
from transferzoo.datasets.sources import load_split

if TYPE_CHECKING:
    from pathlib import Path

# Parquet


def test_parquet_ids_and_single_file(tmp_path: Path) -> None:
    write_parquet(tmp_path / "any.parquet", pixels(), LABELS, id=[7, 5, 3, 2])
    batch = load_split(spec(), "test", root=tmp_path / "any.parquet")
    assert same(batch, pixels(), LABELS, [7, 5, 3, 2])


def test_parquet_missing_shard(tmp_path: Path) -> None:
    write_parquet(tmp_path / "test-00001-of-00002.parquet", pixels(), LABELS)
    with pytest.raises(DataError, match="lacks shards of the split 'test': expected 2 files, got 1"):
        load_split(spec(), "test", root=tmp_path)


def test_parquet_found_twice(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_parquet(tmp_path / folder / "test-0.parquet", pixels(), LABELS)
    with pytest.raises(DataError, match="several times: expected one sub-folder with it, got a, b"):
        load_split(spec(), "test", root=tmp_path)


def test_parquet_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"label": LABELS}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"image": [{"bytes": b""}], "label": [0.5]}), tmp_path / "b.parquet")
    for name in "ab":
        with pytest.raises(DataError, match=r"lacks a column: expected an image column .* got .*label"):
            load_split(spec(), "test", root=tmp_path / f"{name}.parquet")


def test_parquet_broken_rows(tmp_path: Path) -> None:
    whole = encoded(pixels()[0])
    for name, image, complaint in (
        ("a", whole[: len(whole) // 2], "row 1 of .* cannot be decoded"),
        ("b", b"no image", "row 1 of .* cannot be decoded"),
        ("c", None, "row 1 of .* holds no image bytes"),
        ("d", encoded(pixels(size=9)[0]), "row 1 of .* wrong size: expected 8x8 pixels for 'tiny', got 9x9"),
    ):
        table = pa.table({"image": [{"bytes": whole}, {"bytes": image}], "label": [0, 1]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
        with pytest.raises(DataError, match=complaint):
            load_split(spec(), "test", root=tmp_path / f"{name}.parquet")


def test_parquet_broken_file(tmp_path: Path) -> None:
    file = tmp_path / "test-0.parquet"
    write_parquet(file, pixels(), LABELS)
    whole = file.read_bytes()
    for content in (whole[:-20], b"", whole[:4] + bytes(200) + whole[204:]):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"test-0\.parquet .*fetch it again"):
            load_split(spec(), "test", root=tmp_path)


@pytest.mark.parametrize("label", [3, -1])
def test_labels_out_of_range(label: int, tmp_path: Path) -> None:
    write_parquet(tmp_path / "test-0.parquet", pixels(), [0, label, 1, 2])
    with pytest.raises(
        DataError, match=rf"row 1 of .*expected an integer in 0\.\.2, got {label}; labels are 0-based"
    ):
        load_split(spec(), "test", root=tmp_path)


# IDX


def test_idx_splits_differ(tmp_path: Path) -> None:
    as_idx(tmp_path, pixels())
    assert torch.equal(load_split(spec(), "train", root=tmp_path).images, pixels().flip(0))


@pytest.mark.parametrize(
    ("images", "labels", "complaint"),
    [
        (
            idx(pixels()[:, 0])[:-1],
            None,
            "truncated or has a tail: expected 256 values, as its head says, got 255",
        ),
        (idx(pixels()[:, 0]) + b"x", None, "truncated or has a tail"),
        (idx(pixels()[:, 0])[:9], None, "truncated: expected a head of 16 bytes, got 9"),
        (b"", None, "no IDX file of 3 dimension.*got an empty file"),
        (
            b"\x00\x00\x0d" + idx(pixels()[:, 0])[3:],
            None,
            "expected the first bytes 00 00 08 03, got 00 00 0d 03",
        ),
        (
            idx(pixels(size=9)[:, 0]),
            None,
            "does not fit 'tiny': expected 1 channel.* of 8x8 pixels, got 1 of 9x9",
        ),
        (None, idx(torch.tensor(LABELS[:3])), "got 4 images and 3 labels"),
        (None, idx(torch.tensor([0, 1, 3, 2])), r"row 2 of .*expected an integer in 0\.\.2, got 3"),
    ],
)
def test_idx_broken(images: bytes | None, labels: bytes | None, complaint: str, tmp_path: Path) -> None:
    write_idx(tmp_path, "train", pixels(), LABELS, zipped=False)
    if images is not None:
        (tmp_path / "train-images-idx3-ubyte").write_bytes(images)
    if labels is not None:
        (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels)
    with pytest.raises(DataError, match=complaint):
        load_split(spec(), "train", root=tmp_path)


def test_idx_broken_gzip(tmp_path: Path) -> None:
    write_idx(tmp_path, "t10k", pixels(), LABELS, zipped=True)
    file = tmp_path / "t10k-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    for content in (whole[:-12], b"no gzip", whole[:20] + b"\xff" * 20 + whole[40:]):
        file.write_bytes(content)
        with pytest.raises(DataError, match="no whole gzip file; fetch it again"):
            load_split(spec(), "test", root=tmp_path)


def test_idx_without_labels_or_colour(tmp_path: Path) -> None:
    write_idx(tmp_path, "t10k", pixels(), LABELS, zipped=True)
    with pytest.raises(DataError, match=r"expected 3 channel\(s\)"):
        load_split(spec(channels=3), "test", root=tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="holds no images and labels of the split 'test'"):
        load_split(spec(), "test", root=tmp_path)


# Folders and lists


def test_folder_scales_and_turns_upright(tmp_path: Path) -> None:
    (tmp_path / "Dress").mkdir()
    wide = Image.new("L", (32, 16))
    wide.paste(255, (0, 0, 16, 16))
    turned = Image.Exif()
    turned[0x0112] = 6  # shown a quarter turn clockwise: the white left half is then the upper one
    wide.save(tmp_path / "Dress" / "a.png", exif=turned)
    image = load_split(spec(), "test", root=tmp_path).images[0, 0]
    assert image.shape == (8, 8)
    assert int(image[:3].min()) == 255
    assert int(image[5:].max()) == 0


def test_folder_that_is_no_class(tmp_path: Path) -> None:
    write_folder(tmp_path, pixels())
    for name in ("hat", "3", "-1"):
        stranger = (tmp_path / "Dress").rename(tmp_path / name)
        with pytest.raises(
            DataError, match=f"expected one of T-shirt/top, Trouser, Dress, or a .* 0..2, got '{name}'"
        ):
            load_split(spec(), "test", root=tmp_path)
        stranger.rename(tmp_path / "Dress")


def test_folder_with_broken_images(tmp_path: Path) -> None:
    write_folder(tmp_path, pixels())
    (tmp_path / "Dress" / "0.png").write_bytes(encoded(pixels()[0])[:60])
    with pytest.raises(DataError, match=r"Dress/0\.png cannot be decoded"):
        load_split(spec(), "test", root=tmp_path)
    Image.new("I;16", (8, 8)).save(tmp_path / "Dress" / "0.png")
    with pytest.raises(DataError, match="8 bits a channel, got I;16"):
        load_split(spec(), "test", root=tmp_path)


def test_folder_with_palettes_and_alpha(tmp_path: Path) -> None:
    (tmp_path / "Dress").mkdir()
    Image.new("RGBA", (8, 8), (10, 20, 30, 0)).save(tmp_path / "Dress" / "a.png")
    Image.new("P", (8, 8), 0).save(tmp_path / "Dress" / "b.png", transparency=b"\x00\x80")
    assert load_split(spec(channels=3), "test", root=tmp_path).images[0, :, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("header", "row", "complaint"),
    [
        ("file,label", "0.png,3", r"line 2 of .*expected an integer in 0\.\.2, got '3'; labels are 0-based"),
        ("file,label", "0.png,Hat", "0..2 or the name of a class, got 'Hat'"),
        ("file,label", "0.png", "got ''"),
        ("file,label", "none.png,1", r"none\.png \(line 2 of .*no such file"),
        (
            "name,label",
            "0.png,1",
            r"expected a header with file \(or filename, .*\) and label .*got name, label",
        ),
        ("filename,class", "0.png,1", "got filename, class"),
        ("file,label", "", "lists no image"),
    ],
)
def test_listing_broken(header: str, row: str, complaint: str, tmp_path: Path) -> None:
    write_listing(tmp_path, pixels(), [row], header)
    with pytest.raises(DataError, match=complaint):
        load_split(spec(), "test", root=tmp_path)


def test_listing_forms(tmp_path: Path) -> None:
    write_listing(tmp_path, pixels(), ["1.png, 2"], "\ufefffilename, label")
    table = (tmp_path / "labels.csv").rename(tmp_path / "other.csv")
    for root in (tmp_path, table):
        assert same(load_split(spec(), "test", root=root), pixels()[1:2], [2], [0])
    table.write_bytes(b"file,label\n\xff.png,1")
    with pytest.raises(DataError, match="expected a CSV file in UTF-8"):
        load_split(spec(), "test", root=tmp_path)


def test_listing_of_a_folder_beside_it(tmp_path: Path) -> None:
    """As the images compatible with ImageNet are handed on."""
    rows = ["1.png,2,0", "images/0.png,1,2"]
    write_listing(tmp_path / "images", pixels(), rows, "filename,label,targeted_label")
    (tmp_path / "images" / "labels.csv").rename(tmp_path / "labels.csv")
    assert same(load_split(spec(), "test", root=tmp_path), pixels()[[1, 0]], [2, 1], [0, 1])


def test_listing_of_the_nips_competition_counts_from_one(tmp_path: Path) -> None:
    write_listing(
        tmp_path / "images",
        pixels(),
        ["http://a,1,0.1,3,2", "http://b,0,0.2,1,3"],
        "URL,ImageId,x1,TrueLabel,TargetClass",
    )
    (tmp_path / "images" / "labels.csv").rename(tmp_path / "images.csv")
    (tmp_path / "categories.csv").write_text("CategoryId,CategoryName\n1,tench\n")
    assert same(load_split(spec(), "test", root=tmp_path), pixels()[[1, 0]], [2, 0], [0, 1])
    for label in "04":
        (tmp_path / "images.csv").write_text(f"ImageId,TrueLabel\n1,{label}\n")
        with pytest.raises(
            DataError, match=rf"line 2 of .*expected an integer in 1\.\.3, got '{label}'; labels are 1-based"
        ):
            load_split(spec(), "test", root=tmp_path)
