"""The main job for programs: the README's example, and agreement with the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

import transferzoo
from helpers.checkpoints import copied
from helpers.processes import printed
from helpers.refusals import ATTACK
from transferzoo import craft, evaluate, load_images, load_model, measure, read_attack, tables
from transferzoo.base.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")
MIXING = "mi+di+admix:partners=1,scales=2"
README = Path(__file__).parent.parent.parent / "README.md"


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert example.count("\n") <= 15
    assert "success rate" in printed(example, tmp_path)


def test_the_example_of_the_room_runs(tmp_path: Path) -> None:
    room = Path(transferzoo.__file__).parent / "evaluation" / "README.md"
    (example,) = re.findall(r"```python\n(.*?)```", room.read_text(encoding="utf-8"), re.DOTALL)
    assert re.search(r"^0\.\d+ 0\.\d+$", printed(example, tmp_path), re.MULTILINE)


def test_ensembles_classes_curves_and_defences_are_the_command_lines(cli: Run, few: Path) -> None:
    """Two targets, two attacks and a curve: the same records but for names and files."""
    asked = [
        "attack",
        *("-s", "resnet50-sgd", "-s", "resnet50-lsam", "--ensemble", "--targeted", "next", "--curve", "1,2"),
        *("-t", "vgg,resnet18|bits:depth=4", "-a", "bim", "-a", "mi", "--steps", 3, "--epsilon", "16/255"),
        *("--data", few, "--images", 999, "--images-correct-for", "target", "--json"),
    ]
    content = json.loads(cli(*asked).out)
    images = load_images(root=few)
    models = {name: load_model(name) for name in ("resnet50-sgd", "resnet50-lsam", "vgg", "resnet18")}
    behind = "resnet18|bits:depth=4"
    found = evaluate(
        [read_attack(spec, steps=3, epsilon="16/255") for spec in ("bim", "mi")],
        {name: models[name] for name in ("resnet50-sgd", "resnet50-lsam")},
        {"vgg|bits:depth=4": models["vgg"], behind: models["resnet18"]},
        images.images,
        images.labels,
        ids=images.ids,
        ensemble=True,
        target_classes="next",
        curve=(1, 2),
        images_correct_for="target",
    )
    for ours, theirs in ((found.records, content["records"]), (found.curve, content["curve"])):
        assert len(ours) == len(theirs) > 0
        for mine, other in zip(ours, theirs, strict=True):
            same = ("attack", "steps", "targeted", "n", "outcomes", "rate", "gradients", "images_correct_for")
            assert {key: getattr(mine, key) for key in same} == {key: other[key] for key in same}
    assert {record.target for record in found.records} == {"vgg|bits:depth=4", behind}


def test_it_is_the_command_line(cli: Run, few: Path) -> None:
    """The same images fool the same targets, whatever the size of the batches."""
    found = cli(
        *ATTACK,
        "-a",
        MIXING,
        "--data",
        few,
        "--images",
        999,
        "--batch-size",
        4,
        "--json",
    )
    (record,) = json.loads(found.out)["records"]
    images = load_images(root=few)
    result = evaluate(
        read_attack(MIXING, steps=2),
        load_model("resnet50-sgd"),
        {"vgg": load_model("vgg")},
        images.images,
        images.labels,
        ids=images.ids,
    )
    assert result.records[0].outcomes == record["outcomes"]
    assert (result.records[0].rate, result.records[0].attack) == (record["rate"], record["attack"])
    (table,) = tables(result)
    assert " on " not in table.title


class Dark(nn.Module):
    """Two classes: dark and bright; it has weights so that it has a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(9.0))

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean((1, 2, 3)) - 0.5
        return torch.stack([-mean, mean], 1) * self.scale


