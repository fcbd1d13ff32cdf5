"""`transferzoo compare`, with the built-in zoo, at few gradients."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from helpers import plugins
from transferzoo.attacks.engine import Attack, craft
from transferzoo.base.attack_config import AttackSpec
from transferzoo.datasets.sources import load_split
from transferzoo.evaluation.candidates import drawn_order
from transferzoo.models.classifier import load_checkpoint
from transferzoo.models.predict import predict
from transferzoo.searches import comparison
from transferzoo.zoo.reader import load_zoo
from transferzoo.zoo.selection import listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Result

    Cli = Callable[..., Result]

ASKED = ("--images", 5, "--choose-on", 4, "--jobs", 1, "-s", "resnet50-sgd", "--json")
VALIDATORS = ["validator-resnet18", "validator-vgg"]


@pytest.fixture(autouse=True)
def few_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "STEPS": ("ε/10", "ε"),
        "CHOSEN_AT": (2,),
        "REPORTED_AT": 2,
        "LEADERS_AT": (4,),
        "PRESET_AT": 8,
    }.items():
        monkeypatch.setattr(comparison, name, value)


def _measured(found: dict[str, Any], attack: str) -> dict[str, float]:
    """Return what a study's JSON says of an attack: measure, or target → value."""
    return {
        line["target"] or line["measure"]: line["value"]
        for line in found["measured"]
        if line["attack"] == attack
    }


def _cells(place: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(place.glob("studies/attack/*/cell.json"))]


def test_a_comparison(cli: Cli, tmp_path: Path) -> None:
    """It is measured on what has not chosen, goes on where it was stopped, and takes in another technique."""
    run = ("compare", "di", "--alone", *ASKED, "--save", "all.yaml", "--results", "all.jsonl.gz")
    result = cli(*run)
    assert result.code == 0, result.err
    found = json.loads(result.out)
    labels = [f"{spec}, 2 gradients" for spec in ("bim", "mi", "di", "mi+di")] + ["mi+di, 4 gradients"]
    assert sorted(entry["name"] for entry in found["study"]["attacks"]) == sorted(labels)
    _check_numbers(found)
    cells = _cells(tmp_path)
    chose = [cell for cell in cells if cell["inputs"].get("from_end")]
    reports = [cell for cell in cells if not cell["inputs"].get("from_end")]
    assert len(reports) == len(labels)
    for cell in chose:
        assert [one["name"] for one in cell["inputs"]["targets"]] == VALIDATORS
    for cell in reports:
        assert not {one["name"] for one in cell["inputs"]["targets"]} & {*VALIDATORS}

    shutil.copy(tmp_path / "all.yaml", tmp_path / "base.yaml")
    for path in sorted(tmp_path.glob("studies/attack/*"))[::5]:
        shutil.rmtree(path)
    (tmp_path / "all.jsonl.gz").unlink()
    assert json.loads(cli(*run).out) == found
    assert (tmp_path / "all.yaml").read_bytes() == (tmp_path / "base.yaml").read_bytes()

    shutil.rmtree(tmp_path / "studies")
    file = tmp_path / "mine.py"
    file.write_text(plugins.SOURCE)
    options = ("--beside", "base.yaml", "--plugin", file, "--results", "all.jsonl.gz")
    result = cli("compare", "flat-sign", *options, "--jobs", 1, "--json")
    assert result.code == 0, result.err
    more = json.loads(result.out)
    for label in labels:
        assert _measured(more, label) == _measured(found, label)
    own = {entry["name"] for entry in more["study"]["attacks"]} - {*labels}
    assert own == {"flat-sign, 2 gradients", "mi+flat-sign, 2 gradients", "mi+flat-sign, 4 gradients"}
    assert all("flat-sign" in cell["label"] for cell in _cells(tmp_path)), "nothing else is computed again"
    assert len(found["verdicts"]) == 1, "whether it beats momentum"
    rivals = {found["study"]["attacks"][0]["name"], "mi, 2 gradients"}
    assert len(more["verdicts"]) == 1 + len(rivals), "whether it beats the first, and momentum"
    assert (
        more["study"]["chosen_by"] == found["study"]["chosen_by"] == {"images": 4, "validators": VALIDATORS}
    )
    assert more["study"]["name"] == "base, with flat-sign"
    _check_standings(more, result.err)
    chose = [cell["inputs"] for cell in _cells(tmp_path) if cell["inputs"].get("from_end")]
    assert {one["count"] for one in chose} == {4}, "as the study was chosen"

    number = len(_cells(tmp_path))
    for words, sentence in {
        (): "has 'di, 2 gradients' already",
        ("--choose-on", 5): "--choose-on is the study's 'base.yaml' to say",
        ("--validator", "vgg"): "--validator is the study's 'base.yaml' to say",
    }.items():
        again = cli("compare", "di", "--beside", "base.yaml", *words)
        assert (again.code, len(_cells(tmp_path))) == (2, number), "nothing is measured before"
        assert sentence in again.err
    (tmp_path / "all.yaml").write_text((tmp_path / "base.yaml").read_text() + "seed: 1")
    assert "all.yaml is there already and says something else" in cli(*run).err


