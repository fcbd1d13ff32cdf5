"""Packs: what `attack --pack` wrote scores as the attack did, without a gradient; damage is a sentence."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image

from helpers.refusals import refused
from transferzoo.api import load_model
from transferzoo.base.errors import TransferZooError
from transferzoo.evaluation.pack_manifest import find_pack, names_pack
from transferzoo.evaluation.packs import read_pack
from transferzoo.zoo.schema import assets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")
MADE = ("-s", "resnet50-sam", "-a", "bim", "-a", "mi+di", "--images", 24, "--steps", 2)
ANYONE = ("--images-correct-for", "none")
EACH = ("--images-correct-for", "target")


def ran(cli: Run, *words: object) -> dict[str, Any]:
    done = cli(*words, "--json")
    assert done.code == 0, done.err
    return dict(json.loads(done.out))


def outcomes(found: dict[str, Any], kind: str = "records") -> dict[tuple[str, ...], str]:
    return {(one["attack"], one["target"].partition("/")[2]): one["outcomes"] for one in found[kind]}


@pytest.fixture
def gradients(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Count the calls of what computes gradients."""
    calls: list[str] = []
    for name in ("grad", "backward"):
        compute = getattr(torch.autograd, name)

        def counted(*args: Any, compute: Any = compute, name: str = name, **options: Any) -> Any:
            calls.append(name)
            return compute(*args, **options)

        monkeypatch.setattr(torch.autograd, name, counted)
    yield calls


def answers(pack: Path, model: str, file: Path) -> None:
    """Write what a model predicts of every PNG of a pack, as somebody would who has nothing else of ours."""
    with zipfile.ZipFile(pack) as archive, file.open("w", newline="") as stream, torch.no_grad():
        rows, network = csv.writer(stream), load_model(model)
        rows.writerow(("id", "label"))
        for name in archive.namelist():
            if name.endswith(".png"):
                pixels = torch.tensor([*Image.open(io.BytesIO(archive.read(name))).tobytes()]) / 255
                rows.writerow((Path(name).name, int(network(pixels.reshape(1, 1, 28, 28)).argmax())))


def test_three_targets_as_the_attack_found_them_and_no_gradient(cli: Run, gradients: list[str]) -> None:
    ran(cli, "attack", *MADE, *ANYONE, "--pack", "made.zip")
    assert gradients
    answers(Path("made.zip"), "resnet18", Path("phone.csv"))
    gradients.clear()
    words = ("-t", "vgg,vit", "--predictions", "phone.csv", *EACH)
    found = ran(cli, "score", "made.zip", *words)
    assert gradients == []
    wanted = ran(cli, "attack", *MADE, *EACH, "-t", "vgg,vit,resnet18")
    renamed = {(a, "phone" if t == "resnet18" else t): text for (a, t), text in outcomes(wanted).items()}
    assert outcomes(found) == renamed
    shown = {key: text for key, text in outcomes(wanted, "noise").items() if key[1] != "resnet18"}
    assert outcomes(found, "noise") == shown
    same = ("surrogate", "surrogate_sha256", "gradients", "steps", "white_box", "precision", "selection")
    by_cell = {(one["attack"], one["target"]): one for one in wanted["records"]}
    for one in (one for one in found["records"] if one["target"] != "fashion-mnist/phone"):
        other = by_cell[one["attack"], one["target"]]
        assert {name: one[name] for name in same} == {name: other[name] for name in same}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept") / "small.zip"


@pytest.fixture
def small(cli: Run, kept: Path, tmp_path: Path) -> Path:
    """A pack of eight images that the surrogate gets right."""
    if not kept.exists():
        done = cli("attack", "-s", "resnet50-sam", "--images", 8, "--steps", 1, "--pack", kept)
        assert done.code == 0, done.err
        assert "8 images, 1 row" in done.err
    return Path(shutil.copy(kept, tmp_path / "small.zip"))


