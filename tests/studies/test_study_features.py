"""Data sets of features: images that look alike to a model, and labels that images were aimed at."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from helpers.stripes import draw
from helpers.studies import STUDY, write_study
from transferzoo.models.classifier import load_checkpoint
from transferzoo.models.predict import predict
from transferzoo.studies import derived, features
from transferzoo.studies.grid import build_grid
from transferzoo.studies.schema import find_study
from transferzoo.studies.worker import Task, run_cell
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from transferzoo.studies.cells import Grid

pytestmark = pytest.mark.usefixtures("one_thread")
KINDS = ("robust", "non-robust", "deterministic", "random")
MADE = "".join(
    f"  {kind}: {{features: {kind}, model: teacher, images: 60, epsilon: 2, step: 0.2, steps: 15}}\n"
    for kind in KINDS
)
WITH_FEATURES = STUDY.replace("surrogates:\n", f"data:\n{MADE}surrogates:\n")
WITH_FEATURES = WITH_FEATURES.replace("others:\n", "others:\n  teacher: {epochs: 6, seeds: [3]}\n").replace(
    "sgd: {epoch: all}",
    "sgd: {epoch: all}\n" + "\n".join(f"  on-{k}: {{data: {k}, seeds: [0]}}" for k in KINDS),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Grid, Task, dict[str, Any]]:
    """Run the cells that make features, and those they need; return them by kind."""
    folder = tmp_path_factory.mktemp("features")
    write_study(folder, WITH_FEATURES)
    zoo, study = load_zoo(folder / "zoo.yaml"), find_study(str(folder / "study.yaml"))
    task = Task(study.model_dump_json(), folder / "store", folder / "data", folder / "zoo.yaml")
    grid = build_grid(study, zoo, task.root)
    wanted = [cell for cell in grid.cells.values() if cell.kind == "derive"]
    for key in dict.fromkeys(need for cell in wanted for need in cell.needs):
        run_cell(task, key)
    for cell in wanted:
        run_cell(task, cell.key)
    return grid, task, {cell.inputs["features"]: task.store / "derive" / cell.key for cell in wanted}


def _teacher(made: tuple[Grid, Task, dict[str, Any]]) -> Any:
    grid, task, _ = made
    (key,) = {cell.needs[0] for cell in grid.cells.values() if cell.kind == "derive"}
    return load_checkpoint(task.store / "train" / key / "model", load_zoo(task.zoo).dataset("stripes"))


def test_the_last_features_come_close_to_those_wanted(made: tuple[Grid, Task, dict[str, Any]]) -> None:
    teacher, images = _teacher(made), draw(96, 0).select(range(60))
    found = derived.read_derived(made[2]["robust"])
    with torch.no_grad():
        goal = features._features(teacher, images.images / 255)
        got = features._features(teacher, found.images / 255)
        order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
        other = features._features(teacher, images.images[order] / 255)
    assert (got - goal).norm(dim=1).mean() < 0.5 * (other - goal).norm(dim=1).mean()
    assert torch.equal(found.labels, images.labels)
    pixels = (found.images.float() - images.images.float()).abs().mean()
    assert pixels > 20, "they begin at other images, and stay away from these in pixels"


def test_the_last_features_are_what_the_last_layer_sees(made: tuple[Grid, Task, dict[str, Any]]) -> None:
    teacher, images = _teacher(made), draw(8, 0).images / 255
    last = [part for part in teacher.modules() if isinstance(part, torch.nn.Linear)][-1]
    with torch.no_grad():
        assert torch.allclose(last(features._features(teacher, images)), teacher(images), atol=1e-6)


@pytest.mark.parametrize("kind", ["deterministic", "random"])
def test_adversarial_images_have_the_class_they_aim_at(
    made: tuple[Grid, Task, dict[str, Any]], kind: str
) -> None:
    images, found = draw(96, 0).select(range(60)), derived.read_derived(made[2][kind])
    if kind == "deterministic":
        assert torch.equal(found.labels, (images.labels + 1) % 3)
    else:
        assert {0, 1, 2} == set(found.labels.tolist())
        assert not torch.equal(found.labels, images.labels)
    predictions = predict(_teacher(made), found.images)
    assert (predictions == found.labels).float().mean() > 0.7
    moved = (found.images.double() - images.images.double()).flatten(1).norm(dim=1) / 255
    assert moved.max() <= 2


def test_each_data_set_waits_for_its_model_and_is_waited_for(made: tuple[Grid, Task, dict[str, Any]]) -> None:
    grid = made[0]
    trained = {cell.label: cell for cell in grid.cells.values() if cell.kind == "train"}
    for kind in KINDS:
        (key,) = trained[f"train on-{kind}, seed 0"].needs
        assert grid.cells[key].inputs["features"] == kind
        assert [grid.cells[need].label for need in grid.cells[key].needs] == ["train teacher, seed 3"]


def test_a_model_is_trained_on_what_was_made(made: tuple[Grid, Task, dict[str, Any]]) -> None:
    grid, task, _ = made
    (cell,) = [c for c in grid.cells.values() if c.label == "train on-random, seed 0"]
    run_cell(task, cell.key)
    recipe = json.loads((task.store / "train" / cell.key / "model" / "recipe.json").read_text())
    assert recipe["data"]["n"] == 60
