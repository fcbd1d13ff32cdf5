"""The shell offers what a command takes, and nothing else."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, get_args

import pytest

from transferzoo.attacks.configure import configure, expand
from transferzoo.base.attack_config import TARGET_CLASS_RULES, AttackConfig, AttackSpec
from transferzoo.base.train_config import TrainConfig
from transferzoo.defences import read_defence
from transferzoo.minimizers import read_rule
from transferzoo.models.resolve import select_models
from transferzoo.studies.schema import find_study
from transferzoo.sync.items import select_items
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result

    Offered = Callable[[str], list[str]]

ZOO = load_zoo()


@pytest.fixture
def offered(cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Offered:
    """Return what bash is offered behind a line."""

    def offers(line: str) -> list[str]:
        words = shlex.split(line)
        with monkeypatch.context() as patch:
            patch.setenv("_TRANSFERZOO_COMPLETE", "complete_bash")
            patch.setenv("COMP_WORDS", line)
            patch.setenv("COMP_CWORD", str(len(words) - (not line.endswith(" "))))
            done = cli()
        assert (done.code, done.err) == (0, "")
        return done.out.split()

    return offers


def test_surrogates_are_taken(offered: Offered) -> None:
    names = offered("transferzoo attack -s ")
    assert {"all", "resnet50-sam"} <= set(names)
    assert not {"vgg", "validator-vgg", "vit-b16-sam", "imagenet/vit-b16-sam"} & set(names)
    assert select_models(ZOO, names, "fashion-mnist", "surrogate")


def test_another_data_set_has_other_models(offered: Offered) -> None:
    names = offered("transferzoo attack --dataset imagenet -s ")
    assert "vit-b16-sam" in names and "resnet50-sam" not in names  # which nobody has published
    assert select_models(ZOO, names, "imagenet", "surrogate")


def test_targets_and_defences(offered: Offered) -> None:
    names = offered("transferzoo attack -s resnet50-sam -t ")
    assert {"all", "vgg"} <= set(names) and "resnet50-sam" not in names
    assert select_models(ZOO, names, "fashion-mnist", "target")
    assert offered("transferzoo attack -t vgg,dense") == ["vgg,densenet"]
    defended = offered("transferzoo attack -t 'vgg|b'")
    assert "vgg|bits" in defended
    assert all(read_defence(name.partition("|")[2]) for name in defended)


def test_attacks(offered: Offered) -> None:
    names = offered("transferzoo attack -a ")
    assert {"pgd", "mi", "singles"} <= set(names) and "MI-FGSM" not in names
    for name in names:
        assert configure(ZOO, "fashion-mnist", [name], ["a"], ["b"], {}, weights={"a": 2}).attacks
    added = offered("transferzoo attack -a mi+")
    assert {"mi+di", "mi+gi"} <= set(added) and not {"mi+singles", "mi+mi"} & set(added)
    assert offered("transferzoo attack -a TI") == ["TI-DIM", "TI-FGSM", "TIM"]
    assert all(expand(name, ZOO) for name in offered("transferzoo sharpness --between a b -a "))


@pytest.mark.parametrize("command", ["search", "compare"])
def test_techniques(offered: Offered, command: str) -> None:
    assert offered(f"transferzoo {command} mi mumo") == ["mumodig"]


def test_kinds_to_list(offered: Offered) -> None:
    assert offered("transferzoo list stu") == ["studies"]


@pytest.mark.parametrize("command", ["train --minimizer ", "attack --finetune "])
def test_minimizers(offered: Offered, command: str) -> None:
    names = offered(f"transferzoo {command}")
    assert "gsam" in names and all(read_rule(name) for name in names)


def test_what_comes_from_the_hub(offered: Offered) -> None:
    names = offered("transferzoo pull ")
    assert {"all", "surrogates", "cifar10", "imagenet/vgg16"} <= set(names)
    assert not {"bim", "sam", "small_vgg", "minimizers", "fashion-mnist/vgg"} & set(names)
    assert select_items(ZOO, names)
    few = offered("transferzoo pull --dataset cifar10 ")
    assert {"all", "cifar10", "cifar10/resnet18"} <= set(few) and "imagenet" not in few
    assert select_items(ZOO, few, "cifar10")


def test_names_to_show(offered: Offered, cli: Callable[..., Result]) -> None:
    names = offered("transferzoo show ")
    assert {"vgg", "fashion-mnist", "bim", "singles", "sam", "small_vgg", "bits", "minimizers"} <= set(names)
    assert "all" not in names
    for name in names[:: len(names) // 20]:
        assert cli("show", name).code == 0


def test_paths(offered: Offered, tmp_path: Path) -> None:
    for name in ("mine/deep", "runs/abc", "minima"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("mine/net.onnx", "mine/notes.txt", "mine/all.jsonl.gz", "my.yaml"):
        (tmp_path / name).touch()
    assert offered("transferzoo attack -s mi") == []
    assert offered("transferzoo attack -s ./mi") == ["./mine", "./minima"]
    assert offered("transferzoo attack -t ./mine/") == ["./mine/deep", "./mine/net.onnx"]
    assert offered("transferzoo report mine/") == ["mine/all.jsonl.gz", "mine/deep"]
    assert offered("transferzoo report min") == ["minimizers", "mine", "minima"]
    assert offered(f"transferzoo report {tmp_path}/ru") == [f"{tmp_path}/runs"]
    assert offered("transferzoo study my") == ["my.yaml"]
    assert offered("transferzoo study rh") == ["rho"] and find_study("rho")


@pytest.mark.parametrize(
    "option", ["augment", "precision", "storage", "schedule", "rho-schedule", "save-every", "select"]
)
def test_values_of_trainings(offered: Offered, option: str) -> None:
    field = TrainConfig.model_fields[option.replace("-", "_")]
    assert set(offered(f"transferzoo train --{option} ")) == set(get_args(field.annotation))


def test_values_of_attacks(offered: Offered) -> None:
    assert set(offered("transferzoo attack --norm ")) == set(
        get_args(AttackSpec.model_fields["norm"].annotation)
    )
    images = AttackConfig.model_fields["images_correct_for"].annotation
    assert set(offered("transferzoo attack --images-correct-for ")) == set(get_args(images))
    assert set(offered("transferzoo attack --targeted ")) == set(TARGET_CLASS_RULES)
    precisions = get_args(AttackConfig.model_fields["precision"].annotation)
    assert set(offered("transferzoo attack --precision ")) == {*precisions, "auto"}


def test_a_broken_zoo_is_no_complaint(offered: Offered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERZOO_ZOO", "/nowhere.yaml")
    for line in ("attack -s ", "list --dataset ", "train --recipe ", "pull cif"):
        assert set(offered(f"transferzoo {line}")) <= {"all"}
    assert "mi" in offered("transferzoo attack -a m")
