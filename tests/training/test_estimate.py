"""What a dry run says of a training: how long a step takes, and what will be done."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch

from helpers.stripes import config, draw, save_every_step, spec, stop_at, write_idx
from transferzoo.models.classifier import Classifier
from transferzoo.training.estimate import step_seconds
from transferzoo.training.trainer import train

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run
    from transferzoo.zoo.schema import DatasetSpec

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a forward pass take a hundredth of a second an image, and nothing else any; return their images.

    A second of steps is timed, as users have it.
    """
    monkeypatch.setattr("transferzoo.training.estimate.LEAST_SECONDS", 1.0)
    now, sizes, forward = 0.0, list[int](), Classifier.forward

    def slow(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        nonlocal now
        now += 0.01 * len(images)
        sizes.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(Classifier, "forward", slow)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    return sizes


@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({}, 1),
        ({"minimizer": "sam"}, 2),
        ({"minimizer": "sam", "micro_batch": 4}, 2),
        ({"minimizer": "sam", "micro_batch": 8, "sync_perturbation": True}, 2),
        ({"minimizer": "looksam:k=4"}, 1.25),
        ({"minimizer": "swa:start=0"}, 1),
        ({"adversarial": "linf:8/255,steps=4"}, 5),
        ({"learning_rate": 1e30, "compile": True, "collect": "lgv"}, 1),
    ],
    ids=str,
)
def test_a_step_is_made_as_the_training_makes_it(
    stripes: DatasetSpec, passed: list[int], changes: dict[str, Any], passes: float
) -> None:
    before = torch.get_rng_state()
    taken = step_seconds(config(**changes), stripes, None)
    assert taken == pytest.approx(0.16 * passes, rel=0.2 if "looksam" in str(changes) else 1e-6)
    assert torch.equal(torch.get_rng_state(), before)


def test_large_images_are_timed_in_small_batches(stripes: DatasetSpec, passed: list[int]) -> None:
    large = stripes.model_copy(update={"size": 224})
    assert step_seconds(config(batch_size=128), large, None) == pytest.approx(1.28)
    assert set(passed) == {2}


def test_of_what_is_fine_tuned(stripes: DatasetSpec, source: Path, passed: list[int]) -> None:
    assert step_seconds(config(start="source"), stripes, source) == pytest.approx(0.16)


# ---------------------------------------------------------------- what a dry run prints


PLAN: tuple[object, ...] = (
    "train",
    "--zoo",
    "stripes.yaml",
    "--dataset",
    "stripes",
    "--architecture",
    "small_vgg:width=4",
)
HERE = "on this machine (cpu, 1 thread) if it stays as busy as it is now"
PLAN += ("--minimizer", "sam", "--batch-size", 16, "--output", "run", "--dry-run")


def rows(text: str) -> dict[str, str]:
    """Return what a table of two columns says: name → value."""
    return {line[:16].strip(): line[16:].strip() for line in text.splitlines() if line[:16].strip()}


@pytest.mark.usefixtures("untimed")
def test_the_plan_for_people(cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes a quarter of a second; a training of it goes on where it was stopped."""
    dataset = spec(tmp_path)
    write_idx(tmp_path / "data", "train", draw(170, 0))
    done = cli(
        *PLAN, "--data", "data", "--epochs", 400, "--lr", 0.05, "--validation", 8, "--save-every", "epoch"
    )
    assert done.code == 0, done.err
    told = rows(done.out)
    assert told == {
        "training": "",
        "what": "value",
        "───────────────": told["───────────────"],
        "images": "162 of stripes, 8 more held out",
        "architecture": "small_vgg:width=4",
        "minimizer": "sam:rho=0.05,base=sgd, 2 passes a step",
        "steps": "4,000: 400 epochs, 16 images a step",
        "learning rate": "0.05",
        "save every": "epoch",
        "time": f"about 17 min {HERE}, 0.25 s a step",
        "folder": "run",
        "--json prints every option."[:16].strip(): "--json prints every option."[16:].strip(),
    }
    save_every_step(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(config(), dataset, draw(170, 0), None, tmp_path / "run", on_progress=stop_at(13))
    assert rows(cli(*PLAN, "--data", "data").out)["folder"] == "run, where step 13 is kept"


@pytest.mark.usefixtures("untimed")
def test_the_plan_for_programs(cli: Run, tmp_path: Path) -> None:
    spec(tmp_path)
    write_idx(tmp_path / "data", "train", draw(170, 0))
    done = cli(*PLAN, "--data", "data", "--epochs", 3, "--collect", "lgv:epochs=2", "--json")
    found = json.loads(done.out)
    assert found.pop("config")["epochs"] == 3
    assert found == {
        "output": "run",
        "passes": 2,
        "images": 170,
        "images_state": "local",
        "downloads": [],
        "steps": 50,
        "device": "cpu",
        "threads": 1,
        "step_seconds": 0.25,
        "estimated_seconds": 12.5,
        "kept_step": None,
    }


@pytest.mark.usefixtures("untimed")
def test_images_that_are_elsewhere(cli: Run, tmp_path: Path) -> None:
    """They are not downloaded for a plan, and too few of them are refused as in a training."""
    spec(tmp_path)
    told = rows(cli(*PLAN).out)
    assert told["images"] == "all of stripes; they are not on this machine: give their folder with --data"
    assert told["time"] == f"about 0.25 s a step {HERE}"
    assert told["steps"] == "10 epochs, 16 images a step"
    hub = json.loads(cli("train", "--recipe", "cifar10-resnet18-sgd", "--dry-run", "--json").out)
    assert (hub["images"], hub["images_state"]) == (None, "hub")
    assert hub["downloads"] == ["uoft-cs/cifar10/plain_text/train-00000-of-00001.parquet"]
    write_idx(tmp_path / "data", "train", draw(15, 0))
    few = cli(*PLAN, "--data", "data")
    assert (few.code, few.out) == (1, "")
    assert few.err == "Error: too few training images: expected at least one batch (16), got 15.\n"
