"""Data sets of the real library `datasets`, in folders and on a loopback Hub, against what it reads."""

from __future__ import annotations

import io
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
import torch

import transferzoo
from helpers.data_layouts import as_structs, encoded, picture, pixels, write_table
from helpers.hf_datasets_folders import CLASSES, LABELS, as_library_reads, class_folders, made, read
from helpers.hub_server import connect, running
from helpers.refusals import refused
from transferzoo.base.errors import DataError, TransferZooError, UsageError
from transferzoo.datasets.hf_datasets import Columns

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

SMALL = "small_resnet18:width=8"


@pytest.fixture(scope="module")
def library() -> Any:
    return import_module("datasets")


@pytest.fixture(autouse=True)
def caches(library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the library and the package write."""
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "library")
    monkeypatch.setattr(library.config, "DOWNLOADED_DATASETS_PATH", tmp_path / "library" / "downloads")
    monkeypatch.setattr(library.config, "EXTRACTED_DATASETS_PATH", tmp_path / "library" / "extracted")
    monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def test_a_folder_is_read_as_the_library_reads_it(library: Any, tmp_path: Path) -> None:
    """Splits from folders, classes by their names, images as they lie there."""
    class_folders(tmp_path / "photos" / "train", 12)
    class_folders(tmp_path / "photos" / "test")
    found, batch, said = read("hf-datasets:./photos")
    theirs = library.load_dataset("./photos", split="test")
    assert torch.equal(batch.images, as_library_reads(theirs))
    assert [found.classes[label] for label in batch.labels] == [
        theirs.features["label"].int2str(row["label"]) for row in theirs
    ]
    assert batch.names[0] == "test/ant/2.png", "its path in the data set"
    assert (list(found.splits), found.attack.split) == (["test", "train"], "test")
    assert found.name.startswith("photos-")
    assert said[0] == "Columns: images are 'image', labels are 'label'."
    assert "hf-datasets:./photos is taken for a data set of its own" in said[1]
    assert torch.equal(transferzoo.load_images("hf-datasets:./photos").images, batch.images)


def test_it_is_written_once_and_follows_the_content(library: Any, tmp_path: Path) -> None:
    class_folders(tmp_path / "photos")
    first, _, said = read("hf-datasets:./photos")
    (folder,) = (path for path in (tmp_path / "cache" / "hf-datasets").iterdir() if path.is_dir())
    (file,) = folder.glob("*.parquet")
    before = file.stat().st_mtime_ns
    again, _, said_again = read("hf-datasets:./photos")
    assert (again.name, said_again) == (first.name, said)
    assert file.stat().st_mtime_ns == before
    picture(pixels(1, 3)[0]).save(tmp_path / "photos" / "dog" / "more.png")
    assert read("hf-datasets:./photos")[0].name != first.name


def test_one_split_becomes_one_without_splits(library: Any, tmp_path: Path) -> None:
    """The library calls "train" what has none: all of it is attacked, a training sees a part."""
    class_folders(tmp_path / "photos", 6)
    found, batch, said = read("hf-datasets:./photos")
    assert (list(found.splits), found.attack.split, len(batch)) == (["test", "train", "unseen"], "test", 6)
    assert "6 without splits" in said[1]


@pytest.mark.parametrize("split", ["train", "full", None])
def test_what_save_to_disk_wrote(library: Any, tmp_path: Path, split: str | None) -> None:
    kind = library.ClassLabel(names=CLASSES)
    rows = made(library, {"fine_label": (kind, LABELS), "note": (library.Value("string"), list("abcdef"))})
    (library.DatasetDict({split: rows}) if split else rows).save_to_disk(tmp_path / "saved")
    found, batch, said = read("hf-datasets:./saved")
    assert found.classes == tuple(CLASSES)
    assert batch.labels.tolist() == LABELS
    assert torch.equal(batch.images, pixels(6, 3))
    assert said[0] == (
        "Columns: images are 'img', labels are 'fine_label'; not used: note (--image-column, --label-column)."
    )


def test_columns_are_guessed_or_given(library: Any, tmp_path: Path) -> None:
    kinds = library.ClassLabel(names=CLASSES), library.ClassLabel(names=["tame", "wild"])
    columns = {"species": (kinds[0], LABELS), "habit": (kinds[1], [0, 1] * 3)}
    made(library, columns).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match=r"known to hold labels.*--label-column, one of species, habit"):
        read("hf-datasets:./saved")
    for name, names in (("species", CLASSES), ("habit", ["tame", "wild"])):
        found, batch, _ = read("hf-datasets:./saved", Columns(label=name))
        assert found.classes == tuple(names)
        assert batch.labels.tolist() == columns[name][1]
    with pytest.raises(UsageError, match=r"--label-column img is no column of labels.*one of species, habit"):
        read("hf-datasets:./saved", Columns(label="img"))
    with pytest.raises(UsageError, match=r"--image-column x is no column of images.*one of img"):
        read("hf-datasets:./saved", Columns("x", "habit"))
    made(library, {"kind": (kinds[0], LABELS), "size": (library.Value("int64"), LABELS)}).save_to_disk("one")
    assert read("hf-datasets:./one")[0].classes == tuple(CLASSES), "the one ClassLabel"
    made(library, {"label": (library.Value("string"), [CLASSES[at] for at in LABELS])}).save_to_disk("words")
    assert read("hf-datasets:./words")[0].classes == tuple(sorted(CLASSES))


def test_splits_without_labels_or_of_other_names_are_passed_over(library: Any, tmp_path: Path) -> None:
    kind = library.ClassLabel(names=CLASSES)
    rows, hidden = (made(library, {"label": (kind, labels)}) for labels in (LABELS, [-1] * 6))
    library.DatasetDict({"test": hidden, "val": rows, "train": rows, "extra": rows}).save_to_disk("saved")
    found, _, said = read("hf-datasets:./saved")
    assert list(found.splits) == ["validation", "train"]
    assert said[0].endswith(" Passed over: 2 splits of other names or without labels (test, extra).")
    library.DatasetDict({"a": rows, "b": rows}).save_to_disk("odd")
    with pytest.raises(DataError, match=r"no split with labels: expected one of test, .*, got a, b"):
        read("hf-datasets:./odd")


@pytest.mark.parametrize("place", ["/etc/passwd", "../../secret.png"])
def test_a_data_set_names_files_of_its_own_alone(library: Any, tmp_path: Path, place: str) -> None:
    """A table may name any file of the machine; none but those of the data set is read."""
    home = tmp_path / "inner" / "set"
    picture(pixels(1, 3)[0]).save(tmp_path / "secret.png")
    column = as_structs(pixels(2, 3)).to_pylist()
    column[1] = {"bytes": None, "path": place if place[0] == "/" else str(home / place)}
    write_table(home / "test.parquet", {"image": column, "label": [0, 1]})
    with pytest.raises(DataError, match="names a file that is no part of it"):
        read(f"hf-datasets:{home}")
    assert not [path for path in (tmp_path / "cache" / "hf-datasets").iterdir() if path.is_dir()]


def test_scripts_are_never_run(library: Any, tmp_path: Path) -> None:
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(DataError, match=r"cannot load .*evil"):
        read("hf-datasets:./evil")
    assert not (tmp_path / "ran").exists()


# ---------------------------------------------------------------- the Hub


def shard(library: Any, labels: list[int], name: str = "fine_label") -> bytes:
    file = io.BytesIO()
    rows = made(library, {name: (library.ClassLabel(names=CLASSES), labels)}, len(labels))
    rows.to_parquet(file)
    return file.getvalue()


CONFIGS = """---
configs:
- config_name: large
  data_files: [{split: test, path: large/test-*}, {split: train, path: large/train-*}]
- config_name: small
  data_files: [{split: test, path: small/test-*}]
---
"""


def test_a_repository_of_the_hub(
    library: Any, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By configuration, from Parquet and from class folders; no script of it is run."""
    folders = {f"{CLASSES[at]}/{index}.png": encoded(pixels(6, 3)[index]) for index, at in enumerate(LABELS)}
    files = {
        "owner/set/README.md": CONFIGS.encode(),
        "owner/set/large/test-00000-of-00001.parquet": shard(library, LABELS),
        "owner/set/large/train-00000-of-00001.parquet": shard(library, LABELS[:3]),
        "owner/set/small/test-00000-of-00001.parquet": shard(library, LABELS[:2]),
        **{
            f"owner/folders/{kind}/{name}": content
            for name, content in folders.items()
            for kind in ("test", "train")
        },
        "owner/script/script.py": f"open({str(tmp_path / 'ran')!r}, 'w')".encode(),
    }
    with running({f"datasets/{name}": content for name, content in files.items()}) as hub:
        connect(monkeypatch, hub, tmp_path / "client")
        monkeypatch.setattr(library.config, "HF_ENDPOINT", hub.address)
        large, batch, _ = read("hf-datasets:owner/set:large")
        assert (large.classes, list(large.splits)) == (tuple(CLASSES), ["test", "train"])
        assert batch.labels.tolist() == LABELS
        assert torch.equal(batch.images, pixels(6, 3))
        assert len(read("hf-datasets:owner/set:small")[1]) == 2
        found, batch, _ = read("hf-datasets:owner/folders")
        assert [found.classes[label] for label in batch.labels] == sorted(CLASSES[at] for at in LABELS)
        assert torch.equal(batch.images, pixels(6, 3)[[2, 5, 1, 4, 0, 3]])
        options = ("--label-column", "fine_label", "--architecture", SMALL, "--batch-size", 2, "--dry-run")
        planned = cli("train", "--data", "hf-datasets:owner/set:large", *options)
        assert planned.code == 0, planned.err
        assert "is taken for a data set of its own, set-large-" in planned.err
        words = ("cannot load hf-datasets:owner/set", "large", "small", "NAME:CONFIG")
        refused(cli("attack", "--data", "hf-datasets:owner/set", "-s", "vgg"), 1, *words)
        refused(
            cli("attack", "--data", "hf-datasets:owner/none", "-s", "vgg"), 1, "owner/none", "check its name"
        )
        refused(cli("attack", "--data", "hf-datasets:owner/script", "-s", "vgg"), 1, "scripts are never run")
        assert not (tmp_path / "ran").exists()
        assert not any(request.authorized for request in hub.requests)


COLUMNS = {"species": LABELS, "habit": [0, 1] * 3}
"""Two columns of classes, neither called as a column of labels is."""


@pytest.mark.parametrize(
    ("words", "code", "what", "then"),
    [
        ("./two", 1, "no column of hf-datasets:./two is known to hold labels", "name it with --label-column"),
        ("./two --label-column colour", 2, "--label-column colour is no column of labels", "species, habit"),
        ("./two --label-column img", 2, "--label-column img is no column of labels", "species, habit"),
        ("./two --label-column habit --image-column x", 2, "--image-column x is no column of", "of img"),
        ("./plain", 1, "no column of hf-datasets:./plain is known to hold images", "got note (string)"),
        ("./plain --image-column note", 2, "--image-column note is no column of images", "there is none"),
        ("./odd", 1, "hf-datasets:./odd has no split with labels", "got a, b"),
        ("owner/two", 1, "no column of hf-datasets:owner/two is known", "name it with --label-column"),
        ("owner/two --label-column colour", 2, "--label-column colour is no column", "species, habit"),
        ("owner/two:large", 1, "cannot load hf-datasets:owner/two:large", "check its name"),
        ("owner/two@main", 2, "'hf-datasets:owner/two@main' is no data set", "OWNER/NAME[:CONFIG]"),
        ("owner/none --label-column label", 1, "cannot load hf-datasets:owner/none", "check its name"),
    ],
    ids=str,
)
def test_wrong_uses(
    library: Any,
    cli: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    code: int,
    what: str,
    then: str,
) -> None:
    """One sentence each, with the next step, in a folder and on the Hub."""
    kinds = {name: library.ClassLabel(names=CLASSES[: max(labels) + 1]) for name, labels in COLUMNS.items()}
    two = made(library, {name: (kinds[name], labels) for name, labels in COLUMNS.items()})
    two.save_to_disk("two")
    library.Dataset.from_dict({"note": ["a"] * 6, "label": LABELS}).save_to_disk("plain")
    plain = made(library, {"label": (kinds["species"], LABELS)})
    library.DatasetDict({"a": plain, "b": plain}).save_to_disk("odd")
    file = io.BytesIO()
    two.to_parquet(file)
    with running({"datasets/owner/two/test.parquet": file.getvalue()}) as hub:
        connect(monkeypatch, hub, tmp_path / "client")
        monkeypatch.setattr(library.config, "HF_ENDPOINT", hub.address)
        place, *others = words.split()
        result = cli("attack", "-s", "vgg", "--data", f"hf-datasets:{place}", *others)
    refused(result, code, what, then)
    assert 0 <= result.err.find(what) < result.err.find(then), result.err
    assert len(result.err.splitlines()) == 1, "nothing is told before"


def test_what_cannot_be_named(cli: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    attack = ("attack", "-s", "vgg", "--data")
    refused(
        cli(*attack, "hf-datasets:photos"), 2, "OWNER/NAME[:CONFIG]", "did you mean hf-datasets:./photos?"
    )
    refused(cli(*attack, "hf-datasets:./none"), 2, "there is no folder './none'", "check --data")
    words = ("--label-column", "expected --data hf-datasets:", "got photos")
    refused(cli(*attack, "photos", "--label-column", "label"), 2, *words)
    monkeypatch.setitem(sys.modules, "datasets", None)
    refused(
        cli(*attack, "hf-datasets:owner/set"),
        1,
        "which is not installed",
        "pip install 'transferzoo[datasets]'",
    )
    with pytest.raises(TransferZooError, match="pip install"):
        transferzoo.load_images("hf-datasets:owner/set")
