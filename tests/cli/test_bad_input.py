"""What bad requests get, through the real command line: one sentence, exit code 2, nothing written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from helpers.refusals import ATTACK, nothing_written, refused

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("attack", "-s", "resnet50-smm"), ("unknown surrogate 'resnet50-smm'", "did you mean resnet50-sam")),
        (("attack", "-s", "cifar10/resnet50-sgd"), ("unknown surrogate", "did you mean resnet50-sgd")),
        ((*ATTACK, "-t", "zz*"), ("unknown target 'zz*'", "expected one of")),
        ((*ATTACK, "-a", "mii"), ("unknown attack 'mii'", "expected one of", "did you mean mi")),
        ((*ATTACK, "-a", "mi+dii:p=1"), ("unknown attack 'dii'", "expected one of", "di")),
        ((*ATTACK, "-a", "di:prob=0.5"), ("unknown option 'prob' of technique 'di'", "expected one of", "p")),
        ((*ATTACK, "-a", "di:p=often"), ("option 'p' of technique 'di'", "expected a number", "'often'")),
        ((*ATTACK, "-a", "di:p=2"), ("'p'", "expected", "2")),
        ((*ATTACK, "-a", "mi++di"), ("cannot read '' in 'mi++di'", "as in mi+di:p=0.7")),
        ((*ATTACK, "-a", ""), ("an attack is empty", "'bim' for one without techniques")),
        ((*ATTACK, "-t", "vgg|"), ("no defence behind 'vgg|'", "vgg|bits:depth=3")),
        ((*ATTACK, "-a", "pgd:steps=3"), ("'pgd'", "takes no options")),
        ((*ATTACK, "--epsilon", "-1/255"), ("epsilon must be greater than zero", "8/255", "'-1/255'")),
        ((*ATTACK, "--epsilon", "0"), ("epsilon must be greater than zero", "8/255", "'0'")),
        ((*ATTACK, "--epsilon", "nan"), ("cannot read epsilon", "expected a positive number", "'nan'")),
        ((*ATTACK, "--epsilon", "inf"), ("cannot read epsilon", "expected a positive number", "'inf'")),
        ((*ATTACK, "--epsilon", "1e99999999"), ("cannot read epsilon",)),
        ((*ATTACK, "--epsilon", "4"), ("[0, 1] pixels", "at most 1", "did you mean 4/255?")),
        ((*ATTACK, "--step", "eps/0"), ("step size must be greater than zero",)),
        ((*ATTACK, "--norm", "l3"), ("unknown norm 'l3'", "l2, linf")),
        ((*ATTACK, "--norm", "l2"), ("no default epsilon for l2", "expected --epsilon")),
        ((*ATTACK, "--steps", "0"), ("'steps'", "expected greater than or equal to 1", "got 0")),
        ((*ATTACK, "--images-correct-for", "some"), ("'images_correct_for'", "'all', 'target' or 'none'")),
        ((*ATTACK, "--output", "table.docx"), ("format of table.docx", ".json, .csv, .md or .tex")),
        (("train", "--recipe", "vgg", "--minimizer", "samm"), ("unknown minimizer 'samm'", "sam")),
        (("train", "--architecture", "small_vg"), ("unknown architecture 'small_vg'", "small_vgg")),
        (("train", "--architecture", "small_vgg:depth=3"), ("'depth'", "expected one of", "width")),
        (("train", "--recipe", "resnet50-smm"), ("unknown recipe 'resnet50-smm'", "resnet50-sam")),
        (("train", "--recipe", "vgg", "--epochs", "0"), ("'epochs'", "greater than or equal to 1")),
        (("study", "minimisers"), ("unknown study 'minimisers'", "did you mean minimizers")),
        (("study", "mine.yaml"), ("there is no study file mine.yaml", "a YAML file")),
        (("show", "resnet50-smm"), ("unknown name 'resnet50-smm'", "did you mean resnet50-sam")),
        ((*ATTACK, "-a", "mi-fgm"), ("unknown attack 'mi-fgm'", "did you mean MI-FGSM")),
        ((*ATTACK, "-t", "VGG"), ("unknown target 'VGG'", "did you mean vgg")),
        (("report", "RESNET50"), ("unknown run or study 'RESNET50'", "did you mean resnet50")),
        (("list", "ATTACKS"), ("unknown kind 'ATTACKS'", "did you mean attacks")),
        (("list", "--match", "vggg"), ("unknown part 'vggg' of a name of models", "did you mean vgg")),
        (("list", "studies", "--match", "vgg", "--json"), ("unknown part 'vgg'", "one of beside-sam")),
        (("list", "attacks", "--dataset", "cifar10"), ("attacks belong to no data set", "without --dataset")),
    ],
    ids=lambda value: " ".join(map(str, value)).removeprefix(" ".join(map(str, ATTACK))),
)
def test_usage(cli: Run, tmp_path: Path, arguments: tuple[object, ...], words: tuple[str, ...]) -> None:
    refused(cli(*arguments), 2, *words)
    nothing_written(tmp_path)


def toys(epsilon: str = "1/255", mean: str = "0.5") -> str:
    return f"""datasets:
  toys:
    classes: 3
    channels: 1
    size: 8
    mean: [{mean}]
    std: [0.5]
    splits: {{test: ["local:/nowhere"]}}
    attack: {{split: test, epsilon: {epsilon}}}
    licence: none
    origin: nowhere
