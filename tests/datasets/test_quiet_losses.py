"""Files that would give other images than their owner means: they are read or refused, never passed over."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from helpers.data_layouts import encoded
from transferzoo.base.errors import DataError
from transferzoo.datasets.disk import open_index, picture
from transferzoo.datasets.sources import load_split
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from pathlib import Path

SPEC = load_zoo().dataset("fashion-mnist")
READ = (lambda root: load_split(SPEC, "test", root=root), lambda root: open_index(SPEC, "test", root))


def shard(path: Path, first: int, **columns: list[int]) -> None:
    images = [{"bytes": encoded(torch.full((1, 28, 28), first + i, dtype=torch.uint8))} for i in range(3)]
    pq.write_table(pa.table({"image": images, "label": [0, 1, 2], **columns}), path)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["00000-of-00002"], "lacks shards of the split 'test': expected 2 files, got 1, without number 1"),
        (["00000-of-00002-0123456789abcdef"], "without number 1"),
        (["00001-of-00003", "00002-of-00003"], "without number 0"),
        (["00000-of-00002", "00000-of-00002-0123456789abcdef"], "twice: expected one of each number"),
        (["00000-of-00001", "00000-of-00002"], "shards of several sets"),
        (["00000-of-00002", "00001-of-00002", "more"], "shards of several sets"),
    ],
)
def test_shards_that_are_no_whole_set(tmp_path: Path, names: list[str], sentence: str) -> None:
    for place, name in enumerate(names):
        shard(tmp_path / f"test-{name}.parquet", 10 * place)
    for read in READ:
        with pytest.raises(DataError, match=sentence):
            read(tmp_path)


def test_whole_sets_are_read_whatever_their_names(tmp_path: Path) -> None:
    for kind in ("", "-0123456789abcdef"):
        folder = tmp_path / f"set{kind}"
        folder.mkdir()
        for number in range(2):
            shard(folder / f"test-{number:05d}-of-00002{kind}.parquet", 10 * number)
        images = load_split(SPEC, "test", root=folder).images
        assert images[:, 0, 0, 0].tolist() == [0, 1, 2, 10, 11, 12]


@pytest.mark.parametrize("ids", [[7, 7, 7], [0, 1, 0]])
def test_ids_that_repeat_are_refused(tmp_path: Path, ids: list[int]) -> None:
    shard(tmp_path / "test.parquet", 0, id=ids)
    with pytest.raises(DataError, match=r"several images of .*test\.parquet have the id [07]"):
        load_split(SPEC, "test", root=tmp_path / "test.parquet")


def test_ids_that_begin_anew_in_every_shard_are_refused(tmp_path: Path) -> None:
    for number in range(2):
        shard(tmp_path / f"test-{number:05d}-of-00002.parquet", 10 * number, id=[0, 1, 2])
    with pytest.raises(DataError, match="3 ids of 6 images; leave the ids out"):
        load_split(SPEC, "test", root=tmp_path)


@pytest.mark.parametrize("suffix", [".tif", ".TIFF", ".gif", ".bmp", ".png", ".webp"])
def test_formats_that_pillow_reads_without_loss(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "8").mkdir()
    pixels = np.arange(784, dtype=np.uint8).reshape(28, 28)
    Image.fromarray(pixels).save(tmp_path / "8" / f"a{suffix}", lossless=True)  # WebP asks
    found = load_split(SPEC, "test", root=tmp_path)
    assert torch.equal(found.images[0, 0], torch.from_numpy(pixels))
    assert len(open_index(SPEC, "test", tmp_path).labels) == 1


@pytest.mark.parametrize("name", ["a.heic", "deep/a.AVIF", "a.npy"])
def test_formats_that_are_not_read_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "8" / "deep").mkdir(parents=True)
    Image.new("L", (28, 28)).save(tmp_path / "8" / "b.png")
    (tmp_path / "8" / name).write_bytes(b"x")
    for read in READ:
        with pytest.raises(DataError, match="is an image of a format that is not read"):
            read(tmp_path)


@pytest.mark.parametrize("suffix", [".gif", ".tif"])
def test_several_frames_are_no_image(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "8").mkdir()
    frames = [Image.new("L", (28, 28), level) for level in (0, 200)]
    frames[0].save(tmp_path / "8" / f"a{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="has several frames: expected one image, got 2 frames"):
        load_split(SPEC, "test", root=tmp_path)


def deep_png(kind: int, channels: int) -> bytes:
    """Return a PNG of 16 bits a channel by its header, which Pillow does not write in colours."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 28, 28, 16, kind, 0, 0, 0))
    rows = zlib.compress((b"\0" + b"\x64\xc8" * channels * 28) * 28)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def deep_tiff() -> bytes:
    """Return a TIFF of 16 bits a channel, not compressed."""
    entries = [
        (256, 28),
        (257, 28),
        (258, 16),
        (259, 1),
        (262, 2),
        (273, 134),
        (277, 3),
        (278, 28),
        (279, 4704),
    ]
    tags = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries]
    tags[2] = struct.pack("<HHII", 258, 3, 3, 128)
    return (
        b"II*\0" + struct.pack("<IH", 8, 9) + b"".join(tags) + bytes(10) + b"\x10\0" * 3 + b"\x64\xc8" * 2352
    )