def test_the_same_run_gives_the_same_bytes(cli: Run, small: Path, kept: Path) -> None:
    words = ("--images", 8, "--steps", 1, "--runs", "elsewhere", "--pack", "again.zip")
    assert cli("attack", "-s", "resnet50-sam", *words).code == 0
    assert Path("again.zip").read_bytes() == kept.read_bytes()


def test_surrogates_alone_choose_and_are_white_boxes(cli: Run, small: Path) -> None:
    pack = read_pack(small)
    with torch.no_grad():
        assert torch.equal(load_model("resnet50-sam")(pack.clean.images / 255).argmax(1), pack.clean.labels)
    found = ran(cli, "score", small, "-t", "resnet50-sam,vgg", *EACH)
    assert [one["white_box"] for one in found["records"]] == [True, False]
    assert pack.manifest.licence == "MIT"


@pytest.fixture
def two_rows(cli: Run) -> Path:
    """The run of two attacks of one budget, out of a pack, on two targets."""
    words = ("-s", "resnet50-sam", "-a", "bim", "-a", "mi", "--images", 8, "--steps", 1)
    assert cli("attack", *words, "--pack", "rows.zip").code == 0
    assert cli("score", "rows.zip", "-t", "vgg,vit").code == 0
    (run,) = Path("runs").glob("score-*")
    return run


def test_what_a_killed_run_or_damage_leaves_is_finished_by_the_same_command(cli: Run, two_rows: Path) -> None:
    files = [two_rows / name for name in ("records.jsonl", "predictions.jsonl")]
    whole = [file.read_bytes() for file in files]
    records, predictions = (text.splitlines(keepends=True) for text in whole)
    assert len(records) == len(predictions) == 4
    of_vgg = b"".join(records[::2])
    for left in (
        (of_vgg, b"".join(predictions[::2])),
        (of_vgg, whole[1]),
        (whole[0][:-20], whole[1]),
        (whole[0], whole[1][:-20]),
    ):
        for file, text in zip(files, left, strict=True):
            file.write_bytes(text)
        if left[0] == of_vgg:
            refused(cli("report", two_rows), 1, "is not finished", "4 records", "2")
        assert cli("score", "rows.zip", "-t", "vgg,vit").code == 0
        assert [file.read_bytes() for file in files] == whole
        assert cli("report", two_rows).code == 0


def test_target_classes_are_in_it(cli: Run) -> None:
    words = ("-s", "resnet50-sam", "--images", 12, "--steps", 3, "--targeted", "next")
    ran(cli, "attack", *words, *ANYONE, "--pack", "aimed.zip")
    found = ran(cli, "score", "aimed.zip", "-t", "vgg", *EACH)
    assert outcomes(found) == outcomes(ran(cli, "attack", *words, *EACH, "-t", "vgg"))


def test_the_built_in_pack_is_of_the_built_in_zoo(cli: Run) -> None:
    """Else it is made anew: `attack -s … -a mi+di -a pgd --steps 10 --images 300 --pack FILE`."""
    (entry,) = json.loads(cli("show", "fashion-mnist-three", "--json").out)
    assert entry["bytes"] <= 2_000_000 and entry["clean_images"] == 300 and entry["licence"] == "MIT"
    zoo = json.loads((assets() / "manifest.json").read_text())["models"]
    made = {(one["surrogate"], one["surrogate_sha256"]) for one in entry["adversarial_images"]}
    assert made == {(name, zoo[name]["sha256"]) for name, _ in made} and len(made) == 3


def test_a_name_may_be_pinned(small: Path) -> None:
    digest = hashlib.sha256(small.read_bytes()).hexdigest()
    assert find_pack(f"{small}@{digest[:8].upper()}") == small
    assert names_pack(f"{small}@{digest}") and not names_pack("missing.zip") and not names_pack(".")
    for text, sentence in (
        (f"{small}@{'0' * 64}", "is another pack"),
        (f"{small}@{digest[:7]}", "too few digits"),
        ("fashion-mnits", "unknown pack 'fashion-mnits'"),
    ):
        with pytest.raises(TransferZooError, match=sentence):
            find_pack(text)


