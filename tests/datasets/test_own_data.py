"""Images of the user's own, without a zoo file: which data set they are taken for, and what it knows."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

import transferzoo
from helpers.archives import zipped
from helpers.checkpoints import copied, data_folder
from helpers.data_layouts import as_structs, picture, pixels, spec, write_idx, write_listing, write_table
from helpers.refusals import refused
from helpers.stripes import draw
from transferzoo.base.errors import DataError
from transferzoo.datasets.disk import open_index
from transferzoo.datasets.labels import checked, of_folder
from transferzoo.datasets.own import own_images
from transferzoo.datasets.sources import load_split, measured
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run
    from transferzoo.datasets import Batch
    from transferzoo.zoo.schema import DatasetSpec

KINDS = ("chequered", "lying", "standing")


def own(root: Path, split: str | None = None) -> tuple[DatasetSpec, Batch, list[str]]:
    """Return what a place is taken for, the images of a split of it, and what was said."""
    said: list[str] = []
    zoo, name, place = own_images(load_zoo(), None, root, said.append, said.append)
    assert place is None, "it is a data set of its own"
    found = measured(zoo, name, split).dataset(name)
    return found, load_split(found, split or found.attack.split), said


def class_folders(home: Path, count: int = 12, seed: int = 0) -> Path:
    """Write stripes as class folders, in colour."""
    batch = draw(count, seed)
    for index, (image, label) in enumerate(zip(batch.images, batch.labels.tolist(), strict=True)):
        folder = home / ("lying", "standing", "chequered")[label]
        folder.mkdir(parents=True, exist_ok=True)
        picture(image.expand(3, -1, -1)).save(folder / f"{index:02}.png")
    return home


def test_class_folders_become_a_data_set(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "photos")
    found, batch, said = own(root)
    assert found.name.startswith("photos-")
    assert found.classes == KINDS
    assert (found.channels, found.size, found.mean, found.attack.epsilon) == (3, 12, (0.5,) * 3, "8/255")
    files = sorted(root.glob("*/*.png"))
    assert batch.names == tuple(file.relative_to(root).as_posix() for file in files)
    assert [KINDS[label] for label in batch.labels] == [file.parent.name for file in files]
    seen = np.stack([np.asarray(Image.open(file)) for file in files]).transpose(0, 3, 1, 2)
    assert np.array_equal(batch.images.numpy(), seen)
    assert len(said) == 1
    assert "3 classes (chequered, lying, standing); images: 12 without splits, of which a training" in said[0]
    assert torch.equal(transferzoo.load_images(str(root)).images, batch.images)


def test_splits_are_found_and_the_classes_are_those_of_all(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "train", 30).parent
    class_folders(tmp_path / "val", 9, seed=1)
    shutil.rmtree(tmp_path / "val" / "chequered")
    found, batch, said = own(root)
    assert (found.classes, list(found.splits), found.attack.split) == (
        KINDS,
        ["validation", "train"],
        "validation",
    )
    assert len(batch) == len(list(root.glob("val/*/*.png")))
    assert {KINDS[label] for label in batch.labels} == {"lying", "standing"}
    assert f"images: {len(batch)} for validation, 30 for train" in said[0]


def test_the_name_follows_the_content(tmp_path: Path) -> None:
    one, same, more = (class_folders(tmp_path / place / "photos") for place in "abc")
    picture(pixels(1, 3)[0]).save(more / "lying" / "99.png")
    names = [own(root)[0].name for root in (one, same, more)]
    assert names[0] == names[1] != names[2]
    (same / "lying").rename(same / "asleep")
    assert own(same)[0].name != names[0]


def test_images_of_the_default_data_set_are_known_by_classes_and_size(tmp_path: Path) -> None:
    """Images of its classes and size are its own; those of another size or class are not."""
    few = data_folder(tmp_path / "few", range(6))
    (tmp_path / "idx").mkdir()
    write_idx(tmp_path / "idx", "t10k", pixels(4, 1, 28), [2, 0, 1, 1], zipped=True)
    named = tmp_path / "named"
    for folder, size in (("Dress", 28), ("3", 28), ("t-shirt-top", 28)):
        (named / folder).mkdir(parents=True)
        picture(pixels(1, 3, size)[0]).save(named / folder / "0.png")
    for root in (few, tmp_path / "idx", named):
        said: list[str] = []
        assert own_images(load_zoo(), None, root, said.append)[1:] == ("fashion-mnist", root)
        assert len(said) == 1
        assert "has classes and size of fashion-mnist" in said[0]
        assert own_images(load_zoo(), "cifar10", root)[1:] == ("cifar10", root), (
            "what is named is not asked for"
        )
    picture(pixels(1, 3, 40)[0]).save(named / "3" / "0.png")
    assert own(named)[0].classes == ("3", "Dress", "t-shirt-top")
    picture(pixels(1, 3, 28)[0]).save(named / "3" / "0.png")
    (named / "Dress").rename(named / "Gown")
    assert own(named)[0].classes == ("3", "Gown", "t-shirt-top")


def test_numbered_folders_of_something_else_are_undone_as_is_said(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / "digits" / str(number)).mkdir(parents=True)
        picture(pixels(1, 1, 28)[0]).save(tmp_path / "digits" / str(number) / "0.png")
    said: list[str] = []
    assert own_images(load_zoo(), None, tmp_path / "digits", said.append)[1] == "fashion-mnist"
    assert "give the classes other names than 0, 1, 2, …, or a zoo file the data set (--zoo)." in said[0]
    for number in range(10):
        (tmp_path / "digits" / str(number)).rename(tmp_path / "digits" / f"digit-{number}")
    assert own(tmp_path / "digits")[0].classes == tuple(f"digit-{number}" for number in range(10))


@pytest.mark.parametrize(
    "files",
    [
        {"default/test/0000.parquet": slice(0, 2), "default/test/0001.parquet": slice(2, 4)},
        {"test.parquet": slice(0, 4), "train.parquet": slice(0, 1)},
        {"data/test-00000-of-00001.parquet": slice(0, 4)},
        {"0000.parquet": slice(0, 2), "0001.parquet": slice(2, 4)},
    ],
    ids=["converted", "split", "shards", "numbers"],
)
@pytest.mark.parametrize("column", ["label", "labels", "fine_label", "cls"])
def test_parquet_files_as_others_lay_them_out(files: dict[str, slice], column: str, tmp_path: Path) -> None:
    images, labels, names = pixels(4, 3), [1, 0, 2, 1], ["cat", "dog", "ant"]
    for name, part in files.items():
        columns = {
            "coarse_label": [0] * len(labels[part]),
            "image": as_structs(images[part]),
            column: labels[part],
        }
        write_table(tmp_path / "set" / name, columns, {column: names})
    found, batch, _ = own(tmp_path / "set")
    assert found.classes == ("cat", "dog", "ant"), (
        "in the order of the ClassLabel, though not every file has all"
    )
    assert torch.equal(batch.images, images)
    assert batch.labels.tolist() == labels


def test_parquet_labels_may_be_names_or_numbers_alone(tmp_path: Path) -> None:
    images = as_structs(pixels(3, 3))
    write_table(tmp_path / "a.parquet", {"img": images, "label": ["dog", "ant", "dog"]})
    write_table(tmp_path / "b.parquet", {"img": images, "label": [4, 0, 1]})
    found, batch, _ = own(tmp_path / "a.parquet")
    assert (found.classes, batch.labels.tolist()) == (("ant", "dog"), [1, 0, 1])
    found, batch, _ = own(tmp_path / "b.parquet")
    assert (found.classes, batch.labels.tolist()) == (("0", "1", "2", "3", "4"), [4, 0, 1])


CARDS = ["2", "ace", "10", "9", "king", "2"]
DATES = ["20200202", "20200101", "20200202", "20200303", "20200101", "20200202"]
SPARSE = ["1", "2", "123456", "0", "2", "1"]
"""Numbers of products, for example: some are also places in the list of all of them."""


@pytest.mark.parametrize("names", [CARDS, DATES, SPARSE], ids=["cards", "dates", "sparse"])
def test_names_that_look_like_numbers_are_names(names: list[str], tmp_path: Path) -> None:
    """In a list, in a Parquet file as text and, where all are numbers, as integers; streamed too."""
    images = pixels(6, 3)
    write_listing(tmp_path / "list", images, [f"{index}.png,{name}" for index, name in enumerate(names)])
    write_table(tmp_path / "text.parquet", {"image": as_structs(images), "label": names})
    places = [tmp_path / "list", tmp_path / "text.parquet"]
    if names is not CARDS:
        numbers = [int(name) for name in names]
        write_table(tmp_path / "numbers.parquet", {"image": as_structs(images), "label": numbers})
        places.append(tmp_path / "numbers.parquet")
    for place in places:
        found, batch, _ = own(place)
        assert found.classes == tuple(sorted(set(names)))
        assert [found.classes[label] for label in batch.labels] == names
        if place.suffix:
            assert open_index(found, found.attack.split, None).labels.tolist() == batch.labels.tolist()


def test_numbers_of_classes_with_other_numbers_are_their_places(tmp_path: Path) -> None:
    """As the ClassLabel says; a number without one, in a list, could be both."""
    stars = spec(3, classes=("1", "2", "3"))
    columns = {"image": as_structs(pixels(3, 3)), "label": [0, 2, 1]}
    write_table(tmp_path / "a.parquet", columns, {"label": ["1", "2", "3"]})
    write_table(tmp_path / "b.parquet", columns)
    for name in "ab":
        assert load_split(stars, "test", root=tmp_path / f"{name}.parquet").labels.tolist() == [0, 2, 1]
        assert open_index(stars, "test", tmp_path / f"{name}.parquet").labels.tolist() == [0, 2, 1]
    write_listing(tmp_path / "list", pixels(3, 3), ["0.png,1", "1.png,0"])
    with pytest.raises(DataError, match=r"line 3 of .* expected the name of one, 1, 2, 3, got '0'; classes"):
        load_split(stars, "test", root=tmp_path / "list")


@pytest.mark.parametrize("label", ["0", "02", " 1", "-0"])
def test_a_number_says_nothing_where_classes_are_called_by_others(label: str) -> None:
    """Neither in a list nor as a folder: "0" would be the card "10"."""
    cards = spec(3, classes=("10", "2", "3", "ace"))
    with pytest.raises(DataError, match="no class of"):
        checked(label, cards, "line 2")
    with pytest.raises(DataError, match=r"no class of .*: expected one of 10, 2, 3, ace, got"):
        of_folder(label, cards, "a folder")
    assert checked("10", cards, "line 2") == of_folder("10", cards, "a folder") == 0


def test_numbered_shards_are_all_there(tmp_path: Path) -> None:
    for number in (0, 2):
        write_table(
            tmp_path / "test" / f"{number:04}.parquet", {"image": as_structs(pixels(2, 3)), "label": [0, 1]}
        )
    with pytest.raises(
        DataError, match=r"lacks shards of the split 'test': expected 3 files, got 2, without number 1"
    ):
        load_split(spec(3), "test", root=tmp_path)


@pytest.mark.parametrize("header", ["file_name,label", "filepath,cls", "filename,labels", "file,fine_label"])
def test_lists_name_classes(header: str, tmp_path: Path) -> None:
    rows = ["0.png,dog", "3.png,ant", "1.png,dog"]
    write_listing(tmp_path / "set", pixels(4, 3), rows, header)
    found, batch, said = own(tmp_path / "set")
    assert (found.classes, batch.labels.tolist()) == (("ant", "dog"), [1, 0, 1])
    assert torch.equal(batch.images, pixels(4, 3)[[0, 3, 1]])
    assert said[1] == "Passed over: 1 file that no class has (2.png)."


def test_what_is_passed_over_is_counted_and_named(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "photos")
    (root / "notes.txt").write_text("")
    (root / "lying" / "sizes.json").write_text("")
    picture(pixels(1)[0]).save(root / "stray.png")
    (root / "lying" / ".hidden.png").write_text("")
    assert (
        own(root)[2][1] == "Passed over: 3 files that no class has (lying/sizes.json, notes.txt, stray.png)."
    )
    with pytest.warns(UserWarning, match="Passed over: 3 files"):
        transferzoo.load_images(root)


def test_an_archive_and_a_folder_in_a_folder(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "outer" / "flowers")
    packed = {
        file.relative_to(tmp_path / "outer").as_posix(): file.read_bytes() for file in root.glob("*/*.png")
    }
    archive = tmp_path / "flowers.zip"
    archive.write_bytes(zipped(packed))
    direct, inner, unpacked = own(root), own(tmp_path / "outer"), own(archive)
    for found, batch, _ in (inner, unpacked):
        assert found.classes == KINDS
        assert torch.equal(batch.images, direct[1].images)
    assert direct[0].name == unpacked[0].name


def test_a_training_and_an_attack_without_a_zoo_file(cli: Run, tmp_path: Path) -> None:
    """The checkpoint is known by its classes, and images are read as the target reads them."""
    class_folders(tmp_path / "photos" / "train", 96)
    class_folders(tmp_path / "photos" / "test", 32, seed=1)
    short = (
        "--epochs",
        15,
        "--batch-size",
        16,
        "--augment",
        "none",
        "--architecture",
        "small_resnet18:width=8",
    )
    trained = cli("train", "--data", "photos", *short, "--output", "mine")
    assert trained.code == 0, trained.err
    assert (
        "Attack from it with: transferzoo attack --data photos --surrogate ./mine --target MODEL"
        in trained.err
    )
    recipe = json.loads((tmp_path / "mine" / "recipe.json").read_text())
    assert recipe["config"]["dataset"].startswith("photos-")
    assert recipe["accuracy"]["n"] == 32
    (tmp_path / "photos").rename(tmp_path / "pictures")
    attack = ("attack", "-s", "./mine", "-t", "./mine", "--data", "pictures", "--steps", 1, "--images", 4)
    done = cli(*attack, "--json")
    assert done.code == 0, done.err
    (record,) = json.loads(done.out)["records"]
    assert record["dataset"].startswith("pictures-")
    assert "in colour, 12x12 pixels, as 'mine' reads them." in done.err
    assert "Their budget, 8/255 in linf, is an assumption: --epsilon." in done.err
    assert "assumption" not in cli(*attack, "--epsilon", "4/255", "--dry-run").err
    measured_here = cli("sharpness", "./mine", "--data", "pictures", "--images", 4, "--steps", 1, "--json")
    assert measured_here.code == 0, measured_here.err


def test_images_are_read_as_the_target_reads_them(cli: Run, tmp_path: Path) -> None:
    class_folders(tmp_path / "photos")
    (copied("vgg", tmp_path / "other") / "recipe.json").unlink()
    done = cli("attack", "-s", "./other", "-t", "./other", "--data", "photos", "--dry-run", "--json")
    assert "Images are read grey, 28x28 pixels, as 'other' reads them." in done.err


def test_what_does_not_go(cli: Run, tmp_path: Path) -> None:
    class_folders(tmp_path / "photos")
    (tmp_path / "empty").mkdir()
    other = ("-t", "vgg", "--data", "photos")
    words = ("'vgg' belongs to another data set", "choose it with --dataset fashion-mnist")
    refused(cli("attack", "-s", "resnet50-sam", *other), 2, *words)
    train = "transferzoo train --minimizer sam --data photos"
    refused(cli("attack", "--data", "photos"), 2, "has no surrogate yet", f"train one: `{train}`")
    refused(cli("attack", "-s", "vgg", "--data", "empty"), 1, "empty holds no", "check --data")
    one = tmp_path / "one" / "lying"
    one.mkdir(parents=True)
    picture(pixels(1, 3)[0]).save(one / "0.png")
    refused(
        cli("attack", "-s", "vgg", "--data", "one"),
        1,
        "one class",
        "two classes at least",
        "above the class folders",
    )
