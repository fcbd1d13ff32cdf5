"""What stops a run halfway: damaged checkpoints, folders, disks and Ctrl-C, through the real command line."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from helpers.checkpoints import copied, data_folder, labels, negated, swapped, with_json, with_weights
from helpers.refusals import ATTACK, nothing_written, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Tensor

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")


def _truncated(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def _nan(folder: Path) -> None:
    def spoil(weights: dict[str, Tensor]) -> None:
        name = next(n for n, t in weights.items() if t.is_floating_point())
        weights[name].view(-1)[0] = float("nan")

    with_weights(folder, spoil)


DAMAGE: dict[str, tuple[Callable[[Path], object], int, tuple[str, ...]]] = {
    "truncated": (_truncated, 1, ("model.safetensors", "truncated", "copy or train it again")),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), 1, ("holds no weights", "expected a file")),
    "no config": (lambda f: (f / "config.json").unlink(), 1, ("not a checkpoint folder", "config.json")),
    "broken config": (lambda f: (f / "config.json").write_text("{"), 1, ("config.json", "expected timm's")),
    "broken recipe": (lambda f: (f / "recipe.json").write_text("{"), 2, ("recipe.json", "delete it")),
    "not finite": (_nan, 1, ("not finite", "NaN")),
    "architecture": (
        lambda f: with_json(f, "config.json", lambda c: c.update(architecture="small_vgg")),
        1,
        ("do not fit",),
    ),
    "unknown architecture": (
        lambda f: with_json(f, "config.json", lambda c: c.update(architecture="small_vg")),
        1,
        ("config.json", "unknown architecture 'small_vg'"),
    ),
    "classes": (
        lambda f: with_json(f, "config.json", lambda c: c.update(num_classes=5)),
        1,
        ("wrong number of classes", "expected the 10", "got 5"),
    ),
    "data set": (
        lambda f: with_json(f, "recipe.json", lambda c: c["config"].update(dataset="cifar10")),
        2,
        ("belongs to another data set", "'fashion-mnist'", "'cifar10'"),
    ),
    "normalisation": (
        lambda f: with_json(f, "config.json", lambda c: c["pretrained_cfg"].update(std=[0.0])),
        1,
        ("std", "above zero"),
    ),
    "does not classify": (
        lambda f: with_weights(f, negated),
        1,
        ("does not classify", "at least 31.6%", "check its"),
    ),
}


@pytest.mark.parametrize("role", ["--surrogate", "--target"])
@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_checkpoint(cli: Run, tmp_path: Path, few: Path, role: str, name: str) -> None:
    damage, code, words = DAMAGE[name]
    damage(copied("resnet18", tmp_path / "mine"))
    other = {"--surrogate": ("--target", "vgg"), "--target": ("--surrogate", "resnet50-sgd")}[role]
    command = ("attack", role, "./mine", *other, "--data", few, "--steps", 1, "--images", 2)
    refused(cli(*command), code, *words)
    for stray in ("images", "records.jsonl", ".tmp"):
        assert not [path for path in tmp_path.rglob("*") if path.name.endswith(stray)]


def test_models_of_different_data_sets(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "models: {cifar10: {other: {roles: [target], source: 'builtin:fashion-mnist/vgg'}}}"
    )
    for target in ("cifar10/other", "other"):
        refused(cli(*ATTACK[:3], "-t", target, "--zoo", "mine.yaml"), 2, "target", "cifar10")
    nothing_written(tmp_path)


def test_two_models_of_one_name(cli: Run, tmp_path: Path, few: Path) -> None:
    copied("resnet18", tmp_path / "vgg")
    copied("resnet18", tmp_path / "more" / "vgg")
    done = cli(*ATTACK, "-t", "./vgg", "-t", "more/vgg", "--data", few, "--json")
    names = [record["target"] for record in json.loads(done.out)["records"]]
    own = f"fashion-mnist/vgg ({tmp_path.name})"
    assert names == ["fashion-mnist/vgg", own, "fashion-mnist/vgg (more)"]
    done = cli("attack", "-s", "./vgg", "-t", "vgg", "--data", few, "--steps", 1, "--json")
    (record,) = json.loads(done.out)["records"]
    assert (record["surrogate"], record["target"]) == (own, "fashion-mnist/vgg")
    assert not record["white_box"]


def test_no_image_left(cli: Run, tmp_path: Path) -> None:
    """Half of the images suit one target and half the other, which takes trousers for T-shirts."""
    known = labels()
    shirts, trousers = ([i for i, label in enumerate(known) if label == c][:30] for c in (0, 1))
    data = data_folder(tmp_path / "data", shirts + trousers, [0] * 60)
    with_weights(copied("vgg", tmp_path / "other"), swapped)
    command = ("attack", "-s", "vgg", "-t", "vgg", "-t", "./other", "--data", data, "--steps", 1)
    refused(cli(*command), 1, "no image is left", "--images-correct-for target")
    assert cli(*command, "--images-correct-for", "target").code == 0


def test_folder_that_cannot_be_written(cli: Run, tmp_path: Path, few: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(cli(*ATTACK, "--data", few, "--runs", "file/runs"), 1, "file/runs", "not a directory", "choose")
    refused(cli(*ATTACK, "--data", few, "--output", "file/t.md"), 1, "file/t.md", "folder", "--output")
    (tmp_path / "folder.md").mkdir()
    refused(cli(*ATTACK, "--data", few, "--output", "folder.md"), 1, "folder.md", "--output")
    nothing_written(tmp_path)
    assert cli(*ATTACK, "--data", few).code == 0
    (run,) = (tmp_path / "runs").iterdir()
    refused(cli("report", run, "--output", "file/t.md"), 1, "file/t.md", "--output")


def test_folder_that_cannot_be_read(cli: Run, tmp_path: Path, few: Path) -> None:
    refused(cli(*ATTACK, "--data", "nowhere"), 1, "nowhere", "check --data")
    refused(cli("report", "nowhere"), 2, "unknown run or study 'nowhere'", "transferzoo attack")
    assert cli(*ATTACK, "--data", few).code == 0
    (run,) = (tmp_path / "runs").iterdir()
    records = (run / "records.jsonl").read_text()
    (run / "records.jsonl").write_text(records[:100])
    refused(cli("report", run), 1, "records.jsonl", "run the attack command again, which makes it anew")
    (run / "records.jsonl").unlink()
    refused(cli("report", run), 1, "is not finished", "run its attack command again")
    (run / "records.jsonl").mkdir()
    refused(cli("report", run), 1, "records.jsonl")


def test_a_run_of_another_version_is_refused(cli: Run, tmp_path: Path, few: Path) -> None:
    assert cli(*ATTACK, "--data", few).code == 0
    (run,) = (tmp_path / "runs").iterdir()
    content = json.loads((run / "config.json").read_text())
    for schema in (content.pop("schema") + 1, None):  # None: before there were schemas
        (run / "config.json").write_text(json.dumps({**content, **({"schema": schema} if schema else {})}))
        refused(cli("report", run), 1, f"expected schema 2, got {schema or 1}", "makes a new folder")


DAMAGES: dict[str, Callable[[str], str]] = {
    "another type": lambda line: json.dumps({key: [value] for key, value in json.loads(line).items()}),
    "deep": lambda line: "[" * 10**5,
    "an infinite number": lambda line: line[:-1] + ', "more": 1e999}',
    "half of it": lambda line: line[: len(line) // 2],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_measured_again_from_the_images(
    cli: Run, tmp_path: Path, few: Path, damage: str
) -> None:
    command = (*ATTACK, "--data", few, "--curve", 1)
    assert cli(*command).code == 0
    (run,) = (tmp_path / "runs").iterdir()
    whole, images = _bytes(run), {path: path.stat().st_mtime_ns for path in run.rglob("*.safetensors")}
    files = sorted(set(run.glob("*.jsonl")) - {run / "timings.jsonl"})
    assert {file.stem for file in files} >= {"records", "curve", "noise", "visibility", "predictions"}
    for file in [*files, run / "timings.jsonl"]:
        first, *others = file.read_text().splitlines()
        file.write_text("\n".join([DAMAGES[damage](first), *others]) + "\n")
    refused(cli("report", run), 1, ".jsonl", "run the attack command again, which makes it anew")
    assert cli(*command).code == 0
    assert _bytes(run) == whole
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.safetensors")} == images


def test_disk_that_is_full_again_and_again(
    cli: Run, tmp_path: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every try finds room for two more files; each fails in a sentence, and the next one goes on."""
    command = (*ATTACK, "--data", few, "--batch-size", 2)
    assert cli(*command, "--runs", "whole").code == 0
    failures = 0
    for _ in range(20):
        files = iter(range(2))

        def full(_file: int, files: Iterator[int] = files) -> None:
            if next(files, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            result = cli(*command)
        assert not list(tmp_path.rglob("*.tmp"))
        if result.code == 0:
            break
        refused(result, 1, "cannot write", "the disk is full", "free some space")
        failures += 1
    assert failures >= 3
    assert _bytes(tmp_path / "runs") == _bytes(tmp_path / "whole")


def _bytes(folder: Path) -> dict[str, bytes]:
    changing = ("timings.jsonl", "started.json")
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in changing)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 32 KiB; needs root."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a tiny file system needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_full_disk(cli: Run, tiny_disk: Path, few: Path) -> None:
    result = cli(*ATTACK, "--images", 50, "--data", few, "--runs", tiny_disk)
    refused(result, 1, "cannot write", "the disk is full", "free some space")
    assert not list(tiny_disk.rglob("*.tmp"))
    assert not list(tiny_disk.rglob("*.safetensors"))
