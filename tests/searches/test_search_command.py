"""`transferzoo search`, with the built-in zoo."""

from __future__ import annotations

import io
import json
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from helpers.checkpoints import data_folder, labels
from transferzoo.attacks.composition import compose
from transferzoo.attacks.engine import Attack, craft
from transferzoo.base.attack_config import AttackSpec
from transferzoo.cli.app import main
from transferzoo.datasets.sources import load_split
from transferzoo.evaluation.candidates import drawn_order
from transferzoo.models.classifier import load_checkpoint
from transferzoo.models.predict import predict
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Result

IMAGES, GRADIENTS = 6, 2
ASKED = ("search", "--images", IMAGES, "--max-gradients", GRADIENTS, "--jobs", 1, "--name", "mine")
TECHNIQUES = ("mi", "vt", "sgm")
FEW = ("--validator", "validator-vgg", "--images", 1000, "--max-gradients", 1, "--jobs", 1)

OWN = 'datasets: {own: {classes: [a, b], splits: {test: ["local:images"]}}}'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("searched")


def _search(place: Path, *more: object) -> dict[str, Any]:
    """Search in a folder and return what is printed as JSON."""
    printed = io.StringIO()
    words = ["transferzoo", *map(str, (*ASKED, *TECHNIQUES, *more)), "--json"]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.chdir(place)
        patch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit, match=r"^0$"):
            main()
    found: dict[str, Any] = json.loads(printed.getvalue())
    return found


@pytest.fixture(scope="module")
def whole(place: Path) -> dict[str, Any]:
    """A search that nothing disturbed."""
    return _search(place, "--save", "zoo.yaml")


def test_success_is_that_of_the_last_images_of_the_draw(whole: dict[str, Any]) -> None:
    tried = {name: rate for one in whole["rounds"] for name, rate in one["tried"].items()}
    zoo = load_zoo()
    spec = zoo.dataset("fashion-mnist")
    data = load_split(spec, spec.attack.split)
    surrogate, *validators = (
        load_checkpoint(zoo.models[f"fashion-mnist/{name}"].folder, spec)
        for name in ("resnet50-lsam", "validator-resnet18", "validator-vgg")
    )
    order = drawn_order(len(data), 0).flip(0)[:100]
    last = data.select(order)
    right = torch.stack([predict(one, last.images) == last.labels for one in validators]).all(0)
    chosen = data.select(order[right][:IMAGES].sort().values)
    steps = {"ε/T": "eps/2", "2.5 ε/T": "eps", "ε/10": "eps/10", "ε/4": "eps/4", "ε": "eps"}
    checked = [name for name in tried if name.startswith(("bim, step", "sgm, step"))]
    assert len(checked) == len(steps) + 1
    for name in checked:
        techniques, _, step = name.partition(", step ")
        given = AttackSpec(
            techniques=compose(techniques.removeprefix("bim")).spec,
            norm="linf",
            epsilon="16/255",
            step=steps[step],
            steps=GRADIENTS,
        )
        made = craft(Attack.of(given, 0), surrogate, chosen.images, chosen.labels, chosen.ids)
        fooled = torch.stack([predict(one, made) != chosen.labels for one in validators])
        assert tried[name] == pytest.approx(float(fooled.float().mean()), abs=1e-6), name


def test_a_search_that_was_stopped_ends_with_the_same(place: Path, whole: dict[str, Any]) -> None:
    cells = sorted((place / "studies" / "attack").iterdir())
    for cell in cells[::2]:
        shutil.rmtree(cell)
    assert _search(place, "--save", "zoo.yaml") == whole


def test_what_is_saved_is_a_preset(place: Path, whole: dict[str, Any], cli: Callable[..., Result]) -> None:
    (preset,) = json.loads(cli("show", "mine", "--zoo", place / "zoo.yaml", "--json").out)
    assert preset["spec"].startswith(whole["attack"]["spec"])


def test_what_vt_costs_is_more_than_the_gradients(whole: dict[str, Any]) -> None:
    assert not any("vt" in name for one in whole["rounds"] for name in one["tried"])


def test_the_images_that_choose_are_those_that_are_there(cli: Callable[..., Result], few: Path) -> None:
    done = cli("search", "mi", *FEW, "--data", few, "--split", "test", "--save", "zoo.yaml", "--json")
    assert done.code == 0, done.err
    spec = load_zoo().dataset("fashion-mnist")
    data = load_split(spec, "test", root=few)
    validator = load_checkpoint(load_zoo().models["fashion-mnist/validator-vgg"].folder, spec)
    there = int((predict(validator, data.images) == data.labels).sum())
    assert there < len(data) == 60
    assert json.loads(done.out)["images"] == there
    assert f" on {there} images of fashion-mnist" in Path("zoo.yaml").read_text()


def test_a_search_without_anything_to_measure(cli: Callable[..., Result], tmp_path: Path) -> None:
    data_folder(tmp_path / "wrong", range(4), [(label + 1) % 10 for label in labels()[:4]])
    for words, code, sentence in (
        (("-s", "validator-vgg"), 2, "every validator has the weights of the surrogate 'validator-vgg'"),
        (("--data", "wrong", "--split", "test"), 1, "no attack could be measured: "),
    ):
        done = cli("search", "mi", *FEW, *words)
        assert (done.code, done.out) == (code, "")
        assert done.err.splitlines()[-1].startswith(f"Error: {sentence}"), done.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("momentun",), "unknown technique 'momentun'"),
        (("--zoo", "own.yaml", "--dataset", "own"), "'own' has no default surrogate"),
        (("--zoo", "own.yaml", "--dataset", "own", "-s", "any"), "'own' has no validation targets"),
        (("--validator", "nobody"), "nobody"),
        (("--jobs", 2, "--ray", "local"), "--jobs and --ray exclude each other"),
        (("--name", "a+b"), "the preset cannot have this name"),
        (("--save", "README"), "cannot write the preset to README: expected a name in .yaml"),
        (("--save", "found.txt"), "cannot write the preset to found.txt: expected a name in .yaml"),
        (("mi+di",), "'mi+di' is no single technique"),
    ],
)
def test_wrong_requests(
    arguments: tuple[object, ...], sentence: str, cli: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    result = cli("search", *arguments)
    assert result.code == 2
    assert sentence in result.err
    assert result.err.startswith("Error: ")
