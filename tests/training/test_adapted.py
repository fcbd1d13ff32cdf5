"""Surrogates for images of somebody's own: which, trained on what, once."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import transferzoo
from helpers.data_layouts import picture
from helpers.stripes import draw
from transferzoo.base.errors import DataError, UsageError
from transferzoo.datasets.disk import open_index
from transferzoo.datasets.own import own_images
from transferzoo.datasets.shares import rows_of_share
from transferzoo.datasets.sources import load_split, measured
from transferzoo.models import checkpoint
from transferzoo.models.fitting import fitting_surrogates
from transferzoo.models.recipe_file import read_recipe
from transferzoo.training import adapted
from transferzoo.training.adaptations import adaptations
from transferzoo.training.adapted import adapted_surrogates
from transferzoo.training.own_data import USUAL, usual_options
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from transferzoo.training.progress import Progress
    from transferzoo.zoo.reader import Zoo

KINDS = ("lying", "standing", "chequered")
SMALL = ("small_resnet18:width=8", "small_mobilenet:width=8")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return class folders of stripes in colour."""
    home, batch = tmp_path_factory.mktemp("own") / "photos", draw(120, 3)
    for place, (image, label) in enumerate(zip(batch.images, batch.labels.tolist(), strict=True)):
        folder = home / KINDS[label]
        folder.mkdir(parents=True, exist_ok=True)
        picture(image.expand(3, -1, -1)).save(folder / f"{place:03}.png")
    return home


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Train tiny networks for two epochs, into a cache of the test's own."""
    monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("transferzoo.training.adaptations.FRESH", SMALL)
    monkeypatch.setattr("transferzoo.training.own_data.USUAL", (USUAL[0]._replace(most=1e9, epochs=2),))


def of_its_own(root: Path) -> tuple[Zoo, str]:
    zoo, name, _ = own_images(load_zoo(), None, root)
    return measured(zoo, name), name


def test_shares_part_every_class_alike() -> None:
    labels = np.array([0] * 10 + [1] * 100 + [2] * 1 + [0] * 10)
    seen, rest = rows_of_share(labels, (0, 0.7)), rows_of_share(labels, (0.7, 1))
    assert sorted([*seen, *rest]) == list(range(len(labels)))
    assert np.bincount(labels[seen]).tolist() == [14, 70, 1]
    assert seen.tolist() != sorted([*range(7), *range(10, 80), 110, *range(111, 118)]), "it is a draw"


def test_no_image_is_seen_by_a_training_and_attacked(photos: Path) -> None:
    zoo, name = of_its_own(photos)
    spec = zoo.dataset(name)
    parts = {split: set(load_split(spec, split).names) for split in ("test", "train", "unseen")}
    assert parts["train"] | parts["unseen"] == parts["test"]
    assert not parts["train"] & parts["unseen"]
    streamed = {split: open_index(spec, split, None) for split in parts}
    for split, index in streamed.items():
        names = {str(Path(index.where(place)).relative_to(photos)) for place in range(len(index.labels))}
        assert names == parts[split], "streamed images are those of memory"
    assert len({index.digest for index in streamed.values()}) == len(parts)


def test_surrogates_are_trained_once_on_images_that_are_not_attacked(photos: Path, small: None) -> None:
    zoo, name = of_its_own(photos)
    steps: list[int] = []

    def surrogates() -> adapted.Surrogates:
        return adapted_surrogates(zoo, name, 2, on_progress=lambda _, at: steps.append(at.step))

    first = surrogates()
    assert first.split == "unseen"
    assert [one.model.name for one in first.trained] == ["small_resnet18-sam", "small_mobilenet-sam"]
    seen = load_split(zoo.dataset(name), "train")
    assert all(one.images + one.held_out == len(seen) for one in first.trained)
    done = len(steps)
    assert done > 0
    assert surrogates() == first
    assert len(steps) == done, "nothing is trained twice"
    recipe = read_recipe(first.models[0].folder)
    assert recipe is not None
    assert recipe["accuracy"] is None, "the images that are attacked are not measured on"
    assert recipe["validation"]["accuracy"] == first.trained[0].accuracy


