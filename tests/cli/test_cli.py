"""The command line: what is listed, asked for and planned."""

from __future__ import annotations

import json
import re
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING, Any

import pytest

from helpers.checkpoints import BUILTIN, data_folder
from transferzoo.attacks.configure import expand
from transferzoo.attacks.techniques import TECHNIQUES
from transferzoo.base.attack_config import AttackConfig, AttackSpec
from transferzoo.cli.show import show
from transferzoo.cli.show_tables import TEXTS
from transferzoo.datasets import READERS
from transferzoo.defences import DEFENCES
from transferzoo.minimizers import MINIMIZERS
from transferzoo.models.architectures import ARCHITECTURES
from transferzoo.studies.schema import built_in
from transferzoo.zoo.model_source import forms
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Result

    Run = Callable[..., Result]

pytestmark = pytest.mark.usefixtures("one_thread")
ZOO = load_zoo()
NAMES = {
    "models": [m.name for m in ZOO.models.values()],
    "surrogates": [m.name for m in ZOO.models.values() if "surrogate" in m.roles],
    "targets": [m.name for m in ZOO.models.values() if "target" in m.roles],
    "datasets": list(ZOO.datasets),
    "attacks": [*ZOO.presets, *ZOO.suites, *ZOO.aliases, *TECHNIQUES],
    "minimizers": list(MINIMIZERS),
    "architectures": list(ARCHITECTURES),
    "defences": list(DEFENCES),
    "formats": list(READERS),
    "sources": [form.form for form in forms() for _ in form.examples],
    "recipes": list(ZOO.recipes),
    "studies": list(built_in()),
}
DEFAULT = [m for m in ZOO.models.values() if m.dataset == ZOO.default_dataset]
ATTACK = ("attack", "-s", "resnet50-sgd", "-t", "vgg,resnet18", "--steps", 2, "--images", 6)


@pytest.mark.parametrize("kind", NAMES)
def test_list(cli: Run, kind: str) -> None:
    listed = json.loads(cli("list", kind, "--json").out)
    assert sorted(entry["name"] for entry in listed) == sorted(NAMES[kind])
    assert len({tuple(entry) for entry in listed}) == 1
    shown = cli("list", kind)
    assert (shown.code, shown.err) == (0, "")
    default = {
        "models": [m.name for m in DEFAULT],
        "surrogates": [m.name for m in DEFAULT if "surrogate" in m.roles],
        "targets": [m.name for m in DEFAULT if "target" in m.roles],
    }
    assert all(name in shown.out for name in default.get(kind, NAMES[kind]))


def test_list_filters(cli: Run) -> None:
    def names(*arguments: str) -> list[str]:
        return [entry["name"] for entry in json.loads(cli("list", *arguments, "--json").out)]

    assert names("models", "--match", "resnet50") == [
        m.name for m in ZOO.models.values() if "resnet50" in m.name
    ]
    assert names("models", "--dataset", "cifar10") == [
        m.name for m in ZOO.models.values() if m.dataset == "cifar10"
    ]
    assert names("datasets", "--dataset", "cifar10") == ["cifar10"]
    assert names("recipes", "--dataset", "fashion-mnist", "--match", "vgg") == ["validator-vgg", "vgg"]
    assert names("attacks", "--match", "mi-FGSM") == ["MI-FGSM", "EMI-FGSM", "VMI-FGSM", "S2I-MI-FGSM"]


def test_attacks_are_listed_by_kind(cli: Run) -> None:
    out = cli("list", "attacks").out
    assert [line for line in out.splitlines() if line.startswith("attacks")] == [
        f"attacks: {kind}" for kind in ("preset", "suite", "another name", "technique")
    ]
    cost = {entry["name"]: entry["cost"] for entry in json.loads(cli("list", "attacks", "--json").out)}
    assert (cost["vmi"], cost["vt"], cost["MI-FGSM"]) == (21, 21, None)
    assert cli("list", "attacks", "--match", "vmi").out.splitlines()[0] == "attacks: preset"


def test_recipes_of_one_minimizer_are_told_apart(cli: Run) -> None:
    found = json.loads(cli("list", "recipes", "--json").out)
    said = {entry["name"]: (entry["beside"], entry["seed"]) for entry in found}
    assert said["resnet50-sgd@14"] == ("", 14)
    assert said["resnet50-ir-sam"] == ("input gradient 0.1", 10)


def test_surrogates_of_one_minimizer_are_told_apart(cli: Run) -> None:
    lines = {line.split()[0]: line for line in cli("list", "surrogates").out.splitlines() if "small_" in line}
    for name, words in {
        "resnet50-sgd": "sgd  ",
        "resnet50-early": "sgd, stopped by transfer ",
        "resnet50-sat": "sgd, adversarial l2:0.1 ",
        "resnet50-ir": "sgd, input gradient 0.1 ",
    }.items():
        assert f"=8   {words}" in lines[name]


