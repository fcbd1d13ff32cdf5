"""What commands do where little is said: the default recipe, a bare data set, no surrogate."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from rich.progress import Progress as Bar

from helpers.checkpoints import SAMPLE
from helpers.data_layouts import as_folder, as_idx, as_listing, as_parquet, pixels, spec, write_parquet
from helpers.refusals import refused
from helpers.stripes import draw
from transferzoo.base.train_config import TrainConfig
from transferzoo.cli import training_log
from transferzoo.datasets.sources import measured
from transferzoo.minimizers import show_rule
from transferzoo.studies.digests import dataset_digest
from transferzoo.training.progress import Progress
from transferzoo.zoo.reader import Zoo, load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """Return a folder with 128 training images, those of the built-in sample."""
    (tmp_path / "images").mkdir()
    table = pq.read_table(SAMPLE).slice(0, 128)
    pq.write_table(table, tmp_path / "images" / "train-00000-of-00001.parquet")
    return tmp_path / "images"


def test_a_minimizer_alone_trains_the_recipe_of_the_default_data_set(cli: Run, training: Path) -> None:
    short = ("--epochs", 1, "--validation", 0)
    done = cli("train", "--minimizer", "gsam", "--data", training, *short, "--json")
    assert done.code == 0, done.err
    folder = Path(json.loads(done.out)["folder"])
    assert folder.name.startswith("small_resnet50-gsam-")
    trained = TrainConfig(**json.loads((folder / "recipe.json").read_text())["config"])
    assert trained.minimizer == show_rule("gsam")
    changes = {"minimizer": trained.minimizer, "epochs": 1, "validation": 0}
    changes |= {"rho_schedule": "rate", "rho_floor": 0.5}  # GSAM's radius follows the rate
    assert trained == load_zoo().recipe("resnet50-sgd").model_copy(update=changes)
    said = (
        f"Training small_resnet50:width=8 with {trained.minimizer} by the recipe resnet50-sgd, on the images"
    )
    assert f"{said} of fashion-mnist from {training}." in done.err.splitlines()
    again = cli("train", "--minimizer", "gsam", "--data", training, *short, "--json")
    assert again.code == 0 and "Training" not in again.err, "it is finished"


def test_every_built_in_data_set_has_a_recipe_and_a_surrogate_of_its_own() -> None:
    zoo = load_zoo()
    for name, data in zoo.datasets.items():
        assert zoo.recipe(str(data.recipe)).dataset == name
        assert zoo.models[f"{name}/{data.surrogate}"].is_published


def test_a_new_field_of_data_sets_changes_no_key_of_finished_cells() -> None:
    data = load_zoo().dataset("fashion-mnist")
    assert dataset_digest(data).startswith("966850ebb7c5a2f9"), "finished studies have it in their keys"


def test_an_attack_without_a_surrogate_is_from_the_usual_one(cli: Run, few: Path) -> None:
    done = cli("attack", "-t", "vgg", "--data", few, "--dry-run", "--json")
    assert json.loads(done.out)["config"]["surrogates"] == ["fashion-mnist/resnet50-lsam"]
    assert "Surrogate: resnet50-lsam, the usual one of fashion-mnist; --surrogate names another." in done.err


# ---------------------------------------------------------------- a data set of one's own

STRIPES = """
datasets:
  mine:
    classes: [lying, standing, chequered]
    splits: {train: ["local:train"], test: ["local:test"]}