def test_black_and_white_in_text_is_read(tmp_path: Path) -> None:
    """Pillow says of it alone no largest value."""
    (tmp_path / "8").mkdir()
    (tmp_path / "8" / "a.ppm").write_bytes(b"P1 28 28\n" + b"0 1 " * 392)
    assert load_split(SPEC, "test", root=tmp_path).images.unique().tolist() == [0, 255]


DEEP = {
    "grey.png": deep_png(0, 1),
    "colours.png": deep_png(2, 3),
    "grey-alpha.png": deep_png(4, 2),
    "colours-alpha.png": deep_png(6, 4),
    "colours.tif": deep_tiff(),
    "colours.ppm": b"P6 28 28 65535\n" + b"\x64\xc8" * 2352,
    "text.ppm": b"P3 28 28 1000\n" + b"900 " * 2352,
}


@pytest.mark.parametrize("name", DEEP)
def test_more_than_eight_bits_a_channel_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "8").mkdir()
    (tmp_path / "8" / name).write_bytes(DEEP[name])
    with Image.open(tmp_path / "8" / name) as image:
        assert image.load() is not None, "it is a whole image"
    with pytest.raises(DataError, match="is not an 8-bit image: expected 8 bits a channel, got "):
        load_split(SPEC, "test", root=tmp_path)
    with pytest.raises(DataError, match="is not an 8-bit image"):
        picture(open_index(SPEC, "test", tmp_path), 0, 3)


@pytest.mark.parametrize("size", [(1, 6000), (1404, 28)])
def test_a_small_file_does_not_become_as_long_as_memory(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "8").mkdir()
    Image.new("L", size).save(tmp_path / "8" / "a.png")
    cropped = SPEC.model_copy(update={"fit": "crop"})
    words = rf"too long to be cropped: expected at most 50 times as long as wide, got {size[0]}x{size[1]}"
    with pytest.raises(DataError, match=words):
        load_split(cropped, "test", root=tmp_path)
    with pytest.raises(DataError, match=words):
        picture(open_index(cropped, "test", tmp_path), 0, 3)
    Image.new("L", (28, 1400)).save(tmp_path / "8" / "a.png")
    assert len(load_split(cropped, "test", root=tmp_path)) == 1


def test_links_to_folders_are_followed_wherever_images_are_read(tmp_path: Path) -> None:
    """A link that leads back to a folder around it is not."""
    home, other = tmp_path / "set", tmp_path / "other"
    for folder, level in ((home / "8", 10), (other / "deep", 20), (home / "test" / "1", 30)):
        folder.mkdir(parents=True)
        Image.new("L", (28, 28), level).save(folder / "a.png")
    (home / "8" / "more").symlink_to(other)
    (home / "7").symlink_to(other / "deep")
    (home / "8" / "round").symlink_to("..")
    (other / "back").symlink_to(home / "8")
    (home / "8" / "itself").symlink_to("itself")
    (home / "all").symlink_to(".")
    (home / "test").rename(tmp_path / "rest")
    batch = load_split(SPEC, "test", root=home)
    assert batch.names == ("7/a.png", "8/a.png", "8/more/deep/a.png")
    index = open_index(SPEC, "test", home)
    assert [index.where(at) for at in range(len(index.labels))] == [str(home / name) for name in batch.names]
    assert index.labels.tolist() == batch.labels.tolist() == [7, 8, 8]
