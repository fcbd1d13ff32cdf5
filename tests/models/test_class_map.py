"""Models whose classes are more, fewer or in another order than the data's: which of them are the data's."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from helpers.checkpoints import copied, data_folder, labels, with_classes
from helpers.refusals import refused
from transferzoo.models.class_map import describe, map_classes
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from helpers.refusals import Run

OURS = load_zoo().dataset("fashion-mnist").classes


def numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


@pytest.mark.parametrize(
    ("theirs", "ours", "places", "by_name"),
    [
        (("cat", "dog", "ant"), ("Ant", "dog"), (2, 1), True),
        (("cat", "t-shirt_top"), ("T-shirt/top", "Cat"), (1, 0), True),
        (("cat", "dog"), ("dog", "bee"), (1, None), True),
        (("tench, Tinca tinca", "goldfish, Carassius auratus"), ("goldfish", "Tinca tinca"), (1, 0), True),
        (("house, home", "home, den"), ("home", "den"), (None, 1), True),
        (("LABEL_0", "LABEL_1"), ("cat", "dog"), (0, 1), False),
        (("a", "b"), ("x", "y"), (0, 1), False),
        (numbers(3), ("cat", "dog", "ant"), (0, 1, 2), False),
        (sorted(numbers(12)), numbers(12), (0, 1, *range(4, 12), 2, 3), True),
        (("LABEL_1", "LABEL_0"), numbers(2), (1, 0), True),
        (("#0", "#1", *numbers(3)), numbers(3), (2, 3, 4), True),
        (("1", "2", "3"), numbers(3), (0, 1, 2), False),
        (("20200102", "20200101"), ("20200101", "20200102"), (1, 0), True),
    ],
)
def test_classes_are_mapped_by_name_and_by_number_without_names(
    theirs: Sequence[str], ours: Sequence[str], places: tuple[int | None, ...], by_name: bool
) -> None:
    found = map_classes(theirs, ours)
    assert found is not None
    assert (found.places, found.by_name) == (places, by_name)


def test_nothing_is_guessed() -> None:
    assert map_classes(numbers(5), ("cat", "dog", "ant")) is None
    assert map_classes(numbers(5), numbers(3)) is None
    assert map_classes(("x", "y", "z"), ("cat", "dog")) is None


IMAGENETTE = {  # from the list of Imagenette, https://github.com/fastai/imagenette
    "n01440764": ("tench", 0),
    "n02102040": ("English springer", 217),
    "n02979186": ("cassette player", 482),
    "n03000684": ("chain saw", 491),
    "n03028079": ("church", 497),
    "n03394916": ("French horn", 566),
    "n03417042": ("garbage truck", 569),
    "n03425413": ("gas pump", 571),
    "n03445777": ("golf ball", 574),
    "n03888257": ("parachute", 701),
}


@pytest.mark.parametrize("background", [0, 1])
@pytest.mark.parametrize("named", ["ids", "words"])
def test_imagenette_on_models_of_imagenet(named: str, background: int) -> None:
    """By folder or by word, on a model without names and on one with torchvision's words."""
    from torchvision.models import ResNet18_Weights

    ours = tuple(IMAGENETTE) if named == "ids" else tuple(word for word, _ in IMAGENETTE.values())
    places = tuple(number + background for _, number in IMAGENETTE.values())
    words = ("background",) * background + tuple(ResNet18_Weights.DEFAULT.meta["categories"])
    for theirs in (numbers(1000 + background), words):
        found = map_classes(theirs, ours)
        assert found is not None
        assert (found.places, found.count) == (places, 1000 + background)
        assert f"of the {len(theirs):,} of 'm', 10 are the data's, by name" in describe(
            "m", theirs, ours, found
        )


def test_a_thousand_classes_and_the_background() -> None:
    found = map_classes(numbers(1001), numbers(1000))
    assert found is not None
    assert found.places == tuple(range(1, 1001))
    assert "background aside" in describe("m", numbers(1001), numbers(1000), found)
    same = map_classes(numbers(1000), numbers(1000))
    assert same is not None
    assert describe("m", numbers(1000), numbers(1000), same) == ""


# ---------------------------------------------------------------- in an attack


ORDER = (9, -1, 3, 0, 1, 8, -1, 7, 2, 4, 6, 5, -1)
NAMES = tuple(OURS[at] if at >= 0 else f"stranger {place}" for place, at in enumerate(ORDER))


