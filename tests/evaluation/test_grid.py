"""Several attacks and surrogates in one run, ensembles, target classes, and success by steps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from helpers.refusals import ATTACK, nothing_written, refused
from transferzoo.attacks.engine import Attack, craft
from transferzoo.datasets.sources import load_split
from transferzoo.models.classifier import load_checkpoint
from transferzoo.models.optimize import optimize
from transferzoo.models.predict import predict
from transferzoo.results.records import SurrogateAttack
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run
    from transferzoo.models.classifier import Classifier

pytestmark = pytest.mark.usefixtures("one_thread")

ZOO = load_zoo()
SPEC = ZOO.dataset("fashion-mnist")
ONE, TWO = "fashion-mnist/resnet50-sgd", "fashion-mnist/resnet50-sam"


def model(name: str) -> Classifier:
    """Return a surrogate as a run uses it."""
    images = load_split(SPEC, "sample").images[:4]
    return optimize(
        load_checkpoint(ZOO.models[f"fashion-mnist/{name}"].folder, SPEC), images, precision="fp32"
    )


def records(cli: Run, few: Path, *flags: object) -> list[dict[str, Any]]:
    result = cli(*ATTACK, "--data", few, *flags, "--json")
    assert result.code == 0, result.err
    return list(json.loads(result.out)["records"])


def saved(folder: Path, source: SurrogateAttack, name: str = "images") -> torch.Tensor:
    (run,) = (folder / "runs").iterdir()
    return load_file(run / "images" / source.folder / "0000.safetensors")[name]


def selection(folder: Path) -> dict[str, list[int]]:
    (run,) = (folder / "runs").iterdir()
    content: dict[str, list[int]] = json.loads((run / "selection.json").read_text())
    return content


# ---------------------------------------------------------------- the grid


def test_every_attack_on_every_surrogate(cli: Run, few: Path) -> None:
    whole = records(cli, few, "-s", "resnet50-sam", "-t", "resnet18", "-a", "bim", "-a", "mi", "-a", "ti")
    names = [(r["surrogate"], r["attack"].partition("@")[0], r["target"]) for r in whole]
    attacks = ["bim", "mi:decay=1,normalise=mean", "ti:kernel=7,sigma=3"]
    victims = ["fashion-mnist/vgg", "fashion-mnist/resnet18"]
    assert names == [(s, a, t) for s in (ONE, TWO) for a in attacks for t in victims]
    assert [r["gradients"] for r in whole] == [2] * 12
    for name in ("bim", "mi", "ti"):  # each cell is what it is by itself, on the same images
        single = records(cli, few, "-s", "resnet50-sam", "-t", "resnet18", "-a", name)
        same = [r for r in whole if r["attack"] == single[0]["attack"]]
        assert [r["outcomes"] for r in same] == [r["outcomes"] for r in single]


def test_the_same_attack_twice_is_one(cli: Run, few: Path) -> None:
    assert len(records(cli, few, "-a", "mi", "-a", "mi:decay=1.0")) == 1


@pytest.mark.parametrize("written", ["mi+vt", "VMI-FGSM", "vt+mi:decay=1"])
def test_an_attack_has_one_name_in_a_run(cli: Run, few: Path, tmp_path: Path, written: str) -> None:
    """Whatever it was written as: on the folder, in the table and in what is told of progress."""
    result = cli(*ATTACK, "--data", few, "-a", written, "--steps", 1, "--save-images", "made")
    assert result.code == 0, result.err
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("resnet50-sgd-vmi-")
    assert "vmi" in result.out
    names = [path.as_posix() for path in (tmp_path / "made").rglob("*")]
    assert not [said for said in (result.out, result.err, *names) if "vt" in said.replace("mi+vt", "?")]


def test_a_preset_keeps_its_own_budget(cli: Run, few: Path) -> None:
    found = cli(
        "attack", "-s", "resnet50-sgd", "-a", "fgsm", "-a", "bim", "--data", few, "--dry-run", "--json"
    )
    budgets = [(spec["step"], spec["steps"]) for spec in json.loads(found.out)["config"]["attacks"]]
    assert budgets == [("eps", 1), ("eps/10", 50)]


def test_the_table_tells_what_each_row_costs(cli: Run, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    plain = ATTACK[: ATTACK.index("--steps")]
    found = cli(*plain, "--images", 4, "-a", "bim", "-a", "fgsm", "--data", few)
    assert "gradients" in found.out
    assert "s an image" in found.out
    assert "1 to 50 gradient evaluations an image" in " ".join(found.out.split())


# ---------------------------------------------------------------- ensembles


def test_an_ensemble_is_one_source(cli: Run, few: Path, tmp_path: Path) -> None:
    (found,) = records(cli, few, "-s", "resnet50-sam", "--ensemble", "-a", "mi")
    assert found["surrogate"] == f"{ONE} & resnet50-sam"
    assert found["gradients"] == 4
    assert not found["white_box"]
    images, chosen = load_split(SPEC, "sample", root=few), selection(tmp_path)
    part = images.select(torch.isin(images.ids, torch.tensor(chosen["ids"])))
    attack = Attack.of(_spec(tmp_path), 0)
    wanted = craft(attack, [model("resnet50-sgd"), model("resnet50-sam")], part.images, part.labels, part.ids)
    assert torch.equal(saved(tmp_path, SurrogateAttack(found["surrogate"], found["attack"])), wanted)


def _spec(folder: Path) -> Any:
    from transferzoo.base.attack_config import AttackConfig

    (run,) = (folder / "runs").iterdir()
    return AttackConfig(**json.loads((run / "config.json").read_text())["config"]).attacks[0]


def test_a_member_is_white_box(cli: Run, few: Path) -> None:
    found = records(cli, few, "-s", "resnet50-sam", "-t", "resnet50-sam", "--ensemble")
    assert [r["white_box"] for r in found] == [False, True]


@pytest.mark.parametrize("name", ["svre", "long", "ens", "sub"])
def test_what_joins_surrogates_is_refused_for_one(cli: Run, few: Path, tmp_path: Path, name: str) -> None:
    flags = ("-s", "resnet50-sam", "--data", few, "-a", f"{name}+mi")
    refused(cli(*ATTACK, *flags), 2, f"'{name}' attacks several surrogates together", "--ensemble")
    nothing_written(tmp_path)


def test_an_ensemble_technique_needs_the_flag(cli: Run, few: Path) -> None:
    flags = ("-s", "resnet50-sam", "--data", few, "-a", "svre+mi")
    assert cli(*ATTACK, *flags, "--ensemble").code == 0


# ---------------------------------------------------------------- target classes


@pytest.mark.parametrize("how", ["random", "next", "least-likely"])
def test_success_is_the_class_aimed_at(cli: Run, few: Path, tmp_path: Path, how: str) -> None:
    flags = ("--targeted", how, "--images", 10, "--steps", 20, "-a", "mi+logit", "--epsilon", "64/255")
    (found,) = records(cli, few, "-t", "resnet50-sgd", "-t", "vgg", *flags)[1:]
    assert found["targeted"] == how
    assert found["white_box"]
    chosen = selection(tmp_path)
    labels, targets = torch.tensor(chosen["labels"]), torch.tensor(chosen["targets"])
    assert (labels != targets).all()
    if how == "next":
        assert torch.equal(targets, (labels + 1) % 10)
    images = load_split(SPEC, "sample", root=few)
    part = images.select(torch.isin(images.ids, torch.tensor(chosen["ids"])))
    if how == "least-likely":
        logits = model("resnet50-sgd")(part.images / 255)
        assert torch.equal(targets, logits.argmin(1))
    said = predict(
        model("resnet50-sgd"), saved(tmp_path, SurrogateAttack(found["surrogate"], found["attack"]))
    )
    assert found["outcomes"] == "".join("1" if hit else "0" for hit in (said == targets).tolist())
    assert found["rate"] > 0.5, "the white-box attack reaches the classes"


def test_random_classes_follow_the_seed(cli: Run, few: Path, tmp_path: Path) -> None:
    drawn = []
    for seed in (0, 1):
        records(cli, few, "--targeted", "random", "--seed", seed, "--images", 99, "--runs", f"r{seed}")
        (run,) = (tmp_path / f"r{seed}").iterdir()
        content = json.loads((run / "selection.json").read_text())
        drawn.append(dict(zip(content["ids"], content["targets"], strict=True)))
    assert drawn[0].keys() == drawn[1].keys()
    assert drawn[0] != drawn[1]


def test_classes_from_a_file(cli: Run, few: Path, tmp_path: Path) -> None:
    images = load_split(SPEC, "sample", root=few)
    classes = ["Bag" if label != 8 else "0" for label in images.labels.tolist()]
    (tmp_path / "classes.txt").write_text("\n".join(classes) + "\n")
    (found,) = records(cli, few, "--targeted", "classes.txt")
    assert found["targeted"] == "file"
    chosen = selection(tmp_path)
    assert chosen["targets"] == [0 if label == 8 else 8 for label in chosen["labels"]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("1\n2\n", ("does not fit the images", "a class for every image", "got 2")),
        ("11\n", ("line 1", "0 to 9 or a name", "'11'")),
        ("shoe\n", ("line 1", "'shoe'")),
        (None, ("cannot read the target classes",)),
    ],
)
def test_a_wrong_file_is_a_sentence(
    cli: Run, few: Path, tmp_path: Path, content: str | None, words: tuple[str, ...]
) -> None:
    if content is not None:
        lines = len(load_split(SPEC, "sample", root=few))
        whole = content if "\n2" in content else content + "1\n" * (lines - 1)
        (tmp_path / "classes.txt").write_text(whole)
    refused(cli(*ATTACK, "--data", few, "--targeted", "classes.txt"), 2, *words)
    nothing_written(tmp_path)


# ---------------------------------------------------------------- success by steps


def test_the_curve_is_what_fewer_steps_give(cli: Run, few: Path, tmp_path: Path) -> None:
    result = cli(*ATTACK, "--data", few, "--steps", 6, "--curve", "4,2", "-a", "mi", "--json")
    content = json.loads(result.out)
    assert [(r["steps"], r["gradients"]) for r in content["curve"]] == [(2, 2), (4, 4)]
    (final,) = content["records"]
    assert (final["steps"], final["gradients"]) == (6, 6)
    source = SurrogateAttack(final["surrogate"], final["attack"])
    chosen = torch.tensor(selection(tmp_path)["ids"])
    images = load_split(SPEC, "sample", root=few)
    part, spec = images.select(torch.isin(images.ids, chosen)), _spec(tmp_path)
    for steps in (2, 4):
        attack = Attack.of(spec.model_copy(update={"steps": steps}), 0)
        wanted = craft(attack, model("resnet50-sgd"), part.images, part.labels, part.ids)
        assert torch.equal(saved(tmp_path, source, f"after {steps}"), wanted)
    shown = cli(*ATTACK, "--data", few, "--steps", 6, "--curve", "4,2", "-a", "mi").out
    assert "Success rate by steps" in shown
    assert "4 steps" in shown
    assert "6 steps" in shown


@pytest.mark.parametrize(
    ("curve", "words"),
    [
        ("0,1", ("a step of the curve", "1 to 2", "got 0")),
        ("3", ("1 to 2", "got 3")),
        ("a", ("--curve", "'a'")),
    ],
)
def test_a_wrong_curve_is_a_sentence(cli: Run, few: Path, curve: str, words: tuple[str, ...]) -> None:
    refused(cli(*ATTACK, "--data", few, "--curve", curve), 2, *words)


# ---------------------------------------------------------------- precision and batches


def test_the_table_says_what_was_rounded(cli: Run, few: Path) -> None:
    command = (*ATTACK, "--data", few, "--seed", 3)
    plain, rounded = (cli(*command, "--precision", kind, "--json") for kind in ("fp32", "bf16"))
    assert [json.loads(found.out)["records"][0]["precision"] for found in (plain, rounded)] == [
        "fp32",
        "bf16",
    ]
    caption = cli(*command, "--precision", "bf16").out
    assert "gradient evaluations an image in bf16" in " ".join(caption.split())
    assert "bf16" not in cli(*command, "--precision", "fp32").out


def test_the_processor_is_asked_by_auto_alone(cli: Run, few: Path, bf16_support: bool) -> None:
    command = (*ATTACK, "--data", few, "--json")
    done = [cli(*command), cli(*command, "--precision", "auto")]
    found = [json.loads(one.out)["records"][0]["precision"] for one in done]
    assert found == ["fp32", "bf16" if bf16_support else "fp32"]


def test_the_batch_is_fitted_once(cli: Run, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transferzoo.models.optimize.device_memory", lambda _: 2**24)
    command = (*ATTACK, "--data", few)
    plan = json.loads(cli(*command, "--batch-size", "auto", "--dry-run", "--json").out)
    size = plan["config"]["batch_size"]
    assert size in (2, 4, 8, 16, 32, 64, 128)
    named = json.loads(cli(*command, "--batch-size", size, "--dry-run", "--json").out)
    assert named == plan


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (
            ("--batch-size", "many"),
            "cannot read --batch-size: expected a number of images or auto, got 'many'",
        ),
        (("--batch-size", "0"), "option 'batch_size' is wrong: expected greater than or equal to 1, got 0"),
        (("--precision", "fp8"), "option 'precision' is wrong: expected 'fp32' or 'bf16', got 'fp8'"),
    ],
)
def test_wrong_speed_options(cli: Run, few: Path, flags: tuple[str, ...], sentence: str) -> None:
    done = cli(*ATTACK, "--data", few, *flags)
    assert done.code == 2 and sentence in " ".join(done.err.split())
