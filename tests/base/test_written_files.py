"""Files are whole or absent, and what cannot be written is a sentence."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from helpers.full_disk import fill_disk
from transferzoo.base import atomic
from transferzoo.base.errors import TransferZooError


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("old")
    fill_disk(monkeypatch, "a.txt")
    with pytest.raises(TransferZooError) as caught:
        atomic.write_text(tmp_path / "a.txt", "new")
    hint = "free some space and run the same command again"
    assert str(caught.value) == f"cannot write to {tmp_path}: the disk is full; {hint}."
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_at_the_last_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    (tmp_path / "a.json").write_text("old")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(TransferZooError, match="the disk is full"):
        atomic.write_json(tmp_path / "a.json", {})
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic.replacing(tmp_path / "a.txt") as temporary:
        temporary.write(b"half")
        raise KeyboardInterrupt
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize("place", ["file/a.txt", "file/deeper/a.txt", "/proc/nowhere/a.txt"])
def test_a_folder_that_cannot_be_written(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TransferZooError, match=r"^cannot write to .*: .*; choose a folder you may write\.$"):
        atomic.write_text(tmp_path / place, "new")


def test_text_and_json_arrive(tmp_path: Path) -> None:
    atomic.write_json(tmp_path / "new" / "a.json", {"b": "ε", "a": 1})
    assert (tmp_path / "new" / "a.json").read_text(encoding="utf-8") == '{\n  "b": "ε",\n  "a": 1\n}\n'
    assert Path(tmp_path / "new").stat().st_mode & 0o700 == 0o700
