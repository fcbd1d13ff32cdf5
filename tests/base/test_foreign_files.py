"""Files of others: reading them ends soon, in a value or in an error."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from transferzoo.base import digests
from transferzoo.base.atomic import sha256
from transferzoo.base.errors import UsageError
from transferzoo.base.foreign_files import (
    MOST_DEPTH,
    parse_json,
    read_bytes,
    read_csv,
    read_json,
    read_text,
    unpack_gzip,
)
from transferzoo.base.yaml_file import read_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    """No test of this file may take more than a second or two, and some would take for ever."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < 5


# ---------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    "text",
    ['{"a": [1, -2.5e3, "ε", null, true]}', "[" * MOST_DEPTH + "]" * MOST_DEPTH, r'"\ud83d\ude00"', "0"],
)
def test_json_is_what_python_reads(text: str) -> None:
    assert parse_json(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested"),
        ('{"a":' * 300 + "1" + "}" * 300, "nested"),
        ("[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1), "nested"),
        ("1e400", "too large"),
        ('{"a": [-1e999]}', "too large"),
        ("1" * 5000, "64 bits"),
        ("-" + "9" * 21, "64 bits"),
        ("[NaN]", "no number of JSON"),
        ("-Infinity", "no number of JSON"),
        (r'"\ud800"', "half of a character"),
        (r'{"a\udfff": 1}', "half of a character"),
        ("{", "Expecting"),
    ],
)
def test_json_that_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json(text)


def test_numbers_that_are_none_may_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[Infinity, 1e400]")
    assert read_json(tmp_path / "a.json", finite=False) == [float("inf")] * 2


# ---------------------------------------------------------------- no files

READERS: dict[str, Callable[[Path], Any]] = {
    "bytes": read_bytes,
    "text": read_text,
    "CSV": read_csv,
    "JSON": read_json,
    "gzip": unpack_gzip,
    "SHA-256": sha256,
    "git's SHA-1": lambda path: digests.digest_of(path, 40),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device"])
def test_what_could_be_read_for_ever_is_not_begun(tmp_path: Path, reader: str, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(OSError, match="a pipe or a device"):
        READERS[reader](path)


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as stream:
        stream.truncate(10**12)
    with pytest.raises(OSError, match="larger than"):
        read_json(tmp_path / "a.json")


# ---------------------------------------------------------------- gzip


def test_gzip_is_unpacked(tmp_path: Path) -> None:
    content = os.urandom(10**5) + bytes(10**6)
    (tmp_path / "a.gz").write_bytes(gzip.compress(content))
    assert unpack_gzip(tmp_path / "a.gz") == content


def _bomb() -> bytes:
    return gzip.compress(bytes(100 * 2**20), 9)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (_bomb, "unpacks to more than"),
        (lambda: b"".join(gzip.compress(bytes(10 * 2**20), 9) for _ in range(10)), "unpacks to more than"),
        (lambda: gzip.compress(b"whole")[:-9], "no whole gzip file"),
        (lambda: b"no gzip", "no whole gzip file"),
    ],
)
def test_gzip_that_is_refused(tmp_path: Path, content: Callable[[], bytes], reason: str) -> None:
    (tmp_path / "a.gz").write_bytes(content())
    with pytest.raises(ValueError, match=reason):
        unpack_gzip(tmp_path / "a.gz")


# ---------------------------------------------------------------- YAML


def _nested(levels: int, line: Callable[[int], str], first: str) -> str:
    return first + "".join(line(level) for level in range(1, levels))


BOMBS = {
    "lists": _nested(9, lambda i: f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n", "a0: &a0 [x,x,x,x]\n"),
    "mappings": _nested(
        20, lambda i: f"a{i}: &a{i} {{b: *a{i - 1}, c: *a{i - 1}, d: *a{i - 1}}}\n", "a0: &a0 {b: x}\n"
    ),
    "merged keys": _nested(
        9, lambda i: f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 10)}]}}\n", "a0: &a0 {b: x, c: x}\n"
    ),
    "one long word": f"a: &a {'x' * 10**6}\nb: [{','.join(['*a'] * 10**5)}]\n",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_aliases_that_stand_for_too_much(tmp_path: Path, bomb: str) -> None:
    (tmp_path / "z.yaml").write_text(BOMBS[bomb])
    with pytest.raises(UsageError, match=r"z\.yaml is too large: expected at most .* with what aliases"):
        read_yaml(tmp_path / "z.yaml")


def test_aliases_are_read(tmp_path: Path) -> None:
    (tmp_path / "z.yaml").write_text("a: &a {b: 1, c: 2}\nd: {<<: *a, c: 3}\ne: [*a, *a]\n")
    held = {"b": 1, "c": 2}
    assert read_yaml(tmp_path / "z.yaml").data == {"a": held, "d": {"b": 1, "c": 3}, "e": [held, held]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [*a]", "no key in itself"),
        ("a: &a {b: {c: *a}}", "no key in itself"),
        ("a: " + "[" * 200 + "]" * 200, "levels"),
        ("a: " + "[" * 100_000 + "]" * 100_000, "nesting depth"),
        ("a: " + "1" * 5000, "not valid YAML"),
        ("a: 2001-99-99", "not valid YAML"),
        ("a: !!int x", "not valid YAML"),
        ("a: !!bool x", "not valid YAML"),
        ("a: !!timestamp x", "not valid YAML"),
        (r'a: "\ud800"', "not valid YAML"),
    ],
)
def test_yaml_that_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "z.yaml").write_text(text)
    with pytest.raises(UsageError, match=reason) as caught:
        read_yaml(tmp_path / "z.yaml")
    assert str(caught.value).startswith(str(tmp_path / "z.yaml"))
    assert len(str(caught.value)) < 600


def test_a_pipe_is_no_zoo_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "z.yaml")
    with pytest.raises(UsageError, match=r"cannot read the zoo file .*z\.yaml: it is a pipe or a device"):
        read_yaml(tmp_path / "z.yaml")