"""


MODEL = "models:\n  fashion-mnist:\n    mine:\n      "


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (MODEL + "role: [target]\n      source: local:x\n", 4, ("mine.role'", "unknown key", "mean roles")),
        ("schema: 2\n", 1, ("key 'schema'", "wrong value", "expected 1, got 2")),
        ("modles: {}\n", 1, ("key 'modles'", "unknown key", "did you mean models")),
        (MODEL + "roles: target\n      source: local:x\n", 4, ("mine.roles'", "wrong value", "'target'")),
        (MODEL + "roles: [victim]\n      source: local:x\n", 4, ("roles.0'", "'target' or 'validator'")),
        (MODEL + "roles: [target]\n      source: ftp:x\n", 5, ("mine.source'", "wrong value", "'ftp:x'")),
        (MODEL + "roles: [target]\n", 3, ("fashion-mnist.mine'", "key 'source' is missing")),
        (MODEL + "source: local:x\n      source: local:y\n", 5, ("'source' stands twice", "line 4")),
        (MODEL + "{roles: [target], source: local:x, recipe: vvg}", 4, ("unknown recipe 'vvg'", "mean vgg")),
        (MODEL.replace("mnist", "mnits") + "{roles: [target], source: local:x}", 2, ("unknown data set",)),
        ("recipes:\n  r: {dataset: cifar, architecture: small_vgg}\n", 2, ("'cifar'", "mean cifar10")),
        ("recipes:\n  r: {dataset: cifar10, architecture: x, epochs: no}\n", 2, ("r.epochs'", "integer")),
        ("recipes:\n  r: {dataset: cifar10, architecture: x, seed: 2024-01-01}\n", None, ("date",)),
        ("attacks:\n  a:\n    about: x\n    epsilon: 4\n", 4, ("a.epsilon'", "string")),
        ("attacks:\n  a: {about: x, epsilon: '4'}\n", 2, ("did you mean 4/255",)),
        (toys(epsilon="-1/255"), 9, ("toys.attack'", "greater than zero")),
        (toys(mean="0, 1"), 2, ("toys'", "one mean and one std")),
        ("models: [1, 2\n", 2, ("not valid YAML",)),
        ("- a\n- b\n", None, ("expected a mapping", "got list")),
        ("models: &a {x: *a}\n", None, ("wrong content",)),
    ],
)
def test_zoo_file(cli: Run, tmp_path: Path, text: str, line: int | None, words: tuple[str, ...]) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    place = f"mine.yaml, line {line}" if line else "mine.yaml"
    refused(cli("list", "--zoo", "mine.yaml"), 2, place, *words)


def test_zoo_file_that_cannot_be_read(cli: Run, tmp_path: Path) -> None:
    refused(cli("list", "--zoo", "nowhere.yaml"), 2, "nowhere.yaml: no such file", "check --zoo")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    refused(cli("list", "--zoo", "binary.yaml"), 2, "binary.yaml", "not UTF-8")


def test_preset_with_an_unknown_technique(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("attacks: {mine: {spec: mi+dii, about: x}}")
    refused(cli(*ATTACK, "-a", "mine", "--zoo", "mine.yaml"), 2, "preset 'mine'", "'dii'", "did you mean di")
