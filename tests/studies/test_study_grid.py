"""What cells of a study depend on: its keys, its targets, and which weights epochs mean."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from helpers.stripes import ZOO, config, draw
from helpers.stripes import spec as stripes
from helpers.studies import STUDY, write_study
from transferzoo.base.environment import Environment, environment
from transferzoo.base.errors import DataError, TransferZooError
from transferzoo.base.frozen_model import fingerprint
from transferzoo.models.classifier import load_checkpoint
from transferzoo.models.sources.checkpoint_folder import LocalFolder
from transferzoo.studies import references
from transferzoo.studies.digests import files_digest, model_digest
from transferzoo.studies.finished import Finished, RecordedCells
from transferzoo.studies.grid import build_grid
from transferzoo.studies.schema import read_study
from transferzoo.studies.store import Store
from transferzoo.studies.worker import Task, _worker_context, run_cell
from transferzoo.training.feeds import Memory
from transferzoo.training.trainer import train
from transferzoo.zoo.reader import load_zoo
from transferzoo.zoo.schema import ROLES, ModelSpec

if TYPE_CHECKING:
    from transferzoo.studies.cells import Cell, Grid

VGG = Path(str(files("transferzoo"))) / "assets" / "fashion-mnist" / "vgg"
LAST_AND_BEST = ("sgd, seed 0", "best, seed 0, epoch selected")
EXISTING = """
about: Does it transfer?
dataset: fashion-mnist
surrogates:
  one: {model: ONE}