def test_the_study_says_how_many_images_have_chosen(cli: Cli, few: Path) -> None:
    """Those that the validation targets get right, where fewer are there than were asked for."""
    asked = ("--images", 5, "--choose-on", 1000, "--jobs", 1, "-s", "resnet50-sgd", "--json")
    done = cli("compare", "di", "--alone", *asked, "--data", few, "--split", "test", "--save", "all.yaml")
    assert done.code == 0, done.err
    zoo = load_zoo()
    spec = zoo.dataset("fashion-mnist")
    data = load_split(spec, "test", root=few)
    models = [load_checkpoint(zoo.models[f"fashion-mnist/{name}"].folder, spec) for name in VALIDATORS]
    right = torch.stack([predict(one, data.images) == data.labels for one in models]).all(0)
    there = int(right.sum())
    assert there < len(data)
    assert json.loads(done.out)["study"]["chosen_by"]["images"] == there
    assert f" on {there} images of fashion-mnist" in Path("all.yaml").read_text()


def _check_standings(found: dict[str, Any], said: str) -> None:
    """What is named has its place among the attacks of as many gradients, by the mean of the targets."""
    attacks = {entry["name"]: _measured(found, entry["name"]) for entry in found["study"]["attacks"]}
    targets = {name for name in attacks["mi, 2 gradients"] if f"fashion-mnist/{name}" in load_zoo().models}
    targets.discard("resnet50-sgd")
    assert len(targets) == 9
    rates = {
        name: sum(values[target] for target in targets) / 9
        for name, values in attacks.items()
        if values["gradients"] <= 2
    }
    best = max(rates.values())
    for name in ("flat-sign, 2 gradients", "mi+flat-sign, 2 gradients"):
        above = sum(rate > rates[name] + 1e-9 for rate in rates.values())
        (line,) = [one for one in said.splitlines() if one.startswith(f"{name}: ")]
        assert f" {1 + above} of {len(rates)} from resnet50-sgd, with {100 * rates[name]:.1f} %" in line
        assert (f" has {100 * best:.1f} %)" in line) == (above > 0)
    assert "mi+flat-sign, 4 gradients: by" not in said


def _check_numbers(found: dict[str, Any]) -> None:
    """Compare the numbers of an attack with those of its images, made here."""
    zoo = load_zoo()
    spec = zoo.dataset("fashion-mnist")
    data = load_split(spec, spec.attack.split)
    names = [model.name for model in listed(zoo, "all", "fashion-mnist", "target")]
    models = {
        name: load_checkpoint(zoo.models[f"fashion-mnist/{name}"].folder, spec)
        for name in ("resnet50-sgd", *names)
    }
    first = data.select(drawn_order(len(data), 0)[:60])
    right = torch.stack([predict(one, first.images) == first.labels for one in models.values()]).all(0)
    order = drawn_order(len(data), 0)[:60][right][:5].sort().values
    chosen = data.select(order)
    (entry,) = [one for one in found["study"]["attacks"] if one["name"] == "mi+di, 4 gradients"]
    given = AttackSpec(
        techniques="di+mi", norm="linf", epsilon="16/255", step=entry["step"], steps=entry["steps"]
    )
    attack = Attack.of(given, 0)
    made = craft(attack, models["resnet50-sgd"], chosen.images, chosen.labels, chosen.ids)
    numbers = _measured(found, "mi+di, 4 gradients")
    for name, model in models.items():
        assert numbers[name] == float((predict(model, made) != chosen.labels).double().mean()), name
    moved = (made.int() - chosen.images.int()).abs().double().mean() / 16
    assert numbers["moved"] == pytest.approx(float(moved), abs=1e-6)
    assert numbers["gradients"] == 4
    assert 0 <= numbers["noise"] <= 1


