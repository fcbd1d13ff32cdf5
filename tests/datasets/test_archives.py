"""Archives of images, as honest people pack them and as others do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from helpers.archives import KINDS, packed, zipped
from helpers.bad_archives import BAD, FILES, PNG
from helpers.data_layouts import CLASSES, LABELS, pixels, same, spec
from transferzoo.base.errors import DataError, TransferZooError
from transferzoo.datasets import archives, disk, members
from transferzoo.datasets.kept_folder import CONTENTS
from transferzoo.datasets.own import own_images
from transferzoo.datasets.sources import load_split
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from helpers.refusals import Run


@pytest.fixture(autouse=True)
def cache(cache: Path) -> Path:
    """Return where archives are unpacked."""
    return cache / "unpacked"


def written(folder: Path, content: bytes, kind: str = "zip") -> Path:
    (folder / f"a.{kind}").write_bytes(content)
    return folder / f"a.{kind}"


def listing(folder: Path) -> list[str]:
    """Return what lies in a folder, locks and the list of contents aside."""
    found = (path for path in folder.rglob("*") if path.suffix != ".lock" and path.name != CONTENTS)
    return sorted(str(path.relative_to(folder)) for path in found)


# As they should be


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top", ["", "./", "a-set/", "a-set/test/"])
def test_an_archive_is_read_as_the_folder_it_holds(tmp_path: Path, kind: str, top: str) -> None:
    archive = written(tmp_path, packed({top + name: content for name, content in FILES.items()}, kind))
    archive = archive.rename(tmp_path / f"b.{kind}")
    assert same(load_split(spec(), "test", root=archive), pixels()[[1, 2, 3, 0]], [0, 1, 1, 2], [0, 1, 2, 3])


def test_an_archive_may_hold_one_class_alone(tmp_path: Path) -> None:
    archive = written(tmp_path, zipped({"Dress/0.png": PNG, "Dress/more/1.png": PNG}))
    assert load_split(spec(), "test", root=archive).labels.tolist() == [CLASSES.index("Dress")] * 2


@pytest.mark.parametrize("inner", ["train", "top/train", "val"])
def test_an_archive_of_another_split_alone_is_refused_as_its_folder_is(tmp_path: Path, inner: str) -> None:
    archive = written(tmp_path, zipped({f"{inner}/Dress/{name}": PNG for name in ("a.png", "b.png")}))
    several = spec(splits={"test": (), "train": (), "validation": ()})
    own = "validation" if inner == "val" else "train"
    assert len(load_split(several, own, root=archive)) == 2
    with pytest.raises(DataError, match=f"{inner[-5:]} is a folder, but no class"):
        load_split(several, "test", root=archive)


def test_a_list_in_an_archive_names_its_own_images_alone(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "private").mkdir()
    secret = tmp_path / "private" / "secret.png"
    secret.write_bytes(PNG)
    inside = {"images/a.png": PNG, "more/b.png": PNG, "test/labels.csv": b"file,label\n../more/b.png,1\n"}
    assert load_split(spec(), "test", root=written(tmp_path, zipped(inside))).labels.tolist() == [1]
    for name in (str(secret), f"../../../{secret.relative_to(tmp_path)}"):
        table = f"file,label\na.png,0\n{name},1\n".encode()
        archive = written(tmp_path, zipped({"images/a.png": PNG, "labels.csv": table}))
        with pytest.raises(
            DataError, match=r"labels\.csv names a file that is no part of its archive: expected"
        ):
            load_split(spec(), "test", root=archive)
        with pytest.raises(DataError, match="no part of its archive"):
            own_images(load_zoo(), None, archive)
    kept = cache.joinpath("set", "labels.csv")
    kept.parent.mkdir()
    kept.write_text("file,label\nlinked/secret.png,1\n")
    (kept.parent / "linked").symlink_to(secret.parent)
    with pytest.raises(DataError, match="no part of its archive"):
        load_split(spec(), "test", root=kept)
    (tmp_path / "list.csv").write_text(f"file,label\n{secret},1\n")
    assert load_split(spec(), "test", root=tmp_path / "list.csv").labels.tolist() == [1], "the user's own"


def test_an_archive_may_be_a_place_of_a_split_and_be_streamed(tmp_path: Path) -> None:
    archive = written(
        tmp_path, packed({f"top/{name}": content for name, content in FILES.items()}, "tgz"), "tgz"
    )
    places = spec(splits={"test": (f"local:{archive}",), "train": ()})
    assert sorted(load_split(places, "test").labels.tolist()) == sorted(LABELS)
    assert sorted(disk.open_index(places, "test", None).labels) == sorted(LABELS)


@pytest.mark.parametrize("kind", KINDS)
def test_only_images_tables_and_texts_are_written(tmp_path: Path, kind: str) -> None:
    kept = {
        "A/b.PNG": PNG,
        "labels.csv": b"file,label",
        "read me.txt": b"",
        "c.parquet": b"x",
        "d.json": b"{}",
    }
    others = {
        "run.py": b"x",
        "A/.hidden.png": PNG,
        "__MACOSX/A/._b.png": b"x",
        "model.pt": b"x",
        "lib.so": b"x",
    }
    assert listing(archives.unpacked(written(tmp_path, packed(kept | others, kind), kind))) == sorted(
        [*kept, "A"]
    )


def test_an_archive_is_unpacked_once_by_its_content(tmp_path: Path, cache: Path) -> None:
    first = archives.unpacked(written(tmp_path, zipped(FILES)))
    before = (first / "0" / "1.png").stat().st_mtime_ns
    (cache / f".{first.name}.lock").unlink(missing_ok=True)
    (cache / f".{first.name}.lock").mkdir()  # nobody needs it any more
    (tmp_path / "copies").mkdir()
    again = archives.unpacked(written(tmp_path / "copies", zipped(FILES)))
    assert again == first
    assert (again / "0" / "1.png").stat().st_mtime_ns == before
    other = archives.unpacked(written(tmp_path, zipped({**FILES, "more.txt": b""})))
    assert other != first
    assert first.parent == other.parent == cache


@pytest.mark.parametrize("damage", ["flipped bit", "missing file", "another file", "no list", "torn list"])
def test_what_was_damaged_since_is_unpacked_again(tmp_path: Path, damage: str) -> None:
    archive = written(tmp_path, zipped(FILES))
    folder = archives.unpacked(archive)
    wanted = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    image = folder / "0" / "1.png"
    if damage == "flipped bit":
        image.write_bytes(bytes([*PNG[:-1], PNG[-1] ^ 1]))
    elif damage == "missing file":
        image.unlink()
    elif damage == "another file":
        (folder / "0" / "stray.png").write_bytes(PNG)
    else:
        (folder / CONTENTS).write_text("{" if damage == "torn list" else "{}")
    assert archives.unpacked(archive) == folder
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == wanted


def _told(told: list[tuple[int, int]], *numbers: int) -> None:
    told.append((numbers[0], numbers[1]))


def test_progress_is_told_in_bytes_of_the_archive(tmp_path: Path) -> None:
    for kind in KINDS:
        told: list[tuple[int, int]] = []
        archive = written(tmp_path, packed(FILES, kind), kind)
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        archives.unpacked(archive, partial(_told, told))
        assert len(told) >= len(FILES)
        assert all(0 < done <= archive.stat().st_size == total for done, total in told)


def test_the_command_takes_an_archive(cli: Run, few: Path, tmp_path: Path) -> None:
    archive = written(
        tmp_path, zipped({"top/sample-0.parquet": (few / "sample-00000-of-00001.parquet").read_bytes()})
    )
    command = ("attack", "-s", "resnet50-sgd", "-t", "resnet18", "--steps", 1, "--images", 2, "--data")
    assert not cli(*command, archive, "--json").code
    archive.write_bytes(archive.read_bytes()[:-9])
    refused = cli(*command, archive)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == f"Error: {archive} is damaged (BadZipFile); fetch it again.\n"


# As they should not be


@pytest.mark.parametrize("case", BAD)
def test_an_archive_that_cannot_be_trusted_is_refused(tmp_path: Path, cache: Path, case: str) -> None:
    make, sentence = BAD[case]
    cache.mkdir(parents=True)
    (tmp_path / "deep" / "down").mkdir(parents=True)
    for kind, content in make().items():
        archive = written(tmp_path / "deep" / "down", content, kind)
        before = listing(tmp_path)
        with pytest.raises(DataError, match=sentence) as refused:
            archives.unpacked(archive)
        assert str(refused.value).startswith(f"{archive} ")
        assert listing(tmp_path) == before
        archive.unlink()
    assert not Path("/tmp/transferzoo-evil.png").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("bound", "value", "sentence"),
    [
        ("MOST_MEMBERS", 3, "expected at most 3 files, got 4 or more; unpack it yourself"),
        ("MOST_BYTES", 200, "expected at most 200 bytes unpacked, got "),
    ],
)
def test_an_archive_has_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, bound: str, value: int, sentence: str
) -> None:
    archive = written(tmp_path, packed(FILES, kind), kind)
    monkeypatch.setattr(members, bound, value)
    with pytest.raises(DataError, match=f"is too large: {sentence}"):
        archives.unpacked(archive)
    monkeypatch.undo()
    monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / "cache"))
    archives.unpacked(archive)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("name", ["a.png", "a.exe"])
def test_an_archive_does_not_unpack_to_many_times_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    monkeypatch.setattr(members, "SMALL", 10_000)
    bomb = written(tmp_path, packed({name: bytes(3_000_000), "b.png": PNG}, kind), kind)
    with pytest.raises(
        DataError, match=r"is too large: expected at most [\d,]+ bytes unpacked, by its own size"
    ):
        archives.unpacked(bomb)
    plain = written(tmp_path, packed({name: os.urandom(20_000), "b.png": PNG}, kind), kind)
    archives.unpacked(plain)


@pytest.mark.parametrize("kind", KINDS)
def test_the_disk_must_have_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    files = {"a.png": bytes(2000), "b.png": bytes(3_000_000)}
    archive = written(tmp_path, packed(files, kind), kind)
    needed = {"zip": 3_002_000, "tar": archive.stat().st_size}.get(kind, 3_000_000)
    for free in (needed - 1, 9):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: shutil._ntuple_diskusage(1, 1, free))
        at_once = archive.stat().st_size if kind != "zip" and free == 9 else needed
        with pytest.raises(
            TransferZooError,
            match=rf"no room for a\.{kind}: expected {at_once:,} bytes free, got {free:,}; free",
        ):
            archives.unpacked(archive)


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    archive = written(tmp_path, zipped(FILES))
    (tmp_path / "cache").write_text("no folder")
    with pytest.raises(TransferZooError, match=r"cannot write to .*unpacked: "):
        archives.unpacked(archive)


# Several at once, and interruptions


def test_several_at_once_unpack_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = written(tmp_path, zipped({f"Dress/{number}.png": PNG for number in range(30)}))
    start, made, found = threading.Barrier(6), [], []
    unpack = archives._unpack

    def counted(*arguments: Any) -> None:
        made.append(1)
        unpack(*arguments)

    def run() -> None:
        start.wait()
        found.append(archives.unpacked(archive))

    monkeypatch.setattr(archives, "_unpack", counted)
    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == len(made) == 1
    assert len(listing(found[0])) == 31


KILLED = """
import os, signal, sys
from pathlib import Path
from transferzoo.datasets import archives
write = archives._write
def write_and_die(archive, member, file):
    write(archive, member, file)
    if file.name == "1.png":
        os.kill(os.getpid(), signal.SIGKILL)
archives._write = write_and_die
archives.unpacked(Path(sys.argv[1]))
"""


def test_what_a_killed_process_left_does_not_count(tmp_path: Path, cache: Path) -> None:
    archive = written(tmp_path, packed(FILES, "tgz"), "tgz")
    done = subprocess.run([sys.executable, "-c", KILLED, str(archive)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = cache.glob(".*.part")
    assert listing(left) == ["0", "0/1.png", "2", "2/0.png"]
    (left / "0" / "stray.png").write_bytes(PNG)
    folder = archives.unpacked(archive)
    assert listing(folder) == sorted([*FILES, "0", "1", "2"])
    assert {path.name for path in cache.iterdir() if path.suffix != ".lock"} == {folder.name}