def test_a_stopped_training_goes_on_and_ends_with_the_same_weights(photos: Path, small: None) -> None:
    zoo, name = of_its_own(photos)
    ((one,), _) = adaptations(zoo, name, 1)

    class Stop(Exception):
        pass

    def stop(at: Progress) -> None:
        if at.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        adapted.train_once(one, on_progress=stop)
    steps: list[int] = []
    adapted.train_once(one, on_progress=lambda at: steps.append(at.step))
    assert steps[0] > 1, "the first epoch is not repeated"


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_the_number_of_processes_changes_no_bit(
    photos: Path, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three surrogates in two processes are those of one, in the same order, and every step is told of."""

    def trained(jobs: int) -> tuple[list[tuple[str, float, str]], list[tuple[str, int]]]:
        monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / f"{jobs}"))
        steps: list[tuple[str, int]] = []
        zoo, name = of_its_own(photos)
        found = adapted_surrogates(
            zoo, name, 3, jobs=jobs, on_progress=lambda one, at: steps.append((one.model.name, at.step))
        )
        made = [(one.model.name, one.accuracy, checkpoint.digest(one.model.folder)) for one in found.trained]
        return made, sorted(steps)

    assert trained(2) == trained(1)


def test_what_is_forecast_is_the_longest_share(
    photos: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those on small images are dealt out to the processes; those on large ones are trained by themselves."""
    planned, _ = adaptations(*of_its_own(photos), 3)
    alone = iter((1.0, 10.0, 100.0))
    seconds = {one.folder: next(alone) for one in planned}
    monkeypatch.setattr(
        "transferzoo.training.adaptations.Adaptation.seconds", lambda self: seconds[self.folder]
    )
    assert [adapted.seconds_of_all(planned, jobs) for jobs in (1, 2, 3, 9)] == [111, 101, 100, 100]
    large = replace(planned[0], dataset=planned[0].dataset.model_copy(update={"size": 224}))
    assert adapted.seconds_of_all((large, *planned[1:]), 2) == 1 + 100


def test_the_zoos_surrogates_come_first(tmp_path: Path, photos: Path) -> None:
    zoo = load_zoo()
    found = [model.name for model in fitting_surrogates(zoo, "fashion-mnist")]
    assert found[0] == zoo.dataset("fashion-mnist").surrogate
    assert len(found) == 3
    kinds = [model.weights and model.weights.architecture for model in fitting_surrogates(zoo, "cifar10")]
    assert len(set(kinds)) == 3, "of three architectures"
    target = fitting_surrogates(zoo, "cifar10")[0]
    assert target not in fitting_surrogates(zoo, "cifar10", apart_from=[target])
    assert fitting_surrogates(*of_its_own(photos)) == ()
    for name, grey in (("grey", True), ("coloured", False)):
        for kind in ("bag", "Sneaker"):
            (tmp_path / name / kind).mkdir(parents=True)
            image = picture(torch.randint(0, 256, (1 if grey else 3, 40, 40), dtype=torch.uint8))
            image.save(tmp_path / name / kind / "0.png")
    assert [model.name for model in fitting_surrogates(*of_its_own(tmp_path / "grey"))] == found
    assert fitting_surrogates(*of_its_own(tmp_path / "coloured")) == (), "grey models read no colours"


def test_images_that_are_attacked_are_not_trained_on(photos: Path, tmp_path: Path) -> None:
    zoo, name = of_its_own(photos)
    with pytest.raises(UsageError, match="would be trained on the 'test' images"):
        adaptations(zoo, name, split="test")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "train").symlink_to(photos)
    with pytest.raises(UsageError, match="move some of the images into test/"):
        adaptations(*of_its_own(tmp_path / "a"))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "test").symlink_to(photos)
    with pytest.raises(DataError, match="no images to train surrogates on"):
        adaptations(*of_its_own(tmp_path / "b"))


def test_usual_options_fit_any_number_of_images() -> None:
    """Every number of images leaves more than a batch to train on."""
    for count in (20, 100, 101, 500, 2_000, 2_001, 30_000, 1_000_000):
        found = usual_options(count, fine_tuned=False)
        assert found["batch_size"] <= count - found["validation"]
        assert usual_options(count, fine_tuned=True)["epochs"] < found["epochs"]


def test_surrogates_are_loaded_with_images_to_attack(photos: Path, small: None) -> None:
    """What a program gets is what the command line trains: the same names, and images that were not seen."""
    models, batch = transferzoo.load_surrogates(photos, 1)
    zoo, name = of_its_own(photos)
    assert [*models] == [model.name for model in adapted_surrogates(zoo, name, 1).models]
    assert not {*batch.names} & {*load_split(zoo.dataset(name), "train").names}
    assert models["small_resnet18-sam"](batch.images / 255).shape == (len(batch), len(KINDS))
