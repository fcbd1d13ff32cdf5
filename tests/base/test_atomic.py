"""What is half written is swept away, unless somebody is still writing it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from transferzoo.base import atomic
from transferzoo.base.atomic import replacing, sweep, write_bytes

WRITER = """
import sys
from pathlib import Path
from transferzoo.base.atomic import replacing
with replacing(Path(sys.argv[1])) as stream:
    stream.write(b"whole")
    stream.flush()
    print("writing", flush=True)
    input()
"""


def _writer(path: Path) -> subprocess.Popen[str]:
    """Return a process that has begun to write a file and goes on once it is told to."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout and process.stdout.readline() == "writing\n"
    return process


def _half_written(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.tmp"))


def _age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.fixture(params=["with locks", "without locks"])
def locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the file system has locks."""
    if request.param == "without locks":
        monkeypatch.setattr(atomic, "_lock", lambda stream, shared=False: None)
    return bool(request.param == "with locks")


@pytest.mark.usefixtures("locks")
def test_what_another_process_writes_is_kept(tmp_path: Path) -> None:
    with _writer(tmp_path / "images" / "0000.safetensors") as process:
        sweep(tmp_path)
        assert len(_half_written(tmp_path)) == 1
        process.communicate("\n")
    assert process.returncode == 0
    assert (tmp_path / "images" / "0000.safetensors").read_bytes() == b"whole"
    assert not _half_written(tmp_path)


@pytest.mark.usefixtures("locks")
def test_what_another_thread_writes_is_kept(tmp_path: Path) -> None:
    """Two threads write the same file, and the one that is through sweeps."""
    begun, through = Event(), Event()

    def write_slowly() -> None:
        with replacing(tmp_path / "a.json") as stream:
            stream.write(b"slow")
            begun.set()
            assert through.wait(60)

    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(write_slowly)
        assert begun.wait(60)
        write_bytes(tmp_path / "a.json", b"fast")
        sweep(tmp_path)
        assert (tmp_path / "a.json").read_bytes() == b"fast"
        through.set()
        slow.result()
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.json", b"slow")]


def test_what_this_block_writes_is_kept(tmp_path: Path, locks: bool) -> None:
    with replacing(tmp_path / "a.json") as stream:
        stream.write(b"whole")
        (temporary,) = _half_written(tmp_path)
        if locks:  # a slow write is not taken for an old one
            _age(temporary, 10 * atomic.UNLOCKED_AGE)
        sweep(tmp_path)
        assert temporary.exists()
    assert (tmp_path / "a.json").read_bytes() == b"whole"


def test_what_a_killed_process_left_is_swept(tmp_path: Path, locks: bool) -> None:
    with _writer(tmp_path / "images" / "0000.safetensors") as process:
        process.send_signal(signal.SIGKILL)
    (left,) = _half_written(tmp_path)
    sweep(tmp_path)
    assert left.exists() != locks
    if not locks:
        _age(left, atomic.UNLOCKED_AGE - 60)
        sweep(tmp_path)
        assert left.exists()
        _age(left, atomic.UNLOCKED_AGE + 60)
        sweep(tmp_path)
    assert not left.exists()


@pytest.mark.parametrize(
    ("name", "swept"),
    [
        (".a.json.PROCESS.tmp", True),  # of an earlier version, whose number a process has got again
        (".a.json.00ff.tmp", True),
        ("a.json.00ff.tmp", False),
        (".notes.tmp", False),
        (".a.json.tmp", False),
    ],
)
def test_only_files_with_such_a_name_are_swept(tmp_path: Path, name: str, swept: bool) -> None:
    name = name.replace("PROCESS", str(os.getpid()))
    (tmp_path / name).write_bytes(b"half")
    (tmp_path / ".pipe.json.00ff.tmp").mkdir()
    sweep(tmp_path)
    assert (tmp_path / name).exists() != swept
    assert (tmp_path / ".pipe.json.00ff.tmp").exists()


def test_a_file_swept_before_it_was_locked_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, seen = atomic._lock, list[Path]()

    def lock_late(stream: object, *, shared: bool = False) -> bool | None:
        if not seen and not shared:
            (left,) = _half_written(tmp_path)
            seen.append(left)
            sweep(tmp_path)
            assert not left.exists()
        return lock(stream, shared=shared)  # type: ignore[arg-type]

    monkeypatch.setattr(atomic, "_lock", lock_late)
    write_bytes(tmp_path / "a.json", b"whole")
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_bytes() == b"whole"
