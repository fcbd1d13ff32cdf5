"""`transferzoo attack -s auto`: a model and a folder of photographs, without a zoo file or a surrogate."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers.photographs import class_folders, draw, finetuned
from helpers.refusals import refused
from transferzoo.training import adaptations
from transferzoo.training.own_data import USUAL

if TYPE_CHECKING:
    from helpers.refusals import Run


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model of a newcomer's and photographs that it was not trained on."""
    home = tmp_path_factory.mktemp("mine")
    class_folders(home / "photos", *draw(300, 1))
    finetuned(home / "model.pt", *draw(480, 2), epochs=3, network="test_resnet")
    return home


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Train two small networks for a few epochs, into a cache of the test's own."""
    monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(adaptations, "FRESH", ("small_vgg:width=4", "small_resnet18:width=8"))
    row = USUAL[1]._replace(most=1e9, epochs=8, batch_size=16, learning_rate=0.05)
    monkeypatch.setattr("transferzoo.training.own_data.USUAL", (row,))


def test_a_newcomers_path(mine: Path, quick: None, cli: Run) -> None:
    """One command makes a table; a second one trains nothing and has the same numbers."""
    target = ("-t", mine / "model.pt", "--architecture", "test_resnet", "--data", mine / "photos")
    command = ("attack", "-s", "auto", *target, "--json")
    plan = json.loads(cli(*command, "--dry-run", "--json").out)
    assert [one["done"] for one in plan["trains"]] == [False] * 3
    assert plan["run_folder"] is None
    audit = ("audit", *target[1:], "--max-gradients", 6, "--json")
    planned = json.loads(cli(*audit, "--dry-run", "--json").out)["trains"]
    assert [(one["into"], one["done"]) for one in planned] == [(one["into"], False) for one in plan["trains"]]
    first = cli(*command)
    assert first.code == 0, first.err
    line = r"^(\S+): right on ([\d.]+)% of (\d+) held-out images; trained on (\d+) others"
    said = re.findall(line, first.err, re.MULTILINE)
    names = ["small_vgg-sam", "small_resnet18-sam", "small_vgg-sam-1"]
    assert [name for name, *_ in said] == names
    assert all((held, seen) == ("21", "189") for *_, held, seen in said)
    assert "takes about" in first.err[: first.err.index("right on")], "the time is said first"
    found = json.loads(first.out)
    best = max(found["records"], key=lambda record: record["rate"])
    assert min(float(right) for _, right, *_ in said) >= 80 * best["target_accuracy"]
    assert best["low"] > max(record["rate"] for record in found["noise"])
    again = cli(*command)
    assert json.loads(again.out)["records"] == found["records"]
    assert "takes about" not in again.err


def test_what_auto_refuses(mine: Path, cli: Run) -> None:
    target = ("-t", mine / "model.pt", "--architecture", "test_resnet", "--data", mine / "photos")
    for flags, words in ((("-s", "auto", "--split", "train"), "leave out --split"), ((), "--surrogate auto")):
        result = cli("attack", *flags, *target)
        assert (result.code, result.out) == (2, "")
        assert words in result.err.splitlines()[-1]


def test_auto_takes_the_zoos_surrogates(few: Path, cli: Run) -> None:
    plan = json.loads(cli("attack", "-s", "auto", "-t", "vgg", "--data", few, "--dry-run", "--json").out)
    assert plan["config"]["surrogates"][0] == "fashion-mnist/resnet50-lsam"
    assert len(plan["config"]["surrogates"]) == 3
    assert "trains" not in plan


def test_training_on_images_of_ones_own(mine: Path, cli: Run) -> None:
    """Defaults follow the number of images, flags go over them; what is attacked later is not measured on."""
    command = ("train", "--data", mine / "photos", "--minimizer", "sam", "--architecture", "small_resnet18")
    plan = json.loads(cli(*command, "--image-size", 8, "--epochs", 1, "--dry-run", "--json").out)
    config, row = plan["config"], USUAL[1]
    assert (config["batch_size"], config["learning_rate"]) == (row.batch_size, row.learning_rate)
    assert (config["epochs"], config["schedule"], config["validation"]) == (1, "cosine", 21)
    assert plan["images"] == 189
    done = cli(*command, "--image-size", 8, "--epochs", 1, "--output", "made")
    assert done.code == 0, done.err
    assert "of 21 held-out images" in done.out
    assert "Training on 189 images, 21 more held out: about" in done.err
    assert "--split unseen" in done.err
    made = json.loads(Path("made/config.json").read_text())
    assert made["pretrained_cfg"]["input_size"] == [3, 8, 8]
    refused(cli("train", "--recipe", "resnet50-sgd", "--image-size", 8), 2, "have a size")
