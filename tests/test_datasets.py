"""Readers against files made here by hand, broken files, the built-in sample, and the loopback Hub."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import make_sample
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hub_server import client_environment, serving
from PIL import Image

from transferzoo.datasets import READERS, Batch
from transferzoo.datasets.sources import load
from transferzoo.errors import DataError, UnknownNameError
from transferzoo.specs import AttackDefaults, DatasetSpec, assets

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = ("T-shirt/top", "Trouser", "Dress")
LABELS = [2, 0, 1, 1]
FULL = [
    Path("/usr/share/datasets/fashion-mnist"),
    *(
        Path(os.environ[name]) / "zalando-datasets/fashion_mnist"
        for name in ["TRANSFERZOO_DATA"]
        if name in os.environ
    ),
]


def spec(channels: int = 1, size: int = 8, **changes: Any) -> DatasetSpec:
    fields: dict[str, Any] = {
        "name": "tiny",
        "classes": CLASSES,
        "channels": channels,
        "size": size,
        "mean": (0.5,) * channels,
        "std": (0.5,) * channels,
        "splits": {"test": (), "train": ()},
        "attack": AttackDefaults(split="test", epsilon="16/255"),
        "licence": "MIT",
        "origin": "made here",
    }
    return DatasetSpec(**fields | changes)


def pixels(count: int = 4, channels: int = 1, size: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator)


def picture(image: torch.Tensor) -> Image.Image:
    return Image.fromarray((image[0] if len(image) == 1 else image.permute(1, 2, 0)).numpy())


def encoded(image: torch.Tensor) -> bytes:
    buffer = io.BytesIO()
    picture(image).save(buffer, "png")
    return buffer.getvalue()


def write_parquet(
    file: Path, images: torch.Tensor, labels: list[int], column: str = "image", **columns: list[int]
) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    struct_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": encoded(image), "path": None} for image in images], struct_type)
    pq.write_table(pa.table({column: rows, "label": labels, **columns}), file)


def idx(values: torch.Tensor) -> bytes:
    head = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    return head + values.to(torch.uint8).numpy().tobytes()


def write_idx(root: Path, split: str, images: torch.Tensor, labels: list[int], *, zipped: bool) -> None:
    for name, values in (("images-idx3", images[:, 0]), ("labels-idx1", torch.tensor(labels))):
        content = idx(values)
        file = root / f"{split}-{name}-ubyte{'.gz' if zipped else ''}"
        file.write_bytes(gzip.compress(content) if zipped else content)


def write_folder(home: Path, images: torch.Tensor) -> None:
    for index, name in enumerate(["Dress", "t-shirt-top", "1", "Trouser"]):
        (home / name).mkdir(parents=True, exist_ok=True)
        picture(images[index]).save(home / name / f"{index}.png")


def write_listing(home: Path, images: torch.Tensor, rows: list[str], header: str = "file,label") -> None:
    home.mkdir(exist_ok=True)
    for index, image in enumerate(images):
        picture(image).save(home / f"{index}.png")
    (home / "labels.csv").write_text("\n".join([header, *rows]), encoding="utf-8")


def same(batch: Batch, images: torch.Tensor, labels: list[int], ids: list[int]) -> bool:
    return torch.equal(batch.images, images) and batch.labels.tolist() == labels and batch.ids.tolist() == ids


# One layout a registered reader: each writes the four images and returns the order they are read in.


def as_parquet(root: Path, images: torch.Tensor) -> list[int]:
    write_parquet(root / "plain" / "test-00000-of-00002.parquet", images[:3], LABELS[:3], "img")
    write_parquet(root / "plain" / "test-00001-of-00002.parquet", images[3:], LABELS[3:], "img")
    return [0, 1, 2, 3]


def as_idx(root: Path, images: torch.Tensor) -> list[int]:
    write_idx(root, "t10k", images, LABELS, zipped=True)
    write_idx(root, "train", images.flip(0), LABELS, zipped=False)
    return [0, 1, 2, 3]


def as_folder(root: Path, images: torch.Tensor) -> list[int]:
    write_folder(root / "test", images)
    (root / "test" / "Dress" / ".hidden.png").write_bytes(b"")
    (root / "test" / "notes.txt").write_text("not an image")
    return [2, 0, 3, 1]


def as_listing(root: Path, images: torch.Tensor) -> list[int]:
    write_listing(root, images, [f"{index}.png,{LABELS[index]}" for index in (3, 1, 0, 2)])
    return [3, 1, 0, 2]


LAYOUTS: dict[str, Callable[[Path, torch.Tensor], list[int]]] = {
    "parquet": as_parquet,
    "idx": as_idx,
    "folder": as_folder,
    "listing": as_listing,
}


@pytest.mark.parametrize("name", list(READERS))
def test_every_reader_reads_its_layout(name: str, tmp_path: Path) -> None:
    images = pixels()
    order = LAYOUTS[name](tmp_path, images)
    reader = READERS[name]()
    assert reader.accepts(tmp_path, "test")
    assert not reader.accepts(assets() / "nothing", "test")
    batch = load(spec(), "test", root=tmp_path)
    assert same(batch, images[order], [LABELS[i] for i in order], [0, 1, 2, 3])


@pytest.mark.parametrize("name", ["parquet", "folder", "listing"])
def test_colour(name: str, tmp_path: Path) -> None:
    images = pixels(channels=3)
    order = LAYOUTS[name](tmp_path, images)
    assert torch.equal(load(spec(channels=3), "test", root=tmp_path).images, images[order])


def test_priorities_differ() -> None:
    assert len({READERS[name]().priority for name in READERS}) == len(READERS)


def test_batch_checks_itself() -> None:
    batch = Batch(pixels(), torch.tensor(LABELS), torch.arange(4))
    assert len(batch) == 4
    assert same(batch.select([3, 0]), batch.images[[3, 0]], [1, 2], [3, 0])
    assert len(batch.select(batch.labels == 1)) == 2
    assert len(batch.select([])) == 0
    for indices in ([4], [-1], [0.5], [[0]], [True]):
        with pytest.raises(DataError):
            batch.select(torch.tensor(indices))
    for images, labels in (
        (pixels() / 255, torch.tensor(LABELS)),
        (pixels()[0], torch.tensor(LABELS)),
        (pixels(channels=2), torch.tensor(LABELS)),
        (pixels(), torch.tensor(LABELS[:3])),
        (pixels(), torch.tensor(LABELS).int()),
    ):
        with pytest.raises(DataError, match="expected"):
            Batch(images, labels, torch.arange(4))


def test_importing_leaves_torch_out() -> None:
    code = """