def test_any_module_will_do() -> None:
    images = torch.tensor([100, 120, 140, 250], dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    labels = torch.tensor([0, 0, 1, 1])
    model, other = Dark().train(), Dark()
    other.scale.data.fill_(3.0)
    attack = read_attack("mi", epsilon="16/255", step="4/255", steps=4)
    result = evaluate(attack, {"mine": model}, {"same": Dark(), "other": other}, images, labels)
    assert [r.outcomes for r in result.records] == ["0110", "0110"]
    assert [r.white_box for r in result.records] == [True, False]
    assert [r.gradients for r in result.records] == [4, 4]
    assert result.visibility[0].linf == 16
    assert model.training
    with pytest.raises(DataError, match="no correctly classified image in common"):
        evaluate(attack, model, {"same": Dark()}, images, 1 - labels)


def test_wrong_names_are_sentences() -> None:
    with pytest.raises(UsageError, match="no single model"):
        load_model("*net*")
    with pytest.raises(UsageError, match="unknown norm 'l3'"):
        read_attack("mi", norm="l3")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        transferzoo.nothing  # noqa: B018


def test_to_evaluate_is_to_craft_and_to_measure() -> None:
    data, attack = load_images().select(range(80)), read_attack("mi+di", steps=3, epsilon="16/255")
    surrogate, targets = (
        load_model("resnet50-sgd"),
        {"vgg": load_model("vgg"), "same": load_model("resnet50-sgd")},
    )
    found = evaluate(attack, {"s": surrogate}, targets, data.images, data.labels, ids=data.ids)
    crafted = craft(attack, surrogate, data.images, data.labels, data.ids)
    given = measure(crafted, targets, data.images, data.labels, ids=data.ids, attack="mine", gradients=3)
    assert [r.outcomes for r in given.records] == [r.outcomes for r in found.records]
    assert [r.outcomes for r in given.noise] == [r.outcomes for r in found.noise]
    assert {r.attack for r in given.records} == {"mine@linf,eps=16/255"}
    assert given.visibility[0].linf == found.visibility[0].linf == 16
    assert tables(given)[0].rows


def test_models_without_weights_are_told_apart() -> None:
    """A module without a parameter is no other's, neither in what is remembered nor as a white box."""
    images = torch.tensor([100, 120, 140, 250], dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    labels, attack = torch.tensor([0, 0, 1, 1]), read_attack("bim", epsilon="16/255", steps=2)

    class Sees(nn.Module):
        def __init__(self, sign: int) -> None:
            super().__init__()
            self.sign = sign

        def forward(self, images: Tensor) -> Tensor:
            mean = self.sign * (images.mean((1, 2, 3)) - 0.5)
            return torch.stack([-mean, mean], 1)

    found = evaluate(
        attack,
        Sees(1),
        {"right": Sees(1), "wrong": Sees(-1)},
        images,
        labels,
        images_correct_for="none",
    )
    assert [r.target_accuracy for r in found.records] == [1.0, 0.0]
    assert [r.white_box for r in found.records] == [False, False]


def test_wrong_calls_are_sentences() -> None:
    images = torch.full((4, 3, 4, 4), 100, dtype=torch.uint8)
    labels, model, other = torch.zeros(4, dtype=torch.int64), Dark(), Dark()
    attack = read_attack("bim", epsilon="16/255", steps=2)
    calls: dict[str, Callable[[], object]] = {
        "two models are called 'a'": lambda: evaluate(attack, {"a": model}, {"a": other}, images, labels),
        "'svre' attacks several surrogates together": lambda: evaluate(
            read_attack("svre"), model, {"b": other}, images, labels
        ),
        "a step of the curve is out of range: expected 1 to 2": lambda: evaluate(
            attack, model, {"b": other}, images, labels, curve=[3]
        ),
        "the attacks of one call share a seed: expected one, got 2 seeds": lambda: evaluate(
            [attack, read_attack("mi", seed=1)], model, {"b": other}, images, labels
        ),
        r"no attacks: expected what read_attack\('mi', steps=10\) returns": lambda: evaluate(
            "mi",  # type: ignore[arg-type]
            model,
            {"b": other},
            images,
            labels,
        ),
        "targets have names: expected {'mine': model}, got a bare": lambda: evaluate(
            attack,
            model,
            other,  # type: ignore[arg-type]
            images,
            labels,
        ),
        "unknown defence 'jpg'": lambda: evaluate(attack, model, {"b|jpg": other}, images, labels),
        "the adversarial images are the clean ones": lambda: measure(images, {"b": other}, images, labels),
        "the adversarial images are not like the clean ones": lambda: measure(
            images / 255, {"b": other}, images, labels
        ),
        "cannot read 'My attack'": lambda: measure(images, {"b": other}, images, labels, attack="My attack"),
        "'vgg\\|bits' has a defence": lambda: load_model("vgg|bits"),
    }
    for sentence, call in calls.items():
        with pytest.raises(UsageError, match=sentence):
            call()
    assert (model.training, other.training) == (True, True)


NUMBERS = torch.zeros(4, dtype=torch.int64)
WRONG_CLASSES = {
    "one for each image": (NUMBERS.repeat(2), r"not one an image: expected int64 \(4,\), got int64 \(8,\)"),
    "no numbers": (NUMBERS.float(), r"not one an image: expected int64 \(4,\), got float32 \(4,\)"),
    "too large": (NUMBERS + 99, "out of range: expected 0 to 9, got 99 to 99"),
    "negative": (NUMBERS - 1, "out of range: expected 0 to 9, got -1 to -1"),
}


@pytest.mark.parametrize("kind", WRONG_CLASSES)
def test_target_classes_are_classes_of_the_images(kind: str) -> None:
    """Otherwise no image would count as fooled."""
    classes, said = WRONG_CLASSES[kind]
    images, model = torch.full((4, 1, 28, 28), 100, dtype=torch.uint8), load_model("vgg")
    with pytest.raises(UsageError, match=f"the target classes are {said}"):
        evaluate(read_attack("bim", steps=1), model, {"b": model}, images, NUMBERS, target_classes=classes)
    with pytest.raises(UsageError, match=f"the target classes are {said}"):
        measure(images + 9, {"b": model}, images, NUMBERS, target_classes=classes)


def test_labels_below_zero_are_no_classes() -> None:
    """Otherwise every image would count as fooled."""
    images, model = torch.full((4, 1, 28, 28), 100, dtype=torch.uint8), load_model("vgg")
    with pytest.raises(UsageError, match="the labels are out of range: expected 0 to 9, got -1 to -1"):
        evaluate(read_attack("bim", steps=1), model, {"b": model}, images, NUMBERS - 1)
    with pytest.raises(UsageError, match="the labels are out of range"):
        measure(images + 9, {"b": model}, images, NUMBERS - 1)


def test_numbers_that_are_none_are_sentences(tmp_path: Path) -> None:
    images = torch.full((4, 3, 4, 4), 100, dtype=torch.uint8)
    attack, model = read_attack("bim", epsilon="16/255", steps=2), Dark()
    calls: dict[str, Callable[[], object]] = {
        "unknown norm 'l1'": lambda: measure(
            images + 9,
            {"b": model},
            images,
            NUMBERS,
            norm="l1",  # type: ignore[arg-type]
        ),
        "number of processes is out of range: expected 1 or more, got 0": lambda: evaluate(
            attack, model, {"b": model}, images, NUMBERS, jobs=0
        ),
        "these are no attacks": lambda: evaluate([], model, {"b": model}, images, NUMBERS),
        "number of processes is out of range": lambda: transferzoo.audit("vgg", jobs=0),
        "number of surrogates is out of range: expected 1 or more, got -1": lambda: (
            transferzoo.load_surrogates("fashion-mnist", -1)
        ),
        "no audit can show that attackers fool 0% of": lambda: transferzoo.audit("vgg", max_rate=0),
        "target classes are a tensor, or a rule's name": lambda: evaluate(
            attack,
            model,
            {"b": model},
            images,
            NUMBERS,
            target_classes=NUMBERS.numpy(),  # type: ignore[arg-type]
        ),
    }
    for sentence, call in calls.items():
        with pytest.raises(UsageError, match=sentence):
            call()
    with pytest.raises(UsageError, match="there is no"):
        load_model(tmp_path / "nothing")


def test_a_path_is_no_name_of_the_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied("resnet18", tmp_path / "vgg")
    monkeypatch.chdir(tmp_path)
    count = sum(weight.numel() for weight in load_model("resnet18").parameters())
    assert sum(weight.numel() for weight in load_model(Path("vgg")).parameters()) == count


def test_public_names_exist() -> None:
    assert {*transferzoo.__all__} == {*dir(transferzoo)}
    assert sorted([*transferzoo._PUBLIC, "__version__"]) == sorted(transferzoo.__all__)
    assert all(getattr(transferzoo, name) for name in transferzoo.__all__)
