"""Models that are code, in every option of every command that takes a model: nothing of them runs unasked."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import pytest
from typer.utils import get_params_from_function

from helpers.refusals import refused
from transferzoo.cli import completion
from transferzoo.cli.app import COMMANDS

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")
NAME, OTHER = "own:make", "validator-resnet18"
COMPLETED = (
    completion.complete_surrogates,
    completion.complete_targets,
    completion.complete_validators,
    completion.complete_models,
    completion.complete_names,
    completion.complete_pulls,
)
"""What completes the options that take models."""
REFUSED = {
    ("attack", "surrogate"): f"attack -s {NAME} -t {OTHER}",
    ("attack", "targets"): f"attack -s {OTHER} -t {NAME}",
    ("audit", "model"): f"audit {NAME}",
    ("audit", "surrogate"): f"audit vgg -s {NAME}",
    ("score", "targets"): f"score fashion-mnist-three -t {NAME}",
    ("compare", "surrogate"): f"compare di --alone -s {NAME}",
    ("compare", "validator"): f"compare di --alone -s vgg --validator {NAME}",
    ("search", "surrogate"): f"search -s {NAME}",
    ("search", "validator"): f"search -s vgg --validator {NAME}",
    ("sharpness", "models"): f"sharpness {NAME}",
    ("sharpness", "between"): f"sharpness --between {OTHER} {NAME}",
    ("sharpness", "slice_"): f"sharpness --slice {NAME}",
    ("sharpness", "targets"): f"sharpness --between vgg {OTHER} -t {NAME}",
    ("train", "start"): f"train --from {NAME} --architecture small_vgg",
    ("train", "labels_from"): f"train --architecture small_vgg --labels-from {NAME}",
    ("train", "validators"): f"train --architecture small_vgg --select transfer --validator {NAME}",
}
"""Command and parameter → how code is given to it."""
NOT_RUN = {
    ("show", "name"): f"show {NAME}",
    ("pull", "names"): f"pull {NAME}",
    ("push", "model"): f"push {NAME} --repo owner/name --licence mit --dry-run",
}
"""Likewise, where code is no reason to refuse: it is not run anyway."""
STUDY = """about: Is code refused?
dataset: fashion-mnist
split: sample
surrogates: {{one: {{{surrogate}}}}}
targets: [{target}]
"""
STUDIES = {
    "surrogate": STUDY.format(surrogate=f"model: {NAME}", target=OTHER),
    "target": STUDY.format(surrogate=f"model: {OTHER}", target=NAME),
    "start": STUDY.format(surrogate=f"train: {{start: {NAME}, architecture: small_vgg}}", target=OTHER),
}


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a module that must not be imported into the working folder."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own.py").write_text("raise SystemExit('this ran')")


def test_every_option_that_takes_a_model_is_tried() -> None:
    taken = {
        (command, parameter.name)
        for command, (run, _) in COMMANDS.items()
        for parameter in get_params_from_function(run).values()
        if getattr(parameter.default, "autocompletion", None) in COMPLETED
    }
    assert taken == REFUSED.keys() | NOT_RUN.keys()


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("command", REFUSED.values())
def test_code_is_refused(cli: Run, command: str) -> None:
    refused(cli(*shlex.split(command)), 2, f"'{NAME}' is code, which is not run unasked", "add --allow-code")
    assert "own" not in sys.modules


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("command", NOT_RUN.values())
def test_code_is_not_run(cli: Run, command: str) -> None:
    assert "this ran" not in cli(*shlex.split(command)).err
    assert "own" not in sys.modules


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("where", STUDIES)
def test_code_in_a_study_is_refused(cli: Run, tmp_path: Path, where: str) -> None:
    (tmp_path / "study.yaml").write_text(STUDIES[where])
    words = (f"'{NAME}' is code, which is not run unasked", "add --allow-code")
    refused(cli("study", "study.yaml", "--dry-run"), 2, *words)
    assert "own" not in sys.modules


ZOO = """schema: 1
datasets:
  mine:
    classes: [T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot]
    channels: 1
    size: 28
    splits: {{sample: ["builtin:fashion-mnist"]}}
    auditors: [{auditors}]
models:
  mine:
    mine:
      roles: [surrogate]
      source: "python:own:make"
    hers:
      roles: [target]
      source: "python:own:make"
    target:
      roles: [target]
      source: "builtin:fashion-mnist/vgg"
"""


@pytest.mark.usefixtures("code")
def test_a_zoo_files_code_is_not_chosen_unasked(cli: Run, tmp_path: Path) -> None:
    """Neither by `auto` nor by an audit, which have others; named as an auditor, it is refused."""
    for name, auditors in (("plain", ""), ("named", "mine")):
        (tmp_path / f"{name}.yaml").write_text(ZOO.format(auditors=auditors))
    plan = ("--dataset", "mine", "--dry-run", "--zoo")
    for words in (("attack", "-s", "auto", "-t", "target"), ("audit", "target")):
        done = cli(*words, *plan, "plain.yaml")
        assert done.code == 0 and "Running code" not in done.err
    audit = ("audit", "target", *plan, "named.yaml")
    refused(cli(*audit), 2, f"'{NAME}' is code, which is not run unasked", "add --allow-code")
    assert "own" not in sys.modules
    assert "Running code" in cli(*audit, "--allow-code").err