@pytest.fixture
def records(cli: Run, few: Path) -> Callable[..., tuple[list[Any], str]]:
    def attack(*models: object) -> tuple[list[Any], str]:
        done = cli("attack", *models, "--data", few, "--steps", 2, "--images", 6, "--json")
        assert done.code == 0, done.err
        found = json.loads(done.out)["records"]
        said = ("n", "successes", "rate", "target_accuracy")
        return [{key: one[key] for key in said if key in one} for one in found], done.err

    return attack


def test_more_classes_in_another_order_count_as_the_data_has_them(
    records: Callable[..., tuple[list[Any], str]], tmp_path: Path
) -> None:
    """A model with its classes shuffled among others is as good a surrogate and target as it was."""
    with_classes(copied("resnet18", tmp_path / "named"), ORDER, NAMES)
    nameless = with_classes(copied("resnet18", tmp_path / "nameless"), ORDER, None)
    shutil.copy(nameless / "model.safetensors", tmp_path / "bare.safetensors")
    written = ("bare.safetensors", "--architecture", f"small_resnet18:num_classes={len(ORDER)}")
    rows = [f"{OURS[at] if at >= 0 else ''},{place}" for place, at in enumerate(ORDER)]
    (tmp_path / "map.csv").write_text("\n".join(["data,model", *rows]))
    for role, other in (("-t", ("-s", "vgg")), ("-s", ("-t", "vgg"))):
        expected, _ = records(role, "resnet18", *other)
        named, said = records(role, "./named", *other)
        by_file, _ = records(role, "./nameless", *other, "--classes", "map.csv")
        bare, _ = records(role, *written, *other, "--classes", "map.csv")
        assert named == by_file == bare == expected
        assert (
            "Classes: of the 13 of 'named', 10 are the data's, by name: T-shirt/top is 3, Trouser is 4"
            in said
        )


def test_images_of_classes_that_a_model_does_not_know_are_left_out(cli: Run, tmp_path: Path) -> None:
    data = data_folder(tmp_path / "data", range(40))
    kept = (3, 2, 1, 0, 4, 5, 8, 9)
    with_classes(copied("resnet18", tmp_path / "less"), kept, [OURS[at] for at in kept])
    command = ("attack", "-s", "vgg", "-t", "./less", "--data", data, "--steps", 1)
    done = cli(*command, "--images-correct-for", "none", "--json")
    assert done.code == 0, done.err
    assert "Left out: images of 2 classes that not every model knows (Shirt, Sneaker)." in done.err
    (record,) = json.loads(done.out)["records"]
    assert record["n"] == sum(label in kept for label in labels()[:40])


def test_models_that_know_too_little_in_common(cli: Run, few: Path, tmp_path: Path) -> None:
    with_classes(copied("resnet18", tmp_path / "one"), (0, -1, -1), [OURS[0], "x", "y"])
    command = ("attack", "-s", "vgg", "--data", few, "--steps", 1, "-t", "./one")
    refused(cli(*command), 1, "know too few of the classes", "--classes FILE")


ZOO = """schema: 1
datasets:
  mine: {{classes: [{names}], channels: 1, size: 28, splits: {{sample: [local:data]}}}}
"""


def test_a_mended_order_of_classes_is_another_run(cli: Run, few: Path, tmp_path: Path) -> None:
    """Of a model that names its classes: with the same weights its logits stand in another order."""
    (copied("vgg", tmp_path / "named") / "recipe.json").unlink()
    runs, planes = {}, set()
    for name, classes in (("wrong", reversed(OURS)), ("right", OURS)):
        (tmp_path / f"{name}.yaml").write_text(ZOO.format(names=", ".join(map(json.dumps, classes))))
        words = ("--zoo", f"{name}.yaml", "--dataset", "mine", "--data", few, "--images-correct-for", "none")
        models = ("-s", "./named", "-t", "./named", "--allow-inaccurate")
        done = cli("attack", *words, *models, "--steps", 1, "--json")
        assert done.code == 0, done.err
        (record,) = json.loads(done.out)["records"]
        runs[name] = record["target_accuracy"]
        plane = ("--zoo", f"{name}.yaml", "--dataset", "mine", "--data", few, "--split", "sample", "--json")
        found = cli("sharpness", "--slice", "./named", "--points", 2, "--images", 20, *plane)
        planes.add(json.loads(found.out)["losses"][0][0])
    assert runs["wrong"] < 0.2 < 0.8 < runs["right"]
    assert len(planes) == 2