@pytest.mark.parametrize("name", [names[-1] for names in NAMES.values()] + ["fashion-mnist/vgg"])
def test_show(cli: Run, name: str) -> None:
    found = json.loads(cli("show", name, "--json").out)
    assert found
    assert all(entry["kind"] for entry in found)
    shown = cli("show", name)
    assert (shown.code, shown.err) == (0, "")
    for entry in found:
        assert f"{entry['kind']} {entry['name']}" in shown.out
        keys = {key.replace("_", " ") for key, value in entry.items() if value} - {"kind", "name", *TEXTS}
        assert all(re.search(rf"^ ?{key}\b", shown.out, re.MULTILINE) for key in keys)
        assert all(entry.get(key, "") in shown.out for key in TEXTS)


def test_show_knows_whatever_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    for name in {name for names in NAMES.values() for name in names}:
        show(name, json=True)
        assert json.loads(capsys.readouterr().out)[0]["kind"]


def test_show_knows_checkpoint_folders(cli: Run, tmp_path: Path) -> None:
    copytree(BUILTIN / "resnet50-sam", tmp_path / "mine")
    (found,) = json.loads(cli("show", "./mine", "--json").out)
    listed, *_ = json.loads(cli("show", "fashion-mnist/resnet50-sam", "--json").out)
    assert (found["kind"], found["name"], found["dataset"]) == ("model", "mine", "fashion-mnist")
    assert found["files"] == listed["files"]


FLIPS: dict[str, tuple[str, ...]] = {
    "dataset": ("--dataset", "twin"),
    "split": ("--split", "test"),
    "surrogates": ("-s", "resnet50-sam"),
    "targets": ("-t", "resnet18"),
    "ensemble": ("--ensemble",),
    "targeted": ("--targeted", "next"),
    "curve": ("--curve", "1,2"),
    "attacks": ("--attack", "mi"),
    "images": ("--images", "5"),
    "images_correct_for": ("--images-correct-for", "none"),
    "seed": ("--seed", "1"),
    "batch_size": ("--batch-size", "3"),
    "precision": ("--precision", "bf16"),
    "compile": ("--compile",),
    "protocol": ("--protocol", "bare"),
}
BUDGETS: dict[str, tuple[str, ...]] = {
    "techniques": ("--attack", "di"),
    "norm": ("--norm", "l2", "--epsilon", "16/255"),
    "epsilon": ("--epsilon", "8/255"),
    "step": ("--step", "eps/5"),
    "steps": ("--steps", "20"),
}