import sys
from transferzoo.datasets import READERS, sources
assert len(READERS), sources
print("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"


# Parquet


def test_parquet_ids_and_single_file(tmp_path: Path) -> None:
    write_parquet(tmp_path / "any.parquet", pixels(), LABELS, id=[7, 5, 3, 2])
    batch = load(spec(), "test", root=tmp_path / "any.parquet")
    assert same(batch, pixels(), LABELS, [7, 5, 3, 2])


def test_parquet_missing_shard(tmp_path: Path) -> None:
    write_parquet(tmp_path / "test-00001-of-00002.parquet", pixels(), LABELS)
    with pytest.raises(DataError, match="lacks shards of the split 'test': expected 2 files, got 1"):
        load(spec(), "test", root=tmp_path)


def test_parquet_found_twice(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_parquet(tmp_path / folder / "test-0.parquet", pixels(), LABELS)
    with pytest.raises(DataError, match="several times: expected one sub-folder with it, got a, b"):
        load(spec(), "test", root=tmp_path)


def test_parquet_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"label": LABELS}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"image": [{"bytes": b""}], "label": ["cat"]}), tmp_path / "b.parquet")
    for name in "ab":
        with pytest.raises(DataError, match=r"lacks a column: expected an image column .* got .*label"):
            load(spec(), "test", root=tmp_path / f"{name}.parquet")


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
            load(spec(), "test", root=tmp_path / f"{name}.parquet")


def test_parquet_broken_file(tmp_path: Path) -> None:
    file = tmp_path / "test-0.parquet"
    write_parquet(file, pixels(), LABELS)
    whole = file.read_bytes()
    for content in (whole[:-20], b"", whole[:4] + bytes(200) + whole[204:]):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"test-0\.parquet .*fetch it again"):
            load(spec(), "test", root=tmp_path)