targets: [resnet18]
"""


def _grid(folder: Path, study: str = STUDY, zoo: str = ZOO, machine: Environment | None = None) -> Grid:
    folder.mkdir(exist_ok=True)
    write_study(folder, study)
    (folder / "zoo.yaml").write_text(zoo)
    return build_grid(
        read_study(folder / "study.yaml"), load_zoo(folder / "zoo.yaml"), folder / "data", machine
    )


def _cells(grid: Grid, kind: str) -> list[Cell]:
    return [cell for cell in grid.cells.values() if cell.kind == kind]


def _digests(grid: Grid) -> list[str]:
    """Return the digests of the surrogates that exist, each once."""
    return list(dict.fromkeys(cell.inputs["surrogate"]["digest"] for cell in _cells(grid, "attack")))


def _packaged(folder: Path, study: str) -> Grid:
    (folder / "study.yaml").write_text(study)
    return build_grid(read_study(folder / "study.yaml"), load_zoo(None), None)


@pytest.mark.parametrize(
    ("part", "other"),
    [("mean: [0.5]", "mean: [0.4]"), ("[lying, standing, chequered]", "[standing, lying, chequered]")],
)
def test_every_cell_depends_on_how_images_are_read(part: str, other: str, tmp_path: Path) -> None:
    changed = _grid(tmp_path / "two", zoo=ZOO.replace(part, other))
    assert not _grid(tmp_path / "one").cells.keys() & changed.cells.keys()


@pytest.mark.parametrize("field", ["arithmetic", "device", "math"])
def test_every_cell_depends_on_how_it_is_computed(field: str, tmp_path: Path) -> None:
    here = environment()
    other = {
        "arithmetic": here._replace(arithmetic=here.arithmetic + 1),
        "device": here._replace(device="another"),
        "math": here._replace(math="another"),
    }[field]
    grids = [_grid(tmp_path / "one"), _grid(tmp_path / "one", machine=other)]
    assert not grids[0].cells.keys() & grids[1].cells.keys()
    task = Task("", tmp_path, base=tmp_path, environment=other)
    with pytest.raises(TransferZooError, match="does not compute as the study began"):
        run_cell(task, "key")


def test_options_at_their_default_are_in_no_key(tmp_path: Path) -> None:
    """Written out or not, they are the same cells; so an option that comes later orphans none."""
    written = STUDY.replace("train: {", "train: {clip: 0, mixup: 0, storage: fp32, ")
    assert written != STUDY
    grids = [_grid(tmp_path / "one"), _grid(tmp_path / "two", study=written)]
    assert grids[0].cells.keys() == grids[1].cells.keys()
    for cell in _cells(grids[0], "train"):
        assert not {"clip", "mixup", "storage", "momentum"} & cell.inputs["config"].keys()


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    store, grid = Store(tmp_path / "store"), _grid(tmp_path / "one")
    cell = next(iter(grid.cells.values()))
    store.check()
    with store.claimed(cell):
        store.save(cell, {}, 0.0, {})
    store.check()
    for content in ('{"schema": 99}', "{", None):
        version = tmp_path / "store" / "store.json"
        version.unlink() if content is None else version.write_text(content)
        with pytest.raises(DataError, match=r"of another version|cannot read"):
            store.check()


def test_no_cell_depends_on_words_about_a_data_set(tmp_path: Path) -> None:
    other = ZOO.replace("licence: MIT", "licence: CC0-1.0").replace("tests/helpers/stripes.py", "elsewhere")
    assert _grid(tmp_path / "one").cells.keys() == _grid(tmp_path / "two", zoo=other).cells.keys()


@pytest.mark.parametrize("changed", ["std", "samples"])
def test_models_of_equal_weights_are_two_where_something_else_differs(changed: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        shutil.copytree(VGG, folder)
    both = EXISTING.replace("one: {model: ONE}", f"one: {{model: {one}}}\n  two: {{model: {two}}}")
    assert len(_digests(_packaged(tmp_path, both))) == 1
    if changed == "std":
        config: dict[str, Any] = json.loads((two / "config.json").read_text())
        config["pretrained_cfg"]["std"] = [0.7]
        (two / "config.json").write_text(json.dumps(config))
    else:
        (two / "samples").mkdir()
        shutil.copy(VGG / "model.safetensors", two / "samples" / "0001.safetensors")
    grid = _packaged(tmp_path, both)
    assert [grid.models[digest].folder for digest in _digests(grid)] == [one, two]


def test_a_target_of_the_study_that_exists_is_that_model(tmp_path: Path) -> None:
    study = EXISTING.replace("ONE", "resnet50-sgd") + "others: {rival: {model: vgg}}\n"
    grid = _packaged(tmp_path, study.replace("[resnet18]", "[rival]"))
    (cell,) = grid.cells.values()
    (target,) = cell.inputs["targets"]
    assert target["name"] == "rival"
    assert grid.models[target["digest"]].folder == VGG


def test_a_target_counts_once(tmp_path: Path) -> None:
    study = EXISTING.replace("ONE", "resnet50-sgd")
    (once,), (twice,) = (
        _packaged(tmp_path, study.replace("[resnet18]", targets)).cells.values()
        for targets in ("[resnet18, vgg]", "[resnet18, vgg, resnet18, fashion-mnist/vgg]")
    )
    assert once.inputs["targets"] == twice.inputs["targets"]


def test_the_last_epoch_is_the_last_one_also_where_another_is_selected(tmp_path: Path) -> None:
    how = "select: accuracy, validation: 24"
    study = STUDY.replace("sgd: {epoch: all}", f"sgd: {{{how}}}\n  best: {{{how}, epoch: selected}}")
    cells = {cell.label: cell.inputs for cell in _cells(_grid(tmp_path, study), "attack")}
    last, best = (cells[f"bim from {name}"]["surrogate"] for name in LAST_AND_BEST)
    assert (last["part"], best["part"]) == ("epochs/0002", "")
    assert last["cell"] == best["cell"]


def test_results_tell_the_versions_that_cells_were_done_with(tmp_path: Path) -> None:
    grid, store = _grid(tmp_path), Store(tmp_path / "store")
    for cell, version in zip(_cells(grid, "train")[:3], ("2.13", "2.14", "2.13"), strict=True):
        store.save(cell, {"curve": [{}, {}]}, 1.0, {"torch": version})
    assert Finished(grid, store, RecordedCells()).results().versions == {"torch": "2.13, 2.14"}


def _points(grid: Grid, name: str, seed: int = 0) -> dict[int | str, tuple[bool, bool]]:
    """Return epoch → whether it is attacked, and whether its sharpness is measured."""
    own = [point for point in grid.points if (point.surrogate, point.seed) == (name, seed)]
    return {point.epoch: (bool(point.attacks), point.sharpness is not None) for point in own}


def test_a_list_of_epochs_is_cells_of_all_of_them(tmp_path: Path) -> None:
    every = _grid(tmp_path / "all", STUDY.replace("epochs: 2", "epochs: 3"))
    few = _grid(
        tmp_path / "few", STUDY.replace("epochs: 2", "epochs: 3").replace("epoch: all", "epoch: [1, 3]")
    )
    assert list(_points(few, "sgd")) == [1, 3]
    assert few.cells.keys() < every.cells.keys()
    left_out = [cell.label for key, cell in every.cells.items() if key not in few.cells]
    assert left_out == [
        f"{what} sgd, seed {s}, epoch 2" for s in (0, 1) for what in ("bim from", "robustness of")
    ]


def test_a_list_of_the_last_epoch_saves_no_others(tmp_path: Path) -> None:
    alone = STUDY.replace("epoch: all", "epoch: [last]")
    assert (
        _grid(tmp_path / "list", alone).cells.keys()
        == _grid(tmp_path / "one", STUDY.replace("epoch: all", "epoch: last")).cells.keys()
    )
    both = _grid(tmp_path / "both", STUDY.replace("epoch: all", "epoch: [1, last]"))
    assert list(_points(both, "sgd")) == [1, "last"]


def test_sharpness_has_epochs_and_seeds_of_its_own(tmp_path: Path) -> None:
    own = STUDY.replace("only: [sam]", "only: [sgd], epochs: [2, 1], seeds: [1]")
    own = own.replace("{epoch: all}", "{epoch: 2}")
    grid = _grid(tmp_path / "own", own)
    assert _points(grid, "sgd", 0) == {2: (True, False)}
    assert _points(grid, "sgd", 1) == {2: (True, True), 1: (False, True)}
    assert _points(grid, "sam", 1) == {"last": (True, False)}
    usual = _grid(tmp_path / "usual", STUDY.replace("only: [sam]", "only: [sgd]"))
    assert grid.cells.keys() < usual.cells.keys(), "where and of which seeds is in no key"


def test_a_claim_about_sharpness_has_the_seeds_that_it_is_measured_of(tmp_path: Path) -> None:
    sides = (
        "higher: {surrogate: sam, measure: sharpness.top}, lower: {surrogate: sam, measure: sharpness.top}"
    )
    study = STUDY.replace("{surrogate: sam}", "SAM").replace("{surrogate: sgd}", "SGD")
    study = study.replace("higher: SAM, lower: SGD", sides)
    _grid(tmp_path / "some", study.replace("only: [sam]", "only: [sam], seeds: [1]"))
    with pytest.raises(TransferZooError, match=r"'sharpness.top' of 'sam' is not measured"):
        _grid(tmp_path / "none", study.replace("only: [sam]", "only: [sgd], seeds: [1]"))


def test_images_whose_digest_is_known_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the workers either, which find the same cells."""
    grid = _grid(tmp_path)
    assert grid.digests == {tmp_path / "data": files_digest(tmp_path / "data")}
    monkeypatch.setattr(references, "files_digest", None)
    task = Task(
        grid.study.model_dump_json(),
        tmp_path / "store",
        tmp_path / "data",
        tmp_path / "zoo.yaml",
        digests=tuple(grid.digests.items()),
    )
    context = _worker_context(task)
    assert context.grid.cells == grid.cells
    assert _worker_context(task) is context
    assert _worker_context(replace(task, store=tmp_path / "other")) is not context
    assert _worker_context(task) is not context, "however many rounds a search has, the images are there once"


