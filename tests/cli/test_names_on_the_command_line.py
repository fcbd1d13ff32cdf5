"""What single names of models stand for: a folder of a name of the zoo, a name in full, an empty one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from helpers.checkpoints import BUILTIN, copied, negated, with_weights
from helpers.refusals import refused

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_folder_of_a_zoo_name_gets_a_name_of_its_own(cli: Run, few: Path, tmp_path: Path) -> None:
    with_weights(copied("vgg", tmp_path / "vgg"), negated)
    models = ("-s", "./vgg", "-t", "vgg", "-t", "./vgg")
    plan = json.loads(cli("attack", *models, "--data", few, "--dry-run", "--json").out)
    own = f"fashion-mnist/vgg ({tmp_path.name})"
    assert plan["loads"] == {own: str(tmp_path / "vgg"), "fashion-mnist/vgg": str(BUILTIN / "vgg")}


def test_models_named_in_full_tell_the_data_set(cli: Run) -> None:
    done = cli("attack", "-s", "cifar10/resnet18-lsam", "-t", "cifar10/vgg16-bn")
    assert "nobody has published weights of 'cifar10/resnet18-lsam'" in done.err
    mixed = cli("attack", "-s", "fashion-mnist/vgg", "-t", "cifar10/vgg16-bn")
    assert "target 'cifar10/vgg16-bn' belongs to another data set" in mixed.err


def test_a_comma_too_many_names_nothing(cli: Run) -> None:
    """Not the working folder, which "" as a path would be."""
    plan = json.loads(cli("attack", "-s", "vgg", "-t", "resnet18,", "--dry-run", "--json").out)
    assert plan["loads"].keys() == {"fashion-mnist/vgg", "fashion-mnist/resnet18"}
    refused(cli("attack", "-s", "vgg", "-t", "", "--dry-run"), 2, "a name of a model is empty")
    for command in ("show", "pull"):
        refused(cli(command, ""), 2, "''")