@pytest.mark.parametrize("label", [3, -1])
def test_labels_out_of_range(label: int, tmp_path: Path) -> None:
    write_parquet(tmp_path / "test-0.parquet", pixels(), [0, label, 1, 2])
    with pytest.raises(
        DataError, match=rf"row 1 of .*expected an integer in 0\.\.2, got {label}; labels are 0-based"
    ):
        load(spec(), "test", root=tmp_path)


# IDX


def test_idx_splits_differ(tmp_path: Path) -> None:
    as_idx(tmp_path, pixels())
    assert torch.equal(load(spec(), "train", root=tmp_path).images, pixels().flip(0))


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
        load(spec(), "train", root=tmp_path)


def test_idx_broken_gzip(tmp_path: Path) -> None:
    write_idx(tmp_path, "t10k", pixels(), LABELS, zipped=True)
    file = tmp_path / "t10k-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    for content in (whole[:-12], b"no gzip", whole[:20] + b"\xff" * 20 + whole[40:]):
        file.write_bytes(content)
        with pytest.raises(DataError, match="not a whole gzip file; fetch it again"):
            load(spec(), "test", root=tmp_path)


def test_idx_without_labels_or_colour(tmp_path: Path) -> None:
    write_idx(tmp_path, "t10k", pixels(), LABELS, zipped=True)
    with pytest.raises(DataError, match=r"expected 3 channel\(s\)"):
        load(spec(channels=3), "test", root=tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="holds no images and labels of the split 'test'"):
        load(spec(), "test", root=tmp_path)


# Folders and lists


def test_folder_scales_and_turns_upright(tmp_path: Path) -> None:
    (tmp_path / "Dress").mkdir()
    wide = Image.new("L", (32, 16))
    wide.paste(255, (0, 0, 16, 16))
    turned = Image.Exif()
    turned[0x0112] = 6  # shown a quarter turn clockwise: the white left half is then the upper one
    wide.save(tmp_path / "Dress" / "a.png", exif=turned)
    image = load(spec(), "test", root=tmp_path).images[0, 0]
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
            load(spec(), "test", root=tmp_path)
        stranger.rename(tmp_path / "Dress")


def test_folder_with_broken_images(tmp_path: Path) -> None:
    write_folder(tmp_path, pixels())
    (tmp_path / "Dress" / "0.png").write_bytes(encoded(pixels()[0])[:60])
    with pytest.raises(DataError, match=r"Dress/0\.png cannot be decoded"):
        load(spec(), "test", root=tmp_path)
    Image.new("I;16", (8, 8)).save(tmp_path / "Dress" / "0.png")
    with pytest.raises(DataError, match="8 bits a channel, got I;16"):
        load(spec(), "test", root=tmp_path)


def test_folder_with_palettes_and_alpha(tmp_path: Path) -> None:
    (tmp_path / "Dress").mkdir()
    Image.new("RGBA", (8, 8), (10, 20, 30, 0)).save(tmp_path / "Dress" / "a.png")
    Image.new("P", (8, 8), 0).save(tmp_path / "Dress" / "b.png", transparency=b"\x00\x80")
    assert load(spec(channels=3), "test", root=tmp_path).images[0, :, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("header", "row", "complaint"),
    [
        ("file,label", "0.png,3", r"line 2 of .*expected an integer in 0\.\.2, got '3'; labels are 0-based"),
        ("file,label", "0.png,Dress", "got 'Dress'"),
        ("file,label", "0.png", "got ''"),
        ("file,label", "none.png,1", r"none\.png \(line 2 of .*no such file"),
        ("name,label", "0.png,1", r"expected a header with file \(or filename\) and label .*got name, label"),
        ("filename,class", "0.png,1", "got filename, class"),
        ("file,label", "", "lists no image"),
    ],
)
def test_listing_broken(header: str, row: str, complaint: str, tmp_path: Path) -> None:
    write_listing(tmp_path, pixels(), [row], header)
    with pytest.raises(DataError, match=complaint):
        load(spec(), "test", root=tmp_path)


def test_listing_forms(tmp_path: Path) -> None:
    write_listing(tmp_path, pixels(), ["1.png, 2"], "\ufefffilename, label")
    table = (tmp_path / "labels.csv").rename(tmp_path / "other.csv")
    for root in (tmp_path, table):
        assert same(load(spec(), "test", root=root), pixels()[1:2], [2], [0])
    table.write_bytes(b"file,label\n\xff.png,1")
    with pytest.raises(DataError, match="expected a CSV file in UTF-8"):
        load(spec(), "test", root=tmp_path)


