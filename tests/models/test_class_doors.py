"""Classes that models and data name in their own ways, each through a command: what is mapped is said."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

import transferzoo
from helpers.checkpoints import BUILTIN, copied, heads
from helpers.data_layouts import as_structs, picture, pixels, write_table
from helpers.foreign_models import FASHION, SMALL_VIT
from transferzoo.datasets.disk import open_index
from transferzoo.datasets.imagenet import imagenet
from transferzoo.datasets.sources import load_split
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = [
    pytest.mark.usefixtures("one_thread", "cache"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
WNIDS = ("n01440764", "n02102040", "n02979186")
"""Tench, English springer and cassette player: classes 0, 217 and 482 of ImageNet."""
TRY = ("--images", 6, "--steps", 2, "--json")


def class_folders(home: Path, names: Sequence[str], size: int = 28) -> Path:
    for number, name in enumerate(names):
        (home / name).mkdir(parents=True)
        for index, image in enumerate(pixels(4, 3, size)):
            picture((image + 17 * number) % 255).save(home / name / f"{index}.png")
    return home


# ---------------------------------------------------------------- bare weights


ORDER = (9, -1, 3, 0, 1, 8, -1, 7, 2, 4, 6, 5, -1)
"""Class of the data → its place in a head of thirteen; -1 for what no data has, which says most of itself."""


def reheaded(tmp_path: Path) -> Path:
    """Write the weights of the built-in VGG with a head of thirteen classes, as a script saves them."""
    weights = load_file(BUILTIN / "vgg" / "model.safetensors")
    for name in heads(weights):
        weights[name] = torch.stack(
            [weights[name][at] if at >= 0 else torch.full_like(weights[name][0], 9.0) for at in ORDER]
        )
    torch.save({"state_dict": weights}, tmp_path / "more.pt")
    return tmp_path / "more.pt"


def test_bare_weights_of_more_classes(cli: Run, few: Path, tmp_path: Path) -> None:
    """They are mapped by a file, as target and surrogate, and otherwise refused with the next step."""
    reheaded(tmp_path)
    (tmp_path / "map.csv").write_text(
        "\n".join(
            ["data,model", *(f"{FASHION.classes[at] if at >= 0 else ''},{i}" for i, at in enumerate(ORDER))]
        )
    )
    named = ("--architecture", "small_vgg", "--data", few, *TRY)
    for role, other in (("-t", ("-s", "resnet18")), ("-s", ("-t", "resnet18"))):
        words = (
            "'more' has the wrong number of classes",
            "the 10 of 'fashion-mnist'",
            "got 13",
            "--classes FILE",
        )
        without = cli("attack", role, "more.pt", *other, *named)
        assert without.code == 1
        assert all(word in without.err.splitlines()[-1] for word in words), without.err
        done = cli("attack", role, "more.pt", *other, *named, "--classes", "map.csv")
        assert done.code == 0, done.err
        assert "more.pt: the weights are under 'state_dict'; its head tells 13 classes apart" in done.err
        assert "Classes: of the 13 of 'more', 10 are the data's, as stated: T-shirt/top is 3" in done.err
        expected = cli("attack", role, "vgg", *other, "--data", few, *TRY)
        kept = ("n", "successes", "target_accuracy", "noise_successes")
        found, wanted = (
            [{key: one.get(key) for key in kept} for one in json.loads(run.out)["records"]]
            for run in (done, expected)
        )
        assert found == wanted


def test_sharpness_maps_classes_as_an_attack_does(cli: Run, few: Path, tmp_path: Path) -> None:
    reheaded(tmp_path)
    numbers = {at: place for place, at in enumerate(ORDER)}
    rows = [f"{name},{numbers[label]}" for label, name in enumerate(FASHION.classes)]
    (tmp_path / "map.csv").write_text("\n".join(["data,model", *rows]))
    short = ("--data", few, "--images", 200, "--steps", 1, "--draws", 2, "--probes", 2, "--json")
    named = ("sharpness", "more.pt", "--architecture", "small_vgg", *short)
    without = cli(*named)
    assert without.code == 1
    assert "say with --classes FILE" in without.err.splitlines()[-1]
    mapped = cli(*named, "--classes", "map.csv")
    assert mapped.code == 0, mapped.err
    assert "Classes: of the 13 of 'more', 10 are the data's" in mapped.err
    (found,) = json.loads(mapped.out)["models"]
    model = transferzoo.load_model("vgg")
    images = transferzoo.load_images(root=few)
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(model(images.images / 255), images.labels)
    assert found["loss"] == pytest.approx(float(loss), rel=1e-4)


# ---------------------------------------------------------------- folders of WordNet ids, and the background


@pytest.mark.parametrize("background", [0, 1])
def test_folders_of_wordnet_ids_on_a_network_of_imagenet(cli: Run, tmp_path: Path, background: int) -> None:
    """Bare weights of 1,000 classes, or 1,001 with the background first, name none; ImageNet's are known."""
    import timm

    torch.manual_seed(0)
    network: Any = timm.create_model("resnet10t", num_classes=1000 + background).eval()
    torch.save(network.state_dict(), tmp_path / "net.pt")
    photos = class_folders(tmp_path / "photos", WNIDS, 32)
    places = [[*imagenet()].index(name) + background for name in WNIDS]
    model = transferzoo.load_model(str(tmp_path / "net.pt"), photos, architecture="resnet10t")
    images = transferzoo.load_images(photos).images / 255
    mean, std = (torch.tensor(network.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        theirs = network((images - mean) / std)[:, places]
        torch.testing.assert_close(model(images), theirs, rtol=1e-4, atol=1e-5)
    command = ("attack", "-s", "net.pt", "-t", "net.pt", "--architecture", "resnet10t", "--data", "photos")
    done = cli(*command, "--dry-run", "--json")
    assert done.code == 0, done.err
    assert (
        f"Classes: of the {1000 + background:,} of 'net', 3 are the data's, by name: n01440764 is" in done.err
    )
    assert f"n02102040 is {217 + background}" in done.err


# ---------------------------------------------------------------- names in config.json of transformers


@pytest.mark.parametrize("order", [(2, 0, 1), (4, 1, 3)], ids=["permuted", "more"])
def test_names_in_a_config_of_transformers(cli: Run, tmp_path: Path, order: Sequence[int]) -> None:
    names = ["stranger 0", "stranger 1", "stranger 2", "stranger 3", "stranger 4"][: max(order) + 1]
    ours = ("ant", "cat", "dog")
    for name, place in zip(ours, order, strict=True):
        names[place] = name.upper()
    transformers: Any = sys.modules.get("transformers") or __import__("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=28, patch_size=7, **SMALL_VIT, id2label=dict(enumerate(names)), label2id={}
    )
    network = transformers.ViTForImageClassification(config).eval()
    processor = transformers.ViTImageProcessor(size={"height": 28, "width": 28})
    transformers.utils.logging.disable_progress_bar()
    network.save_pretrained(tmp_path / "vit")
    processor.save_pretrained(tmp_path / "vit")
    photos = class_folders(tmp_path / "photos", ours)
    images = transferzoo.load_images(photos).images
    with torch.no_grad():
        read = processor(images=list(images), return_tensors="pt")["pixel_values"]
        theirs = network(read).logits[:, list(order)]
        mine = transferzoo.load_model(str(tmp_path / "vit"), photos)(images / 255)
    torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)
    done = cli("attack", "-s", "./vit", "-t", "./vit", "--data", "photos", "--dry-run", "--json")
    assert done.code == 0, done.err
    assert f"Classes: of the {len(names)} of 'vit', 3 are the data's, by name: ant is {order[0]}" in done.err


# ---------------------------------------------------------------- names in Parquet files


def test_names_in_parquet_files(cli: Run, tmp_path: Path) -> None:
    """Labels of a data set of the zoo in another order are its classes by name, streamed or not."""
    order = [3, 9, 0]
    images = pixels(6, 1, 28)
    columns = {"image": as_structs(images), "label": [0, 1, 2, 2, 1, 0]}
    names = [FASHION.classes[at].lower() for at in order]
    write_table(tmp_path / "set" / "sample.parquet", columns, {"label": names})
    wanted = [order[label] for label in columns["label"]]
    spec = load_zoo().dataset("fashion-mnist")
    assert load_split(spec, "sample", root=tmp_path / "set").labels.tolist() == wanted
    assert open_index(spec, "sample", tmp_path / "set").labels.tolist() == wanted
    taken = transferzoo.load_images(tmp_path / "set")
    assert taken.labels.tolist() == wanted, "it is taken for images of the default data set"
    strange = [*names[:2], "hat"]
    write_table(tmp_path / "other" / "test.parquet", columns, {"label": strange})
    assert load_split(spec, "test", root=tmp_path / "other").labels.tolist() == columns["label"], "by number"


def test_names_in_parquet_files_and_a_model(cli: Run, tmp_path: Path) -> None:
    """A model finds the classes of a data set of its own by the names that `datasets` writes."""
    order = [3, 9, 0]
    columns = {"image": as_structs(pixels(6, 1, 32)), "label": [0, 1, 2, 2, 1, 0]}
    write_table(tmp_path / "set" / "test.parquet", columns, {"label": [FASHION.classes[at] for at in order]})
    (copied("vgg", tmp_path / "mine") / "recipe.json").unlink()
    model = transferzoo.load_model(str(tmp_path / "mine"), tmp_path / "set")
    images = transferzoo.load_images(tmp_path / "set").images / 255
    with torch.no_grad():
        torch.testing.assert_close(model(images), transferzoo.load_model("vgg")(images)[:, order])
    done = cli("attack", "-s", "./mine", "-t", "./mine", "--data", "set", "--dry-run", "--json")
    assert "Classes: of the 10 of 'mine', 3 are the data's, by name: Dress is 3, Ankle boot is 9" in done.err