Files = dict[str, bytes]


def edited(**changes: object) -> Callable[[Files], None]:
    def edit(files: Files) -> None:
        files["pack.json"] = json.dumps({**json.loads(files["pack.json"]), **changes}).encode()

    return edit


def replaced(kind: str, content: Callable[[bytes], bytes], *, listed: bool = True) -> Callable[[Files], None]:
    """Change the first file of a kind, and its hash with it where it is `listed`."""

    def edit(files: Files) -> None:
        name = next(name for name in files if name.startswith(kind))
        files[name] = content(files[name])
        manifest = json.loads(files["pack.json"])
        if listed:
            manifest["files"][name] = hashlib.sha256(files[name]).hexdigest()
        files["pack.json"] = json.dumps(manifest).encode()

    return edit


def picture(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def turned(content: bytes) -> bytes:
    return picture(Image.open(io.BytesIO(content)).transpose(Image.Transpose.ROTATE_180))


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda files: files.pop("pack.json"), "is no pack: expected a pack.json in it, got none"),
        (edited(version=2), "is of another version: expected version 1, got 2"),
        (edited(seed="0"), "is damaged: expected 'seed'"),
        (edited(classes=["one"]), "is damaged: expected 'classes'"),
        (edited(unknown=1), "is damaged: expected 'unknown'"),
        (lambda files: files.pop("clean/" + first(files)), "is not whole"),
        (lambda files: files.update({"more.png": b"x"}), "is not whole"),
        (lambda files: files.update({"../out.png": b"x"}), "leads out of its folder"),
        (replaced("clean/", turned, listed=False), "is damaged: expected clean/"),
        (replaced("adversarial/", turned), "is not within its budget"),
        (replaced("clean/", lambda _: picture(Image.new("L", (99, 99)))), "has the wrong size"),
        (replaced("clean/", lambda content: content[:90]), "cannot be decoded"),
        (replaced("labels.csv", lambda table: table.replace(b"clean/", b"")), "expected a class and a file"),
        (replaced("labels.csv", lambda table: table.replace(b",label", b",lable")), "is damaged (labels.csv"),
        (replaced("labels.csv", lambda table: table.rstrip().rpartition(b"\n")[0]), "is not whole"),
        (replaced("labels.csv", lambda _: b"\xff"), "is damaged (labels.csv"),
        (replaced("labels.csv", lambda table: table + table.splitlines()[-1]), "have the id"),
    ],
)
def test_damage_is_one_sentence(
    cli: Run, small: Path, edit: Callable[[Files], object], sentence: str
) -> None:
    with zipfile.ZipFile(small) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    edit(files)
    with zipfile.ZipFile("damaged.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(TransferZooError) as raised:
        read_pack(Path("damaged.zip"))
    assert sentence in str(raised.value)


def first(files: Files) -> str:
    return next(name.partition("/")[2] for name in files if name.startswith("clean/"))


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("attack", "--pack", "p.zip", "-t", "vgg"), 2, "without a look at any target"),
        (("attack", "--pack", "p.zip", *EACH), 2, "without a look at any target"),
        (("attack", "--pack", "p.tar"), 2, "a pack is a zip"),
        (("score", "small.zip", "--clean", "."), 2, "got --clean"),
        (("score", "small.zip", "--eps", "8/255", "--seed", 1), 2, "got --epsilon, --seed"),
        (("score", "small.zip@0123456789"), 1, "is another pack"),
        (("score", "small.zip", "--predictions", "no.csv"), 1, "no.csv cannot be read"),
    ],
)
def test_mistakes_are_one_sentence(
    cli: Run, small: Path, words: tuple[object, ...], code: int, sentence: str
) -> None:
    refused(cli(*words), code, sentence)
