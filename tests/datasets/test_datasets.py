"""Readers against files made by hand, places to find them, the loopback Hub, and the built-in sample."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import make_sample
from helpers.data_layouts import (
    LABELS,
    LAYOUTS,
    as_listing,
    pixels,
    same,
    spec,
    write_parquet,
)
from helpers.hub_server import connect, running
from transferzoo.base.errors import DataError, UnknownNameError
from transferzoo.datasets import READERS, Batch
from transferzoo.datasets.sources import load_split
from transferzoo.zoo.schema import AttackDefaults, assets

FULL = [
    Path("/usr/share/datasets/fashion-mnist"),
    *(
        Path(os.environ[name]) / "zalando-datasets/fashion_mnist"
        for name in ["TRANSFERZOO_DATA"]
        if name in os.environ
    ),
]


@pytest.mark.parametrize("name", list(READERS))
def test_every_reader_reads_its_layout(name: str, tmp_path: Path) -> None:
    images = pixels()
    order = LAYOUTS[name](tmp_path, images)
    reader = READERS[name]()
    assert reader.accepts(tmp_path, "test")
    assert not reader.accepts(assets() / "nothing", "test")
    batch = load_split(spec(), "test", root=tmp_path)
    assert same(batch, images[order], [LABELS[i] for i in order], [0, 1, 2, 3])


@pytest.mark.parametrize("name", ["parquet", "folder", "listing"])
def test_colour(name: str, tmp_path: Path) -> None:
    images = pixels(channels=3)
    order = LAYOUTS[name](tmp_path, images)
    assert torch.equal(load_split(spec(channels=3), "test", root=tmp_path).images, images[order])


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


# Sources


def test_places_are_tried_in_order(tmp_path: Path) -> None:
    as_listing(tmp_path, pixels())
    (tmp_path / "empty").mkdir()
    places = tuple(f"local:{tmp_path / name}" for name in ("absent", "empty", "."))
    assert len(load_split(spec(splits={"test": places}), "test")) == 4
    with pytest.raises(
        DataError, match=r"'test' images of 'tiny' were not found; .*absent \(absent\) and .*--data PATH"
    ):
        load_split(spec(splits={"test": places[:2]}), "test")


def test_a_place_may_lie_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    as_listing(tmp_path, pixels())
    assert len(load_split(spec(splits={"test": ("local:~",)}), "test")) == 4
    assert len(load_split(spec(), "test", root=Path("~"))) == 4


def test_a_root_that_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected test-\*\.parquet, .*; or .*check --data"):
        load_split(spec(), "test", root=tmp_path)
    with pytest.raises(DataError, match="there is no"):
        load_split(spec(), "test", root=tmp_path / "absent")
    write_parquet(tmp_path / "train-0.parquet", pixels(), LABELS)
    with pytest.raises(DataError, match=r"got the split train; check --data\.$"):
        load_split(spec(), "test", root=tmp_path)
    (tmp_path / "train-0.parquet").rename(tmp_path / "test-0.parquet")
    with pytest.raises(DataError, match=r"got the split test; check --data\.$"):
        load_split(spec(), "train", root=tmp_path)
    other = spec(splits={"sample": ("local:none",), **spec().splits})
    with pytest.raises(DataError, match=r"or where the command takes it, --split test\.$"):
        load_split(other, "sample", root=tmp_path)


def test_unknown_split(tmp_path: Path) -> None:
    with pytest.raises(
        UnknownNameError, match="unknown split 'tset': expected one of test, train; did you mean test"
    ):
        load_split(spec(), "tset", root=tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the client's own
def test_images_come_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "test-00000-of-00001.parquet"
    write_parquet(file, pixels(), LABELS)
    places = ("local:/absent", "hub:owner/tiny/plain/test-00000-of-00001.parquet")
    known = spec(splits={"test": places})
    with running({"datasets/owner/tiny/plain/test-00000-of-00001.parquet": file.read_bytes()}) as hub:
        connect(monkeypatch, hub, tmp_path / "warm")
        assert same(load_split(known, "test"), pixels(), LABELS, [0, 1, 2, 3])
    connect(monkeypatch, hub, tmp_path / "cold", HF_HUB_OFFLINE="1")
    with pytest.raises(DataError) as caught:
        load_split(known, "test")
    sentence = str(caught.value)
    assert "tried local:/absent (absent) and hub:owner/tiny/plain/test-00000-of-00001.parquet (" in sentence
    assert "is not cached and HF_HUB_OFFLINE is set" in sentence
    assert sentence.endswith("; give their folder with --data PATH.")


# The built-in sample


def sample() -> Batch:
    fashion = spec(
        size=28,
        classes=tuple("abcdefghij"),
        splits={"sample": ("builtin:fashion-mnist",)},
        attack=AttackDefaults(split="sample", epsilon="16/255"),
    )
    return load_split(fashion, "sample")


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
    full = load_split(spec(size=28, classes=tuple("abcdefghij")), "test", root=root)
    assert same(
        batch,
        full.images[batch.ids],
        full.labels[batch.ids].tolist(),
        make_sample.drawn(full.labels.tolist()),
    )


@pytest.mark.parametrize(
    ("images", "labels", "sentence"),
    [
        (np.zeros((2, 1, 4, 4), np.uint8), torch.zeros(2).long(), "expected a tensor, uint8 .* got ndarray"),
        (torch.zeros(2, 1, 4, 4), torch.zeros(2).long(), r"uint8 .* got float32 of shape \(2, 1, 4, 4\)"),
        (torch.zeros(2, 1, 4, 4).byte(), np.zeros(2, np.int64), "expected a tensor, int64 .* got ndarray"),
    ],
)
def test_a_batch_of_something_else_is_a_sentence(images: Any, labels: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        Batch(images, labels, torch.arange(2))