# Sources


def test_places_are_tried_in_order(tmp_path: Path) -> None:
    as_listing(tmp_path, pixels())
    (tmp_path / "empty").mkdir()
    places = tuple(f"local:{tmp_path / name}" for name in ("absent", "empty", "."))
    assert len(load(spec(splits={"test": places}), "test")) == 4
    with pytest.raises(
        DataError, match=r"'test' images of 'tiny' were not found; .*absent \(absent\) and .*--data PATH"
    ):
        load(spec(splits={"test": places[:2]}), "test")


def test_a_place_may_lie_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    as_listing(tmp_path, pixels())
    assert len(load(spec(splits={"test": ("local:~",)}), "test")) == 4
    assert len(load(spec(), "test", root=Path("~"))) == 4


def test_a_root_that_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected test-\*\.parquet; or .*check --data"):
        load(spec(), "test", root=tmp_path)
    with pytest.raises(DataError, match="there is no"):
        load(spec(), "test", root=tmp_path / "absent")
    write_parquet(tmp_path / "train-0.parquet", pixels(), LABELS)
    with pytest.raises(DataError, match="got the split train"):
        load(spec(), "test", root=tmp_path)


def test_unknown_split(tmp_path: Path) -> None:
    with pytest.raises(
        UnknownNameError, match="unknown split 'tset': expected one of test, train; did you mean test"
    ):
        load(spec(), "tset", root=tmp_path)


LOAD = """
import sys
from transferzoo.datasets.sources import load
from transferzoo.specs import DatasetSpec
from transferzoo.errors import TransferZooError
try:
    batch = load(DatasetSpec.model_validate_json(sys.argv[1]), "test")
    print(batch.images.flatten().tolist(), batch.labels.tolist(), batch.ids.tolist())
except TransferZooError as error:
    print(error)
"""


def test_images_come_from_the_hub(tmp_path: Path) -> None:
    file = tmp_path / "test-00000-of-00001.parquet"
    write_parquet(file, pixels(), LABELS)
    places = ("local:/absent", "hub:owner/tiny/plain/test-00000-of-00001.parquet")
    known = spec(splits={"test": places}).model_dump_json()

    def loaded(endpoint: str, home: str, **variables: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", LOAD, known],
            env=os.environ | client_environment(endpoint, tmp_path / home) | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout.strip()

    with serving({"datasets/owner/tiny/plain/test-00000-of-00001.parquet": file.read_bytes()}) as endpoint:
        assert loaded(endpoint, "warm") == f"{pixels().flatten().tolist()} {LABELS} [0, 1, 2, 3]"
    sentence = loaded(endpoint, "cold", HF_HUB_OFFLINE="1")
    assert "local:/absent (absent) and hub:owner/tiny" in sentence
    assert sentence.endswith(
        "HF_HUB_OFFLINE is set; unset it once to download the file); give their folder with --data PATH."
    )


# The built-in sample


def sample() -> Batch:
    fashion = spec(
        size=28,
        classes=tuple("abcdefghij"),
        splits={"sample": ("builtin:fashion-mnist",)},
        attack=AttackDefaults(split="sample", epsilon="16/255"),
    )
    return load(fashion, "sample")


def test_sample_is_balanced_and_small() -> None:
    batch = sample()
    assert batch.images.shape == (1000, 1, 28, 28)
    assert batch.labels.bincount().tolist() == [100] * 10
    assert len(set(batch.ids.tolist())) == 1000
    assert make_sample.TARGET.stat().st_size < 600_000


def test_sample_equals_the_test_images() -> None:
    root = next((path for path in FULL if path.exists()), None)
    if root is None:
        pytest.skip(
            "needs Debian's dataset-fashion-mnist, or TRANSFERZOO_DATA with zalando-datasets/fashion_mnist"
        )
    batch = sample()
    full = load(spec(size=28, classes=tuple("abcdefghij")), "test", root=root)
    assert same(
        batch,
        full.images[batch.ids],
        full.labels[batch.ids].tolist(),
        make_sample.drawn(full.labels.tolist()),
    )