def test_seeds_come_one_after_the_other(tmp_path: Path) -> None:
    """What is done of a study that still runs is whole seeds; results are by surrogate all the same."""
    grid = _grid(tmp_path)
    trained = [cell.label for cell in _cells(grid, "train") if "judge" not in cell.label]
    assert trained == [f"train {name}, seed {seed}" for seed in (0, 1) for name in ("sgd", "sam")]
    order = [(point.surrogate, point.seed) for point in grid.points]
    assert list(dict.fromkeys(order)) == [("sgd", 0), ("sgd", 1), ("sam", 0), ("sam", 1)]


PINNED = {"train": "9385c71442586c9f", "attack": "d37ae296cf1a2113", "sharpness": "47c80c6dda975bf1"}


@pytest.mark.parametrize("kind", PINNED)
def test_keys_are_those_of_committed_records(kind: str, tmp_path: Path) -> None:
    """Records carry keys: those of what was computed must stay; another arithmetic is another environment."""
    grid = _grid(tmp_path, machine=Environment(1, "cpu", "highest"))
    keys = sorted(cell.key for cell in _cells(grid, kind))
    assert fingerprint(keys)[:16] == PINNED[kind]


def test_a_training_on_the_answers_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cell follows the weights that answer, no other cell does; it trains on their answers."""
    monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / "cache"))
    dataset, images = stripes(tmp_path), draw(96, 0)
    teachers = [tmp_path / "first", tmp_path / "second"]
    for seed, folder in enumerate(teachers):
        train(config(seed=seed, learning_rate=0.05), dataset, draw(64, 5), None, folder)

    def trainings(minimizer: str) -> tuple[Grid, dict[str, Cell]]:
        grid = _grid(tmp_path / "one", STUDY.replace('"sam:rho=0.1"', minimizer))
        return grid, {cell.label: cell for cell in _cells(grid, "train")}

    _, plain = trainings('"sam:rho=0.1"')
    (grid, taught), (_, other) = (trainings(f'"sam:rho=0.1", labels_from: "{folder}"') for folder in teachers)
    sam, sgd = "train sam, seed 0", "train sgd, seed 0"
    assert taught[sam].inputs["labels"]["digest"] == model_digest(
        ModelSpec(name="any", dataset="stripes", roles=ROLES, source=LocalFolder(teachers[0]))
    )
    assert plain[sgd].key == taught[sgd].key
    assert len({cells[sam].key for cells in (plain, taught, other)}) == 3
    study, store = grid.study.model_dump_json(), tmp_path / "store"
    run_cell(Task(study, store, tmp_path / "one" / "data", tmp_path / "one" / "zoo.yaml"), taught[sam].key)
    recipe = json.loads((store / "train" / taught[sam].key / "model" / "recipe.json").read_text())
    with torch.no_grad():
        answers = load_checkpoint(teachers[0], dataset)(images.images.float() / 255).argmax(1)
    assert not torch.equal(answers, images.labels)
    answered = replace(images, labels=answers, ids=torch.arange(96))
    assert recipe["data"]["sha256"] == Memory(answered, dataset, config()).identity["sha256"]