"""


@pytest.fixture
def stripes_of_my_own(tmp_path: Path) -> Path:
    """Write images in two splits, and a zoo file that says classes and splits, and nothing else."""
    for split, count, seed in (("train", 160, 0), ("test", 40, 1)):
        batch = draw(count, seed)
        write_parquet(
            tmp_path / split / f"{split}-00000-of-00001.parquet", batch.images, batch.labels.tolist()
        )
    (tmp_path / "mine.yaml").write_text(STRIPES)
    return tmp_path / "mine.yaml"


def test_the_commands_that_are_told_lead_to_an_attack(cli: Run, stripes_of_my_own: Path) -> None:
    """From a data set without any model: every next step is the command in the error before."""

    def told(*words: str) -> str:
        done = cli("attack", "--dataset", "mine", "--zoo", "mine.yaml", *words)
        assert (done.code, done.out) == (2, "")
        return done.err

    def trained(error: str, *more: str) -> str:
        command = shlex.split(error.split("`")[1])
        done = cli(*command[1:], *more, "--epochs", 6, "--batch-size", 16, "--lr", "0.02", "--json")
        assert done.code == 0, done.err
        return f"./{json.loads(done.out)['folder']}"

    error = told()
    assert (
        "'mine' has no surrogate yet; train one: `transferzoo train --dataset mine --minimizer sam" in error
    )
    surrogate = trained(error)
    assert json.loads((Path(surrogate) / "config.json").read_text())["architecture"] == "small_resnet18"
    error = told("-s", surrogate)
    assert "'mine' has no target yet; train one: " in error
    target = trained(error, "--architecture", "small_vgg:width=4")
    budget = ("--steps", 2, "--images", 10, "--json")
    done = cli("attack", "--dataset", "mine", "--zoo", "mine.yaml", "-s", surrogate, "-t", target, *budget)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert len(found["records"]) == 1
    (config,) = Path("runs").glob("*/config.json")
    assert json.loads(config.read_text())["config"]["attacks"][0]["epsilon"] == "8/255"


def test_what_cannot_be_trained_is_not_proposed(cli: Run, tmp_path: Path) -> None:
    as_parquet(tmp_path / "data", pixels())
    entry = "datasets: {mine: {classes: 3, splits: {test: ['local:data']}}}"
    (tmp_path / "mine.yaml").write_text(entry)
    told = "'mine' has no surrogate yet; name one of your own with --surrogate."
    refused(cli("attack", "--dataset", "mine", "--zoo", "mine.yaml"), 2, told)


LAYOUTS: list[Callable[[Path, torch.Tensor], list[int]]] = [as_parquet, as_idx, as_folder, as_listing]


def alone(place: Path, **changes: Any) -> Zoo:
    """Return a zoo with one data set, which leaves out what its images say."""
    fields = {"channels": 0, "size": 0, "mean": (), "std": (), "splits": {"test": (f"local:{place}",)}}
    return Zoo({"tiny": spec(**{**fields, **changes})}, {}, {}, {}, {}, {})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_say_how_large_they_are(tmp_path: Path, layout: Callable[[Path, Any], list[int]]) -> None:
    (tmp_path / "data").mkdir()
    layout(tmp_path / "data", pixels(size=9))
    zoo = alone(tmp_path / "data")
    found = measured(zoo, "tiny").dataset("tiny")
    assert (found.channels, found.size, found.mean, found.std) == (1, 9, (0.5,), (0.5,))
    assert found.fit == "squash"
    assert measured(zoo, "tiny", root=tmp_path / "data").dataset("tiny") == found


def test_what_the_entry_says_counts_more_than_the_images(tmp_path: Path) -> None:
    as_parquet(tmp_path, pixels(channels=3, size=9))
    said = {"mean": (0.1, 0.2, 0.3), "size": 6}
    found = measured(alone(tmp_path, **said), "tiny").dataset("tiny")
    assert (found.channels, found.size, found.mean, found.std) == (3, 6, said["mean"], (0.5,) * 3)
    whole = alone(tmp_path, channels=1, size=8, mean=(0.5,), std=(0.5,))
    assert measured(whole, "tiny") is whole, "no image is looked at"


def test_large_images_are_cut_to_a_usual_size(tmp_path: Path) -> None:
    wide = pixels(count=1, channels=3, size=300)[..., :260, :]
    write_parquet(tmp_path / "test-00000-of-00001.parquet", wide, [0])
    found = measured(alone(tmp_path), "tiny").dataset("tiny")
    assert (found.channels, found.size, found.fit) == (3, 224, "crop")


# ---------------------------------------------------------------- what is wrong in a zoo file


def test_all_missing_keys_come_at_once(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "datasets:\n  toys:\n    licence: MIT\nmodels:\n  fashion-mnist:\n    a: {licence: MIT}\n"
        "    b: {roles: [target]}\n"
    )
    refused(
        cli("list", "--zoo", "mine.yaml"),
        2,
        "mine.yaml, line 2, key 'datasets.toys': keys 'classes', 'splits' are missing; "
        "line 6, key 'models.fashion-mnist.a': keys 'roles', 'source' are missing; "
        "line 7, key 'models.fashion-mnist.b': key 'source' is missing.",
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "recipe: resnet50-sgdd",
            ("line 5, key 'datasets.toys.recipe': unknown recipe", "mean resnet50-s"),
        ),
        ("surrogate: vgg", ("line 5, key 'datasets.toys.surrogate': unknown surrogate 'vgg'",)),
        ("size: 3", ("a size of at least 4 pixels",)),
        ("mean: [0, 0, 0]\n    std: [1]", ("one mean and one std for each of the 3 channels",)),
        ("attack: {norm: l2}", ("an epsilon too, where the norm is l2",)),
        ("attack: {split: tset}", ("attack.split to be one of the splits (test)",)),
    ],
)
def test_wrong_keys_of_a_data_set(cli: Run, tmp_path: Path, line: str, words: tuple[str, ...]) -> None:
    entry = "datasets:\n  toys:\n    classes: 2\n    splits: {test: ['local:x']}\n    "
    (tmp_path / "mine.yaml").write_text(f"{entry}{line}\n")
    refused(cli("list", "--zoo", "mine.yaml"), 2, *words)


def test_the_first_split_is_attacked_where_none_is_called_test(tmp_path: Path) -> None:
    entry = "datasets:\n  {name}:\n    classes: 2\n    splits: {{{splits}}}\n"
    for name, splits, attacked in (
        ("one", "train: ['local:x'], test: ['local:y']", "test"),
        ("two", "held: ['local:x'], more: ['local:y']", "held"),
    ):
        (tmp_path / f"{name}.yaml").write_text(entry.format(name=name, splits=splits))
        assert load_zoo(tmp_path / f"{name}.yaml").dataset(name).attack.split == attacked


# ---------------------------------------------------------------- how long it takes


def at(step: int, steps: int) -> Progress:
    return Progress(1, 1, step, steps, 1.0, 0.5, 100.0)


@pytest.mark.parametrize(
    ("first", "seconds", "radii", "lines"),
    [
        (1, [0, 2, 4, 6], 0, ["About 3 min to go on this machine."]),  # 97 steps of 2 s
        (1, [0, 2, 4, 6], 3, ["About 3 min to go for each of 3 radii on this machine."]),
        (1, [0, 600], 0, ["About 16.3 h to go on this machine."]),
        (51, [0, 10], 0, ["Going on after step 50 of 100.", "About 8 min to go on this machine."]),
        (97, [0, 1, 3], 0, ["Going on after step 96 of 100."]),
        (1, [0, 1], 0, []),
    ],
)
def test_the_time_is_told_once_when_it_is_known(
    monkeypatch: pytest.MonkeyPatch, first: int, seconds: list[float], radii: int, lines: list[str]
) -> None:
    told: list[str] = []
    now = [0.0]
    monkeypatch.setattr(training_log, "log", told.append)
    monkeypatch.setattr(training_log, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with Bar(disable=True) as bar:
        log = training_log.TrainingLog(bar, "This is trained.", radii)
        for step, now[0] in enumerate(seconds, first):
            log.advance(Progress(1, 1, step, 100, 1.0, 0.5, 100.0))
    assert told == ["This is trained.", *lines]
