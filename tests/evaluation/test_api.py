"""The main job for programs: the README's example, and agreement with the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

import transferzoo
from helpers.refusals import ATTACK
from transferzoo import evaluate, load_images, load_model, read_attack, tables
from transferzoo.base.errors import DataError, UsageError

if TYPE_CHECKING:
    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")
MIXING = "mi+di+admix:partners=1,scales=2"
README = Path(__file__).parent.parent.parent / "README.md"


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert example.count("\n") <= 15
    (tmp_path / "example.py").write_text(example)
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "success rate" in done.stdout


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
    result = evaluate(attack, model, {"same": Dark(), "other": other}, images, labels, name="mine")
    assert [r.outcomes for r in result.records] == ["0110", "0110"]
    assert [r.white_box for r in result.records] == [True, False]
    assert [r.gradients for r in result.records] == [4, 4]
    assert result.visibility[0].linf == 16
    assert model.training
    with pytest.raises(DataError, match="classify none of them"):
        evaluate(attack, model, {"same": Dark()}, images, 1 - labels)


def test_wrong_names_are_sentences() -> None:
    with pytest.raises(UsageError, match="no single model"):
        load_model("*net*")
    with pytest.raises(UsageError, match="unknown norm 'l3'"):
        read_attack("mi", norm="l3")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        transferzoo.nothing  # noqa: B018


def test_public_names_exist() -> None:
    assert sorted([*transferzoo._PUBLIC, "__version__"]) == sorted(transferzoo.__all__)
    assert all(getattr(transferzoo, name) for name in transferzoo.__all__)
