"""Which images are attacked, which targets count: the rules of the measurement, through the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from helpers.checkpoints import BUILTIN, copied, data_folder, labels, swapped, with_weights
from transferzoo.datasets.sources import load_split
from transferzoo.models.classifier import load_checkpoint
from transferzoo.models.predict import predict
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result

    Run = Callable[..., Result]

pytestmark = pytest.mark.usefixtures("one_thread")


def _records(cli: Run, *arguments: object) -> list[dict[str, Any]]:
    result = cli("attack", *arguments, "--steps", 1, "--json")
    assert result.code == 0, result.err
    return list(json.loads(result.out)["records"])


def _predictions(folder: Path, data: Path) -> list[int]:
    spec = load_zoo().dataset("fashion-mnist")
    images = load_split(spec, "sample", root=data).images
    return [int(label) for label in predict(load_checkpoint(folder, spec), images)]


def test_which_images_are_attacked_and_counted(cli: Run, tmp_path: Path) -> None:
    """The second target takes T-shirts for trousers and is right on other images than the first."""
    known = labels()
    chosen = [i for i, label in enumerate(known) if label in (0, 1, 7, 8, 9)][:60]
    data = data_folder(tmp_path / "data", chosen)
    with_weights(copied("vgg", tmp_path / "odd"), swapped)
    base = ("-s", "resnet50-sgd", "-t", "vgg", "-t", "./odd", "--data", data, "--images", 100)
    right: dict[str, set[int]] = {}
    for rule in ("all", "target", "none"):
        runs = tmp_path / rule
        first, second = _records(cli, *base, "--images-correct-for", rule, "--runs", runs)
        (run,) = runs.iterdir()
        for model in ("vgg", "odd"):
            predicted = _predictions(BUILTIN / "vgg" if model == "vgg" else tmp_path / "odd", data)
            right[model] = {i for i, position in enumerate(chosen) if predicted[i] == known[position]}
        attacked = len(json.loads((run / "selection.json").read_text())["ids"])
        both = right["vgg"] & right["odd"]
        wanted = {"all": (len(both),) * 3, "none": (60, 60, 60)}.get(
            rule, (60, len(right["vgg"]), len(right["odd"]))
        )
        assert (attacked, first["n"], second["n"]) == wanted
        assert first["outcomes"].count("-") == attacked - first["n"]
        assert first["successes"] == first["outcomes"].count("1")
        assert first["target_accuracy"] == pytest.approx(len(right["vgg"]) / 60, abs=1e-6)
        assert first["images_correct_for"] == rule
        shown = " ".join(cli("report", run).out.split())
        assert ("whether or not classified correctly before" in shown) == (rule == "none"), "in the sentence"
        assert ("those that a target classifies correctly" in shown) == (rule == "target")
    assert right["vgg"] != right["odd"]


def test_all_leaves_the_surrogate_out(cli: Run, few: Path, tmp_path: Path) -> None:
    (tmp_path / "zoo.yaml").write_text(
        "models: {fashion-mnist: {vgg: {roles: [target, surrogate], source: 'builtin:fashion-mnist/vgg'}}}"
    )
    records = _records(cli, "-s", "vgg", "--images", 2, "--data", few, "--zoo", "zoo.yaml")
    targets = [record["target"] for record in records]
    assert "fashion-mnist/vgg" not in targets
    assert len(targets) >= 6
    assert not any(record["white_box"] for record in records)


def test_white_box_is_marked_and_out_of_the_mean(cli: Run, few: Path, tmp_path: Path) -> None:
    base = ("attack", "-s", "vgg", "--steps", 3, "--images", 8, "--data", few)
    result = cli(*base, "-t", "vgg,resnet18")
    rows = {line.split()[0]: line.split() for line in result.out.splitlines() if line.strip()}
    assert "vgg*" in rows
    assert "white box, left out of the mean" in " ".join(result.out.split())
    assert rows["mean"][1] == rows["resnet18"][2]
    assert "mean" not in cli(*base, "-t", "vgg").out.split("bim@")[0]
    # the same weights under another name are the same white box
    copied("vgg", tmp_path / "twin")
    assert [
        r["white_box"] for r in _records(cli, *base[1:5], "-t", "./twin", "--data", few, "--images", 2)
    ] == [True]


def test_a_folder_may_be_its_own_target(cli: Run, few: Path, tmp_path: Path) -> None:
    copied("vgg", tmp_path / "mine")
    (record,) = _records(cli, "-s", "./mine", "-t", "./mine", "--images", 2, "--data", few)
    assert record["white_box"]


def test_the_draw_depends_on_the_seed_alone(cli: Run, few: Path, tmp_path: Path) -> None:
    chosen = {}
    for seed, attack in ((0, "bim"), (0, "mi"), (1, "bim")):
        runs = tmp_path / f"{seed}{attack}"
        _records(
            cli,
            "-s",
            "resnet50-sgd",
            "-t",
            "vgg",
            "-a",
            attack,
            "--seed",
            seed,
            "--images",
            5,
            "--data",
            few,
            "--runs",
            runs,
        )
        (run,) = runs.iterdir()
        chosen[seed, attack] = json.loads((run / "selection.json").read_text())["ids"]
    assert chosen[0, "bim"] == chosen[0, "mi"] != chosen[1, "bim"]
    assert all(ids == sorted(ids) for ids in chosen.values())


def test_changed_configuration_of_a_checkpoint_is_another_run(cli: Run, few: Path, tmp_path: Path) -> None:
    """The same weights with another normalisation are another model; nothing of the old run is taken."""
    folder = copied("vgg", tmp_path / "mine")
    base = ("-s", "resnet50-sgd", "-t", "./mine", "--images", 2, "--data", few)
    _records(cli, *base)
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["std"] = [0.36]
    (folder / "config.json").write_text(json.dumps(config))
    _records(cli, *base)
    assert len(list((tmp_path / "runs").iterdir())) == 2
