"""What comes from the Hub damaged, or is in its cache: it is downloaded again or refused, never returned."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from helpers.hub_files import FILES, HASHES, TEXT, TOKEN, WEIGHTS, downloading, left
from helpers.hub_server import Hub, called, running
from transferzoo.base.digests import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running(FILES) as served:
        yield served


def test_damage_on_the_way_is_downloaded_again(hub: Hub, tmp_path: Path) -> None:
    hub.fail("corrupt", "a.txt", times=1)
    hub.fail("corrupt", "w.safetensors", times=1)
    text, weights = called(hub, tmp_path, downloading("a.txt"), downloading("w.safetensors"))
    assert (text.value["text"], weights.value["text"]) == (TEXT.decode(), WEIGHTS.decode())
    assert hub.count("GET", "a.txt") == hub.count("GET", "w.safetensors") == 2


@pytest.mark.parametrize("file", HASHES)
def test_damage_that_stays_is_refused(hub: Hub, tmp_path: Path, file: str) -> None:
    hub.fail("corrupt", file)
    kind, digest = HASHES[file]
    (got,) = called(hub, tmp_path, downloading(file))
    assert got.error.startswith(
        f"{file} of the model owner/model does not match its {kind}: expected {digest}"
    )
    assert got.error.endswith(
        "; it arrived damaged twice and is deleted from the cache; try again later or on another network."
    )
    assert hub.count("GET", file) == 2
    assert left(tmp_path) == []


def test_damage_in_the_cache_is_found(hub: Hub, tmp_path: Path) -> None:
    (got,) = called(hub, tmp_path, downloading("w.safetensors"))
    blob = Path(got.value["path"]).resolve()
    blob.write_bytes(b"S" + WEIGHTS[1:])
    (got,) = called(hub, tmp_path, downloading("w.safetensors"))
    assert got.value["text"] == WEIGHTS.decode()

    blob.write_bytes(b"S" + WEIGHTS[1:])
    before = len(hub.requests)
    (got,) = called(hub, tmp_path, downloading("w.safetensors"), HF_HUB_OFFLINE="1")
    assert "w.safetensors of the model owner/model does not match its SHA-256" in got.error
    assert got.error.endswith("it is deleted from the cache; unset HF_HUB_OFFLINE once to download it again.")
    assert left(tmp_path) == []
    assert len(hub.requests) == before


def test_damage_is_found_in_a_cache_without_links(hub: Hub, tmp_path: Path) -> None:
    hub.fail("corrupt", "a.txt", times=1)
    variables = {"HF_HUB_DISABLE_SYMLINKS": "1", "HF_HUB_DISABLE_SYMLINKS_WARNING": "1"}
    (got,) = called(hub, tmp_path, downloading("a.txt"), **variables)
    assert got.value["text"] == TEXT.decode()
    assert not Path(got.value["path"]).is_symlink()
    assert hub.count("GET", "a.txt") == 2


def test_what_the_caller_expects_is_compared(hub: Hub, tmp_path: Path) -> None:
    right, wrong = hashlib.sha256(TEXT).hexdigest(), "0" * 64
    good, bad = called(
        hub,
        tmp_path,
        downloading("a.txt", sha256=right.upper()),
        downloading("a.txt", sha256=wrong),
        HF_TOKEN=TOKEN,
    )
    assert good.value["text"] == TEXT.decode()
    assert bad.error == (
        "a.txt of the model owner/model does not match the SHA-256 asked for: "
        f"expected {wrong}, got {right}; check the revision and the SHA-256."
    )
    assert len(left(tmp_path)) == 2, "an undamaged file stays"


def test_a_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    digest = hashlib.file_digest

    def counted(stream: Any, start: Any) -> Any:
        seen.append(stream)
        return digest(stream, start)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    file = tmp_path / "a"
    file.write_bytes(TEXT)
    assert digest_of(file, 64) == digest_of(file, 64) == hashlib.sha256(TEXT).hexdigest()
    assert len(seen) == 1
    os.utime(file, ns=(1, 1))
    digest_of(file, 64)
    assert len(seen) == 2, "a changed file is hashed again"


# Transport


# Refusals