def test_every_flag_arrives(cli: Run, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each flag changes its own field of the plan, and so the run folder; a plan loads and writes nothing."""
    monkeypatch.setattr("transferzoo.models.checkpoint.load_network", None)
    twin = ZOO.dataset("fashion-mnist").model_dump(mode="json", exclude={"name", "surrogate", "auditors"})
    models = {
        name: {"roles": ["target"], "source": f"builtin:fashion-mnist/{name}"}
        for name in ("resnet50-sgd", "vgg")
    }
    protocols = {"bare": {"about": "says nothing else"}}
    content = {"datasets": {"twin": twin}, "models": {"twin": models}, "protocols": protocols}
    (tmp_path / "twin.yaml").write_text(json.dumps(content))
    before = sorted(tmp_path.rglob("*"))
    command = (
        "attack",
        "-s",
        "resnet50-sgd",
        "-t",
        "vgg",
        "--data",
        few,
        "--zoo",
        "twin.yaml",
        "--dry-run",
        "--json",
    )

    def plan(*flags: str) -> dict[str, Any]:
        result = cli(*command, *flags)
        assert result.code == 0, result.err
        return dict(json.loads(result.out))

    plain = plan()
    assert plain["config"].keys() == AttackConfig.model_fields.keys()
    assert FLIPS.keys() == AttackConfig.model_fields.keys() - {"from_end"}  # of studies and searches alone
    folders = {plain["run_folder"]}
    for field, flags in FLIPS.items():
        flipped = plan(*flags)
        folders.add(flipped["run_folder"])
        changed = {key for key, value in flipped["config"].items() if value != plain["config"][key]}
        assert changed - ({"surrogates", "targets"} if field == "dataset" else set()) == {field}
    (first,) = plain["config"]["attacks"]
    assert BUDGETS.keys() == first.keys() == AttackSpec.model_fields.keys()
    for field, flags in BUDGETS.items():
        flipped = plan(*flags)
        folders.add(flipped["run_folder"])
        (spec,) = flipped["config"]["attacks"]
        assert {key for key, value in spec.items() if value != first[key]} == {field}
    assert len(folders) == len(FLIPS) + len(BUDGETS) + 1
    assert sorted(tmp_path.rglob("*")) == before


def test_plan(cli: Run, few: Path) -> None:
    plan = json.loads(cli(*ATTACK, "--data", few, "-a", "mi", "--dry-run", "--json").out)
    canonical = "mi:decay=1,normalise=mean@linf,eps=16/255,step=eps/2,steps=2"
    assert plan["attacks"] == [canonical]
    source = {"surrogate": "fashion-mnist/resnet50-sgd", "attack": canonical}
    assert plan["gradient_evaluations"] == {
        "per_image": [{**source, "gradients": 2}],
        "images": 6,
        "in_all": 12,
    }
    assert plan["exists"] is False
    names = ["fashion-mnist/resnet18", "fashion-mnist/resnet50-sgd", "fashion-mnist/vgg"]
    assert sorted(plan["loads"]) == sorted(plan["models"]) == names
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in plan["models"].values())
    written = [f"plan.{kind}" for kind in ("json", "csv", "md")]
    done = cli(*ATTACK, "--data", few, "-a", "mi", "--dry-run", *(f"--output={name}" for name in written))
    said = " ".join(done.out.split())
    assert json.loads(Path("plan.json").read_text()) == plan
    assert all("resnet50-sgd" in Path(name).read_text() for name in written)
    assert "resnet50-sgd 2 On 6 images, 12 gradient evaluations in all; targets: " in said
    assert f"Run folder: {plan['run_folder']}." in said
    both = ("-a", "mi", "-a", "di", "--images", 5000)
    more = " ".join(cli(*ATTACK, "--data", few, *both, "--dry-run").out.split())
    assert "resnet50-sgd 2 mi resnet50-sgd 2 di" in more
    whole = json.loads(cli(*ATTACK, "--data", few, *both, "--dry-run", "--json").out)["gradient_evaluations"]
    assert f"On {whole['images']} images, {4 * whole['images']} gradient evaluations" in more
    assert whole["images"] < 5000, "as many as there are"


def test_table_files_and_report_agree(cli: Run, few: Path, tmp_path: Path) -> None:
    files = [tmp_path / "out" / f"t.{suffix}" for suffix in ("json", "csv", "md", "tex")]
    outputs = [part for file in files for part in ("--output", file)]
    surrogates = ("-s", "resnet50-sam")
    first = cli(*ATTACK, *surrogates, "--data", few, *outputs)
    assert first.code == 0, first.err
    assert "Paired tests against resnet50-sgd" in first.out
    (run,) = (tmp_path / "runs").iterdir()
    assert f"Run folder: runs/{run.name}" in first.err
    written = [file.read_text() for file in files]
    again = cli("report", run, *outputs)
    assert again.out == first.out
    assert [file.read_text() for file in files] == written
    as_json = cli("report", run, "--json")
    assert as_json.out == written[0]
    content = json.loads(as_json.out)
    assert len(content["records"]) == 4
    assert len(content["paired_tests"]) == 1
    assert all(record["seconds"] > 0 for record in content["records"])
    assert cli(*ATTACK, *surrogates, "--data", few, "--json").out == as_json.out
    assert cli("report", run, run).out == first.out


@pytest.mark.parametrize("joins", [False, True])
def test_every_attack_runs(cli: Run, few: Path, joins: bool) -> None:
    """Those of one surrogate in one run, those that join several in another."""
    named = [*ZOO.presets, "mi", "di", "ti", "rs", "pgd+mi", "fgsm+di:p=1", "ti+di+mi+rs"]
    read = {name: expand(name, ZOO, 28)[0] for name in named}
    joined = {name: one for name, one in read.items() if one.joins == joins}
    costs = {one.canonical: one.cost(2, 2 if joins else 1) for one in joined.values()}
    asked = [word for name in joined for word in ("-a", name)]
    more = ("-s", "resnet50-sam", "--ensemble") if joins else ()
    flags = ("-t", "vgg", *asked, "--images", 3, "--steps", 2, "--data", few, "--json")
    result = cli(*ATTACK[:3], *more, *flags)
    assert result.code == 0, result.err
    records = json.loads(result.out)["records"]
    assert {record["attack"].partition("@")[0]: record["gradients"] for record in records} == costs
    assert all(record["n"] == 3 and record["low"] <= record["rate"] <= record["high"] for record in records)


def test_images_beyond_the_data_are_all_images(cli: Run, tmp_path: Path) -> None:
    data = data_folder(tmp_path / "data", range(12))
    result = cli(*ATTACK, "--images", 1000, "--images-correct-for", "none", "--data", data, "--json")
    assert {record["n"] for record in json.loads(result.out)["records"]} == {12}
