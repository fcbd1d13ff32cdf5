"""Small input that asks for endless work is refused in a sentence, soon."""

from __future__ import annotations

import gzip
import json
import os
import struct
import time
from typing import TYPE_CHECKING, Any

import pytest

from helpers.refusals import ATTACK, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")
MANY = 10**9


@pytest.fixture(autouse=True)
def soon(cli: Run) -> Iterator[None]:
    """Every command ends within seconds; some of these took for ever."""
    cli("list", "--json")  # what is imported once
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--steps", MANY), ("'steps'", "less than or equal to 1000000")),
        (("--steps", 2**70), ("'steps'", "less than or equal to 1000000")),
        (("-a", f"vt:copies={MANY}"), ("option 'copies' of 'vt'", "1 to 1000")),
        (("-a", f"ti:kernel={MANY + 1}"), ("option 'kernel' of 'ti'", "at most 10,000")),
    ],
)
def test_huge_numbers_of_an_attack(cli: Run, arguments: tuple[Any, ...], words: tuple[str, ...]) -> None:
    attack = [*ATTACK[:5], *arguments, "--dry-run", "--json"]
    refused(cli(*attack), 2, *words)


@pytest.mark.parametrize("most", [MANY, 2**70])
@pytest.mark.parametrize("attack", ["mi", "vt", "pgd+mi+di"])
def test_a_huge_budget_gives_as_many_steps_as_there_may_be(cli: Run, attack: str, most: int) -> None:
    found = cli(*ATTACK[:5], "-a", attack, "--max-gradients", most, "--dry-run", "--json")
    assert found.code == 0
    assert 1 <= json.loads(found.out)["config"]["attacks"][0]["steps"] <= 10**6


ZOOS = {
    "classes": ("datasets: {toys: {classes: 1000000000, splits: {test: ['local:x']}}}", "at most 100,000"),
    "size": ("datasets: {toys: {classes: 2, size: 1000000000, splits: {test: ['local:x']}}}", "4096"),
    "steps": ("attacks: {slow: {about: slow, spec: mi, steps: 1000000000}}", "1000000"),
    "default steps": (
        "datasets: {toys: {classes: 2, splits: {test: ['local:x']}, attack: {steps: 1000000000}}}",
        "1000000",
    ),
}


@pytest.mark.parametrize("kind", ZOOS)
def test_huge_numbers_of_a_zoo_file(cli: Run, tmp_path: Path, kind: str) -> None:
    text, expected = ZOOS[kind]
    (tmp_path / "z.yaml").write_text(text)
    refused(cli("list", "--zoo", tmp_path / "z.yaml"), 2, "z.yaml, line 1, key '", expected)


# ---------------------------------------------------------------- pipes and devices


def _listed(folder: Path) -> list[object]:
    folder.mkdir()
    os.mkfifo(folder / "0.png")
    (folder / "labels.csv").write_text("file,label\n0.png,0\n")
    return [*ATTACK, "--data", folder]


def _linked(folder: Path) -> list[object]:
    folder.mkdir()
    (folder / "0.png").symlink_to("/dev/zero")
    (folder / "labels.csv").write_text("file,label\n0.png,0\n")
    return [*ATTACK, "--data", folder]


def _list(folder: Path) -> list[object]:
    folder.mkdir()
    os.mkfifo(folder / "labels.csv")
    return [*ATTACK, "--data", folder]


def _shard(folder: Path) -> list[object]:
    folder.mkdir()
    os.mkfifo(folder / "test-00000-of-00001.parquet")
    return [*ATTACK, "--data", folder]


def _zoo(path: Path) -> list[object]:
    os.mkfifo(path)
    return ["list", "--zoo", path]


def _study(path: Path) -> list[object]:
    os.mkfifo(path)
    return ["study", path]


def _plugin(path: Path) -> list[object]:
    os.mkfifo(path)
    return ["list", "--plugin", path]


@pytest.mark.parametrize("made", [_listed, _linked, _list, _shard, _zoo, _study, _plugin])
def test_pipes_and_devices(cli: Run, tmp_path: Path, made: Callable[[Path], list[object]]) -> None:
    result = cli(*made(tmp_path / "given.yaml"))
    refused(result, result.code)
    assert result.code in (1, 2)


# ---------------------------------------------------------------- gzip


@pytest.mark.parametrize("said", ["its head says so", "its head says less"])
def test_images_that_unpack_to_a_memory_full(cli: Run, tmp_path: Path, said: str) -> None:
    count = 400_000 if said == "its head says so" else 1
    with gzip.open(tmp_path / "sample-images-idx3-ubyte.gz", "wb", 9) as stream:
        stream.write(bytes((0, 0, 8, 3)) + struct.pack(">III", count, 28, 28))
        for _ in range(300):
            stream.write(bytes(2**20))
    with gzip.open(tmp_path / "sample-labels-idx1-ubyte.gz", "wb") as stream:
        stream.write(bytes((0, 0, 8, 1)) + struct.pack(">I", 1) + b"\0")
    refused(cli(*ATTACK, "--data", tmp_path), 1, "unpacks to more than", "fetch it again")


def test_results_that_unpack_to_a_memory_full(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "r.jsonl.gz").write_bytes(gzip.compress(b" " * (300 * 2**20), 9))
    refused(cli("report", tmp_path / "r.jsonl.gz"), 1, "cannot read the results", "unpacks to more than")


# ---------------------------------------------------------------- studies

GRIDS = {
    "epochs": "{epochs: 100000, architecture: 'small_vgg:width=4'}",
    "more epochs": "{epochs: 1000000000, architecture: 'small_vgg:width=4'}",
    "steps of its training": "{adversarial: 'linf:8/255,steps=1000000000', architecture: small_vgg}",
}


@pytest.mark.parametrize("kind", GRIDS)
def test_a_study_without_end(cli: Run, tmp_path: Path, kind: str) -> None:
    (tmp_path / "s.yaml").write_text(
        f"about: endless\ndataset: fashion-mnist\nimages: 20\ntargets: [vgg]\ntrain: {GRIDS[kind]}\n"
        "surrogates: {a: {train: {}, epoch: all}}\n"
    )
    result = cli("study", tmp_path / "s.yaml", "--dry-run")
    refused(result, 2, "at most 10,000" if kind == "epochs" else "less than or equal to")
