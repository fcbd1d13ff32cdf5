"""How many images a dry run says that a target will be asked about, against what it is asked about then."""

from __future__ import annotations

import importlib
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from helpers.oip_server import Served, serving
from helpers.short_attack import TRY
from transferzoo.models.sources import python_function

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread", "cache")
PAUSE = 0.003
COUNTING = f"""
import time
import torch
from transferzoo import load_model

vgg, asked = load_model("vgg"), []

def scores(images):
    time.sleep({PAUSE} * len(images))
    asked.append(len(images))
    with torch.no_grad():
        return vgg(images)

def labels(images):
    return scores(images).argmax(1)
"""
ATTACK = ("-a", "bim", "-a", "mi", "--steps", 2, "--curve", 1, "--images", 20, "--images-correct-for", "none")


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Write a module whose functions count the images that they are asked about; return the counts."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "counting_models.py").write_text(COUNTING)
    yield importlib.import_module("counting_models").asked
    sys.modules.pop("counting_models", None)
    python_function.facts.cache_clear()


@pytest.mark.parametrize(
    ("target", "flags", "counts"),
    [
        ("scores", (), {"clean": 60, "adversarial": 80, "noise": 20}),
        ("scores", ("-a", "mi+di:p=0.5"), {"clean": 60, "adversarial": 120, "noise": 20}),
        ("labels", (), {"clean": 60, "adversarial": 80, "noise": 0}),
        ("labels", ("--noise",), {"clean": 60, "adversarial": 80, "noise": 20}),
        ("labels|smooth:sigma=0.1,n=3", (), {"clean": 180, "adversarial": 240, "noise": 0}),
    ],
)
def test_a_function_is_asked_about_as_many_images_as_was_said(
    cli: Run, few: Path, counting: list[int], target: str, flags: tuple[object, ...], counts: dict[str, int]
) -> None:
    command = (*TRY[:3], "--data", few, "-t", f"counting_models:{target}", *ATTACK, *flags, "--allow-code")
    (planned,) = json.loads(cli(*command, "--dry-run", "--json").out)["queries"]
    in_all = sum(counts.values())
    assert planned.pop("estimated_seconds") >= round(PAUSE * in_all, 1)
    assert planned == {"target": f"fashion-mnist/{target}", **counts, "in_all": in_all}
    counting.clear()
    done = cli(*command)
    assert done.code == 0, done.err
    assert sum(counting) == in_all
    (again,) = json.loads(cli(*command, "--dry-run", "--json").out)["queries"]
    assert again["clean"] == 0, "these answers are kept"


def test_a_served_model_is_not_asked_by_a_dry_run(cli: Run, few: Path) -> None:
    def scores(images: NDArray[Any]) -> NDArray[Any]:
        return images.reshape(len(images), -1)[:, :10]

    service = Served(scores)
    with serving(service) as url:
        command = (*TRY[:3], "--data", few, "-t", f"oip:{url}", *ATTACK, "--allow-inaccurate")
        (planned,) = json.loads(cli(*command, "--dry-run", "--json").out)["queries"]
        assert service.requests == []
        assert planned["estimated_seconds"] is None
        assert (planned["clean"], planned["adversarial"], planned["noise"]) == (60, 80, 20)
        assert cli(*command).code == 0
        repeated = 20  # after one step bim and mi have the same images, and nothing is asked twice
        assert sum(service.requests) == planned["in_all"] - repeated


def test_other_targets_are_not_counted(cli: Run, few: Path) -> None:
    assert "queries" not in json.loads(cli(*TRY, "--data", few, "--dry-run", "--json").out)