def test_images_that_choose_are_not_reported() -> None:
    """Of the sample of the package, as many as are attacked by default and choose by default."""
    zoo = load_zoo()
    spec = zoo.dataset("fashion-mnist")
    data = load_split(spec, spec.attack.split)
    models = {
        role: [model for model in zoo.models.values() if role in model.roles and model.dataset == spec.name]
        for role in ("target", "validator")
    }
    surrogates = [zoo.models[f"fashion-mnist/{name}"] for name in ("resnet50-sgd", "resnet50-lsam")]
    order = drawn_order(len(data), 0)

    def right(names: list[Any]) -> torch.Tensor:
        loaded = [load_checkpoint(one.folder, spec) for one in names]
        return torch.stack([predict(one, data.images) == data.labels for one in loaded]).all(0)[order]

    front = order[right([*models["target"], *surrogates])][:500]
    back = order.flip(0)[right(models["validator"]).flip(0)][:100]
    assert len(front) == 500
    assert len(back) == 100
    assert not {*front.tolist()} & {*back.tolist()}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("momentun",), "unknown technique 'momentun'"),
        (("VMII",), "; did you mean mi or emi"),
        (("",), "'' is no single technique"),
        (("MI-FGSM", "--alone", "-s", "nobody"), "unknown surrogate 'nobody'"),
        (("flat-sign",), "or one that --plugin FILE brings"),
        (("mi+di",), "'mi+di' is no single technique by its defaults: expected a technique of"),
        (("di:p=1",), "'di:p=1' is no single technique by its defaults"),
        (("strong",), "compares presets and compositions"),
        (("di", "--alone", "-s", "nobody"), "unknown surrogate 'nobody'"),
        (("di", "--alone", "--validator", "nobody"), "nobody"),
        (("di", "--alone", "--validator", "vgg"), "'vgg' is a target that is reported"),
        (("di", "--alone", "--beside", "all.yaml"), "--beside is for techniques that are named"),
        (("di",), "--choose-on is the study's 'techniques' to say"),
        (("di", "--beside", "base.yaml", "--images", 3), "--images is the study's 'base.yaml' to say"),
        (("--alone",), "--alone is for techniques that are named: expected names, or no --alone"),
        (("svre", "--alone"), "svre cannot be compared, since a step costs more than 50 gradients"),
        (("di", "--beside", "late-phase"), "the study 'late-phase' trains 'sgd'"),
        (("di", "--beside", "nobody.yaml"), "there is no study file nobody.yaml"),
        (("di", "--alone", "--save", "all.txt"), "expected a name in .yaml"),
        (("di", "--alone", "--save", "all.yaml"), "all.yaml is there already"),
        (("di", "--alone", "--results", "all.json"), "expected a name in .jsonl.gz"),
        (("di", "--alone", "--jobs", 2, "--ray", "local"), "--jobs and --ray exclude each other"),
    ],
)
def test_wrong_requests(arguments: tuple[object, ...], sentence: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text("about: nothing")
    base = "about: one\ndataset: fashion-mnist\nsurrogates: {s: {model: resnet50-sgd}}"
    (tmp_path / "base.yaml").write_text(base)
    more = () if "--images" in arguments else ("--choose-on", 1)
    result = cli("compare", *arguments, *more)
    assert result.code == 2
    assert sentence in result.err
    assert result.err.startswith("Error: ") or "\nError: " in result.err
