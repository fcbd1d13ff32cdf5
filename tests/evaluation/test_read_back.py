"""What a run reads back is checked: images, configuration, selection, clean predictions, names of files."""

from __future__ import annotations

import json
from shutil import copytree
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.checkpoints import BUILTIN
from helpers.refusals import ATTACK
from transferzoo.base.file_names import file_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread", "cache")
Tensors = dict[str, "Tensor"]


def _outcomes(cli: Run, few: Path, *more: object) -> list[str]:
    done = cli(*ATTACK, "--data", few, "--images", 8, "--batch-size", 4, *more, "--json")
    assert done.code == 0, done.err
    return [record["outcomes"] for record in json.loads(done.out)["records"]]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where an undisturbed run is kept, once there was one, with what was predicted for it."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def whole(cli: Run, few: Path, tmp_path: Path, kept: Path) -> list[str]:
    """Leave an undisturbed run in the working folder; return its outcomes."""
    outcomes = kept / "outcomes.json"
    if outcomes.exists():
        copytree(kept, tmp_path, dirs_exist_ok=True)
    else:
        found = _outcomes(cli, few)
        copytree(tmp_path, kept, dirs_exist_ok=True)
        outcomes.write_text(json.dumps(found))
    return list(json.loads(outcomes.read_text()))


def _flip(tensors: Tensors) -> Tensors:
    tensors["images"].view(-1)[5] ^= 1
    return tensors


DAMAGE: dict[str, Callable[[Tensors], Tensors]] = {
    "other pixels": lambda t: {**t, "images": 255 - t["images"]},
    "another order": lambda t: {**t, "images": t["images"].flip(0).contiguous()},
    "another type": lambda t: {**t, "images": t["images"].float() / 255},
    "another size": lambda t: {**t, "images": t["images"][:, :, :10].contiguous()},
    "another count": lambda t: {**t, "images": t["images"][:2].contiguous()},
    "other ids": lambda t: {**t, "ids": t["ids"] + 1},
    "no ids": lambda t: {"images": t["images"]},
    "one flipped bit": _flip,
}


FORGED = ("other pixels", "another type", "another size", "another count", "other ids")


