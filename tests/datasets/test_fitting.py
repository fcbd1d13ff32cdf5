"""Images of other sizes than the data set's, and splits with more images than are read."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from helpers.data_layouts import LABELS, LAYOUTS, as_folder, pixels, same, spec, write_parquet
from transferzoo.base.errors import DataError
from transferzoo.base.processes import share
from transferzoo.datasets import memory
from transferzoo.datasets.pixels import decode
from transferzoo.datasets.sources import load_split

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(("width", "height"), [(40, 23), (23, 40), (17, 17), (16, 90), (12, 11), (501, 333)])
def test_cropping_is_the_usual_evaluation_of_imagenet(width: int, height: int) -> None:
    from transferzoo.training.pipeline import plain

    noise = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8).numpy()
    image = Image.fromarray(noise)
    usual = torch.as_tensor(plain(spec(3, 64))(image))
    buffer = io.BytesIO()
    image.save(buffer, "png")
    assert torch.equal(torch.from_numpy(decode(buffer.getvalue(), spec(3, 64), "", "crop").copy()), usual)


def test_images_of_the_right_size_are_never_scaled(tmp_path: Path) -> None:
    as_folder(tmp_path / "folder", pixels())
    write_parquet(tmp_path / "test-0.parquet", pixels(), LABELS)
    cropped = spec(fit="crop")
    assert torch.equal(load_split(cropped, "test", root=tmp_path / "folder").images, pixels()[[2, 0, 3, 1]])
    assert torch.equal(load_split(cropped, "test", root=tmp_path).images, pixels())


def test_other_sizes_are_cropped_where_the_data_set_says_so(tmp_path: Path) -> None:
    wide = Image.new("L", (40, 20), 100)
    wide.paste(255, (0, 0, 5, 20))  # squashed it would be seen
    (tmp_path / "folder" / "Dress").mkdir(parents=True)
    wide.save(tmp_path / "folder" / "Dress" / "0.png")
    encoded_wide = (tmp_path / "folder" / "Dress" / "0.png").read_bytes()
    pq.write_table(pa.table({"image": [{"bytes": encoded_wide}], "label": [2]}), tmp_path / "test-0.parquet")
    for root in (tmp_path / "folder", tmp_path):
        assert load_split(spec(fit="crop"), "test", root=root).images.unique().tolist() == [100]
    assert load_split(spec(), "test", root=tmp_path / "folder").images.unique().tolist() != [100]
    with pytest.raises(DataError, match="wrong size"):
        load_split(spec(), "test", root=tmp_path)


def test_nameless_classes_may_have_names_that_sort(tmp_path: Path) -> None:
    for name in ("n03", "n01", "n02"):
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.new("L", (8, 8), int(name[1:])).save(tmp_path / "val" / name / "a.png")
    nameless = spec(classes=tuple("012"), splits={"validation": (), "test": ()})
    batch = load_split(nameless, "validation", root=tmp_path)
    assert batch.images[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert batch.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_of_a_large_split_some_images_are_drawn(tmp_path: Path, name: str) -> None:
    order = LAYOUTS[name](tmp_path, pixels())
    every = load_split(spec(at_most={"test": 4, "train": 1}), "test", root=tmp_path)
    assert every.ids.tolist() == [0, 1, 2, 3]
    some = load_split(spec(at_most={"test": 2}), "test", root=tmp_path)
    again = load_split(spec(at_most={"test": 2}), "test", root=tmp_path)
    chosen = some.ids.tolist()
    assert chosen == again.ids.tolist() == sorted(set(chosen))
    assert len(chosen) == 2
    assert same(some, pixels()[[order[i] for i in chosen]], [LABELS[order[i]] for i in chosen], chosen)


def test_draws_are_spread_over_the_split() -> None:
    rows = memory.rows_of(50_000, spec(at_most={"test": 5000}), "test")
    assert len(set(rows)) == 5000
    assert rows == sorted(rows)
    assert all(len([row for row in rows if row // 5000 == part]) in range(400, 600) for part in range(10))


def test_more_images_than_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_folder(tmp_path, pixels())
    monkeypatch.setattr(memory, "MOST_BYTES", 255)
    with pytest.raises(
        DataError, match=r"4 images of 'tiny' do not fit into memory: .* 255 bytes, got 256; give"
    ):
        load_split(spec(), "test", root=tmp_path)
    assert len(load_split(spec(at_most={"test": 3}), "test", root=tmp_path)) == 3


def test_reading_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "TOLD", 1)
    as_folder(tmp_path, pixels())
    told: list[tuple[str, int, int]] = []
    load_split(spec(), "test", root=tmp_path, on_progress=lambda *what: told.append(what))
    assert told == [("reading images", done, 4) for done in (1, 2, 3, 4)]


@pytest.mark.parametrize(("jobs", "at_once"), [(1, 2**26), (3, 2**26), (3, 128), (2, 1)])
def test_processes_decode_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, at_once: int
) -> None:
    monkeypatch.setattr(memory, "ALONE", 0)
    monkeypatch.setattr(memory, "AT_ONCE", at_once)
    monkeypatch.setattr(memory, "usual_jobs", lambda: jobs)
    as_folder(tmp_path / "folder", pixels())
    write_parquet(tmp_path / "test-0.parquet", pixels(), LABELS)
    told: list[int] = []
    batch = load_split(spec(), "test", root=tmp_path, on_progress=lambda _what, done, _of: told.append(done))
    assert same(batch, pixels(), LABELS, [0, 1, 2, 3])
    assert told == sorted(told)
    assert told[-1] == 4
    broken = min((tmp_path / "folder").rglob("*.png"))
    broken.write_bytes(b"no image")
    with pytest.raises(DataError, match=rf"{broken.name} cannot be decoded"):
        load_split(spec(), "test", root=tmp_path / "folder")


def test_in_a_process_that_may_not_fork_images_are_decoded_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "ALONE", 0)
    monkeypatch.setattr(memory, "usual_jobs", lambda: 2)
    write_parquet(tmp_path / "test-0.parquet", pixels(), LABELS)
    found: list[bool] = []

    def load(_: object, tell: Callable[[bool], None]) -> None:
        tell(torch.equal(load_split(spec(), "test", root=tmp_path).images, pixels()))

    share(load, [[1], [2]], found.append)
    assert found == [True, True]
