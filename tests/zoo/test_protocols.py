"""Protocols: what they put in the place of defaults, what flags replace, and what captions say of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from helpers.refusals import refused
from transferzoo.models.resolve import select_models
from transferzoo.models.unlisted_options import UnlistedOptions
from transferzoo.zoo.protocol import follow, label
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

ZOO = load_zoo()
FEW = ("-s", "resnet50-sam", "--images", 4, "--batch-size", 2)


def attacked(cli: Run, *words: object) -> dict[str, Any]:
    done = cli("attack", *FEW, *words, "--json")
    assert done.code == 0, done.err
    return dict(json.loads(done.out))


def records(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [{k: v for k, v in one.items() if k not in ("seconds", "protocol")} for one in found["records"]]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("paper", ("--eps", "4/255", "--steps", 50, "--step", "eps/10")),
        (
            "transferattack",
            (
                "-a",
                "mi",
                "--eps",
                "16/255",
                "--steps",
                10,
                "--step",
                "eps/10",
                "--images-correct-for",
                "none",
            ),
        ),
    ],
)
def test_it_stands_for_its_flags(cli: Run, name: str, flags: tuple[object, ...]) -> None:
    by_name = attacked(cli, "--protocol", name, "-t", "vgg,vit")
    assert records(by_name) == records(attacked(cli, "-t", "vgg,vit", *flags))
    said = f"{name}, but for images" + (", targets" if ZOO.protocols[name].targets else "")
    said = name if name == "paper" else said
    assert {one["protocol"] for one in by_name["records"]} == {said}


@pytest.mark.usefixtures("one_thread")
def test_a_caption_and_a_report_say_it(cli: Run) -> None:
    done = cli("attack", *FEW, "-t", "vgg", "--protocol", "paper", "--steps", 2)
    assert "protocol paper, but for steps: bim@linf,eps=4/255,step=eps/2,steps=2;" in " ".join(
        done.out.split()
    )
    again = cli("report", done.err.strip().splitlines()[-1].partition(": ")[2])
    assert "protocol paper, but for steps: " in " ".join(again.out.split())
    plain = cli("attack", *FEW, "-t", "vgg", "--steps", 2)
    assert "protocol" not in plain.out


@pytest.mark.parametrize(
    ("name", "dataset", "flags", "said"),
    [
        ("paper", "fashion-mnist", (), "paper"),
        ("paper", "cifar10", ("images", "seed"), "paper"),
        ("paper", "cifar10", ("epsilon", "steps"), "paper, but for epsilon, steps"),
        ("lgv", "imagenet", (), "lgv"),
        ("lgv", "cifar10", (), "lgv, but for targets"),
        ("transferattack", "imagenet", ("targets", "images"), "transferattack, but for images, targets"),
    ],
)
def test_what_is_otherwise_is_said(name: str, dataset: str, flags: tuple[str, ...], said: str) -> None:
    assert label(ZOO, name, dataset, flags) == said


@pytest.mark.parametrize("name", ZOO.protocols)
def test_its_targets_are_models(name: str) -> None:
    for dataset, targets in ZOO.protocols[name].targets.items():
        found = select_models(ZOO, targets, dataset, "target", UnlistedOptions())
        assert len(found) == len(targets)


def test_presets_keep_their_own_budget(cli: Run) -> None:
    """One step is what `fgsm` is."""
    done = cli(
        "attack", *FEW, "-t", "vgg", "--protocol", "paper", "-a", "fgsm", "-a", "mi", "--dry-run", "--json"
    )
    first, second = json.loads(done.out)["config"]["attacks"]
    assert (first["epsilon"], first["steps"]) == ("4/255", 1)
    assert (second["epsilon"], second["steps"]) == ("4/255", 50)


def test_a_zoo_without_it_is_left_as_it_was() -> None:
    followed = follow(ZOO, "transferattack", "imagenet")
    assert followed.dataset("imagenet").attack.epsilon == "16/255"
    assert followed.dataset("cifar10") == ZOO.dataset("cifar10")
    assert ZOO.dataset("imagenet").attack.epsilon == "4/255"


MINE = """
protocols:
  mine: {about: ours, attacks: [mi, di], epsilon: 2/255, steps: 2, images: 4, targets: {fashion-mnist: [vgg]}}
"""


def test_one_of_a_user(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "zoo.yaml").write_text(MINE)
    own = ("--zoo", "zoo.yaml")
    done = cli("attack", "--protocol", "mine", *own, "--dry-run", "--json")
    config = json.loads(done.out)["config"]
    assert [one["epsilon"] for one in config["attacks"]] == ["2/255", "2/255"]
    assert (config["images"], config["protocol"]) == (4, "mine")
    assert config["targets"] == ["fashion-mnist/vgg"]
    assert "mine" in cli("list", "protocols", *own).out
    assert json.loads(cli("show", "mine", *own, "--json").out)[0]["attacks"] == ["mi", "di"]


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("{}", "about"),
        ("{about: x, epsilon: 400}", "epsilon"),
        ("{about: x, norm: l2}", "an epsilon too, where a norm is said"),
        ("{about: x, targets: {nowhere: [vgg]}}", "unknown data set 'nowhere'"),
        ("{about: x, split: {fashion-mnist: tset}}", "unknown split 'tset'"),
        ("{about: x, images: 0}", "images"),
    ],
)
def test_a_wrong_one_is_a_sentence(cli: Run, tmp_path: Path, entry: str, sentence: str) -> None:
    (tmp_path / "zoo.yaml").write_text(f"protocols: {{mine: {entry}}}\n")
    refused(cli("attack", "--protocol", "mine", "--zoo", "zoo.yaml"), 2, sentence)


def test_an_unknown_one_names_the_nearest(cli: Run) -> None:
    refused(cli("attack", "--protocol", "papre"), 2, "unknown protocol 'papre'")