@pytest.mark.parametrize(
    ("damage", "forged"),
    [*((name, False) for name in (*DAMAGE, "torn", "empty")), *((name, True) for name in FORGED)],
)
def test_damaged_images_are_crafted_again(
    whole: list[str], cli: Run, few: Path, tmp_path: Path, damage: str, forged: bool
) -> None:
    """With a digest that fits, too, as a program would write it that knows nothing of the run."""
    from transferzoo.evaluation.image_files import _digest

    (run,) = (tmp_path / "runs").iterdir()
    file = min(run.rglob("*.safetensors"))
    before = file.read_bytes()
    if damage in DAMAGE:
        tensors = DAMAGE[damage](load_file(file))
        save_file(tensors, file, {"sha256": _digest(tensors)} if forged else None)
    else:
        file.write_bytes(before[: len(before) // 2 if damage == "torn" else 0])
    (run / "records.jsonl").unlink()
    assert _outcomes(cli, few) == whole
    assert file.read_bytes() == before


@pytest.mark.parametrize("name", ["config.json", "selection.json"])
@pytest.mark.parametrize("content", ["{", "", "[1]", '{"ids": [1], "labels": [2], "config": {}}', "\udcff"])
def test_a_damaged_file_of_a_run_is_written_anew(
    whole: list[str], cli: Run, few: Path, tmp_path: Path, name: str, content: str
) -> None:
    (run,) = (tmp_path / "runs").iterdir()
    before = (run / name).read_bytes()
    (run / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    assert _outcomes(cli, few) == whole
    assert (run / name).read_bytes() == before
    assert cli("report", run).code == 0


@pytest.mark.parametrize("damage", ["half", "another rate", "no text"])
@pytest.mark.parametrize("name", ["records.jsonl", "noise.jsonl"])
def test_damaged_records_are_measured_again(
    whole: list[str], cli: Run, few: Path, tmp_path: Path, name: str, damage: str
) -> None:
    (run,) = (tmp_path / "runs").iterdir()
    before = (run / name).read_bytes()
    changed = {
        "half": before[:50],
        "another rate": before.replace(b'"rate": 0', b'"rate": 0.9').replace(b'"rate": 1', b'"rate": 0.9'),
        "no text": b"\xff\xfe",
    }
    assert changed[damage] != before
    (run / name).write_bytes(changed[damage])
    assert cli("report", run).code == 1
    assert _outcomes(cli, few) == whole
    assert (run / name).read_bytes() == before


def test_damaged_timings_cost_no_result(whole: list[str], cli: Run, few: Path, tmp_path: Path) -> None:
    (run,) = (tmp_path / "runs").iterdir()
    first = json.loads((run / "timings.jsonl").read_text().splitlines()[0])
    (run / "timings.jsonl").write_bytes(json.dumps({**first, "images": 0}).encode() + b"\n\xff\xfe\x00\n5\n")
    (run / "started.json").write_text("5")
    assert _outcomes(cli, few) == whole
    assert cli("report", run).code == 0


def test_clean_predictions_are_asked_for_once(
    cli: Run, few: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transferzoo.models.predict import predict

    asked: list[int] = []

    def counted(model: Any, images: Any, at: Any = None) -> Any:
        asked.append(len(images) if at is None else len(at))
        return predict(model, images, at)

    monkeypatch.setattr("transferzoo.models.predict.predict", counted)
    first = _outcomes(cli, few)
    clean = [count for count in asked if count == 60]
    assert len(clean) == 2, "surrogate and target, on all candidates"
    asked.clear()
    _outcomes(cli, few, "-a", "mi", "--runs", "others")
    assert 60 not in asked
    for file in cache.glob("predictions/*.safetensors"):
        content = bytearray(file.read_bytes())
        content[-9] ^= 1
        file.write_bytes(content)
    asked.clear()
    assert _outcomes(cli, few, "--runs", "again") == first
    assert asked.count(60) == 2, "what is damaged is asked for again"


def test_another_target_asks_no_model_again(
    cli: Run, few: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although its defence needs a package that the others do not."""
    _outcomes(cli, few)
    before = {file: file.read_bytes() for file in cache.glob("predictions/*.safetensors")}
    assert len(before) == 2
    _outcomes(cli, few, "-t", "vgg|jpeg:quality=75")
    after = {file: file.read_bytes() for file in cache.glob("predictions/*.safetensors")}
    assert len(after) == 3 and after.items() > before.items()


def _cast(tensors: Tensors) -> Tensors:
    return {
        name: tensor.long() if tensor.ndim and len(tensor) == 60 else tensor
        for name, tensor in tensors.items()
    }


WRONG: dict[str, Callable[[Tensors], Tensors]] = {
    "no such class": lambda t: {**t, "most_likely": t["most_likely"] + 9},
    "another count": lambda t: {**t, "most_likely": t["most_likely"][:59].contiguous()},
    "another type": _cast,
    "no least likely": lambda t: {name: tensor for name, tensor in t.items() if name != "least_likely"},
    "other classes": lambda t: {**t, "most_likely": t["most_likely"].flip(0).contiguous()},
}


@pytest.mark.parametrize("damage", [*WRONG, "torn", "empty", "a folder"])
def test_damaged_predictions_are_made_again(
    whole: list[str], cli: Run, few: Path, cache: Path, tmp_path: Path, damage: str
) -> None:
    """They select the images of the same run again, whose adversarial images are there."""
    (run,) = (tmp_path / "runs").iterdir()
    selection = (run / "selection.json").read_bytes()
    for made_of_them in ("selection.json", "records.jsonl", "noise.jsonl"):
        (run / made_of_them).unlink()
    files = {file: file.read_bytes() for file in cache.glob("predictions/*.safetensors")}
    assert len(files) == 2
    for file, before in files.items():
        file.unlink()
        if damage in WRONG:
            (cache / "before").write_bytes(before)
            save_file(WRONG[damage](load_file(cache / "before")), file)
        elif damage == "a folder":
            file.mkdir()
        else:
            file.write_bytes(before[: len(before) // 2 if damage == "torn" else 0])
    assert _outcomes(cli, few) == whole
    assert (run / "selection.json").read_bytes() == selection
    if damage != "a folder":
        assert {file: file.read_bytes() for file in files} == files


def test_without_a_cache_all_is_as_before(
    cli: Run, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _outcomes(cli, few)
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / "file"))
    assert _outcomes(cli, few, "--runs", "others") == first


@pytest.mark.parametrize(
    "pair", [("a/b", "a--b"), ("m", "M"), ("a b", "a_b"), ("x" * 300, "x" * 299), ("ä", "a")]
)
def test_names_that_differ_have_files_that_differ(pair: tuple[str, str]) -> None:
    one, other = (file_name(f"fashion-mnist/{name}") for name in pair)
    assert one.lower() != other.lower()
    assert max(len(one), len(other)) < 100
    assert all(character not in one + other for character in "/\\ \0")
    assert file_name(one) != one, "a name that looks like a file of another has a digest of its own"


def test_surrogates_of_names_alike_have_images_of_their_own(cli: Run, few: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "models:\n  fashion-mnist:\n"
        f'    "a/b": {{roles: [surrogate], source: "local:{BUILTIN / "resnet50-sgd"}"}}\n'
        f'    "a--b": {{roles: [surrogate], source: "local:{BUILTIN / "resnet50-lsam"}"}}\n'
    )
    base = ("attack", "-t", "vgg", "--data", few, "--images", 8, "--steps", 8, "--zoo", "mine.yaml", "--json")

    def outcomes(*names: str) -> dict[str, str]:
        words = [word for name in names for word in ("-s", name)]
        done = cli(*base, *words, "--runs", "+".join(names).replace("/", "_"))
        return {r["surrogate"]: r["outcomes"] for r in json.loads(done.out)["records"]}

    assert outcomes("a/b", "a--b") == {**outcomes("a/b"), **outcomes("a--b")}


FLAT = {
    "rounded": "self.m((x * 7).round() / 7)",
    "thresholds": "self.m(torch.where(x > 0.5, x.detach(), x.detach() / 2) + 0 * x)",
    "saturated": "1e4 * self.m(x)",
    "levels": "(self.m(x) * 100).round()",
}
"""Outputs that are right, and flat around every image."""


@pytest.mark.parametrize("output", FLAT)
def test_a_zero_gradient_is_an_error(cli: Run, few: Path, tmp_path: Path, output: str) -> None:
    (tmp_path / f"flat_{output}.py").write_text(
        "import torch\n"
        "from transferzoo import load_model\n"
        "class Flat(torch.nn.Module):\n"
        "    def __init__(self): super().__init__(); self.m = load_model('resnet18')\n"
        f"    def forward(self, x): return {FLAT[output]}\n"
    )
    model = f"flat_{output}:Flat"
    done = cli("attack", "-s", model, "-t", "vgg", "--allow-code", "--data", few, "--images", 4, "--steps", 2)
    assert done.code == 1
    assert "the gradient of 'fashion-mnist/Flat' is zero: none of 4 images was changed" in done.err


def test_files_names_reach_pictures_and_records(cli: Run, few: Path, tmp_path: Path) -> None:
    done = cli(*ATTACK, "--data", few, "--images", 3, "--save-images", "look")
    assert done.code == 0, done.err
    (run,) = (tmp_path / "runs").iterdir()
    selection = json.loads((run / "selection.json").read_text())
    pictures = sorted(path.name for path in (tmp_path / "look").rglob("[0-9]*.png"))
    stems = [name.rpartition("/")[2].partition(".")[0] for name in selection.get("names", [""] * 3)]
    wanted = [f"{i}-{s}.png" if s else f"{i}.png" for i, s in zip(selection["ids"], stems, strict=True)]
    assert pictures == sorted(wanted)


def test_the_order_of_candidates_is_the_seeds_alone() -> None:
    from transferzoo.evaluation.candidates import drawn_order

    assert torch.equal(drawn_order(50, 3), drawn_order(50, 3))
    assert sorted(drawn_order(50, 3).tolist()) == list(range(50))
    assert not torch.equal(drawn_order(50, 3), drawn_order(50, 4))
