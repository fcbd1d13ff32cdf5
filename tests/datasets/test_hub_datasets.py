"""Data sets of the Hub, as zoo.yaml names them, from the loopback Hub: archives, shards, gates."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import pytest

from helpers.archives import gzipped, tarred, zipped
from helpers.data_layouts import encoded, pixels, spec, write_parquet
from helpers.hub_server import Hub, User, connect, running
from transferzoo.base.errors import TransferZooError, UnknownNameError, UsageError
from transferzoo.datasets.sources import HubFile, hub_files, load_split
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from transferzoo.zoo.schema import DatasetSpec

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the client's own
TOKEN = "hf_secretsecretsecret"
IMAGES = pixels(4, 3)


def imagenet(compatible: bytes | None = None) -> DatasetSpec:
    """Return zoo.yaml's ImageNet at a size of 8 pixels, without what this machine may have of it.

    Args:
        compatible: what the compatible images are pinned to; None for what zoo.yaml says.
    """
    known = load_zoo().dataset("imagenet")
    splits = {
        split: tuple("local:/nowhere" if place.startswith("local:") else place for place in places)
        for split, places in known.splits.items()
    }
    if compatible is not None:
        (place,), digest = splits["transferattack-1000"], hashlib.sha256(compatible).hexdigest()
        splits["transferattack-1000"] = (re.sub("@sha256:.*", f"@sha256:{digest}", place),)
    return known.model_copy(update={"size": 8, "splits": splits})


def compatible_zip() -> bytes:
    """Return the layout that the images compatible with ImageNet have: a folder, and a list beside it."""
    files = {f"data/images/{row}.png": encoded(image) for row, image in enumerate(IMAGES)}
    rows = "\n".join(f"{row}.png,{label},7" for row, label in enumerate((999, 0, 5, 5)))
    return zipped({**files, "data/labels.csv": f"filename,label,targeted_label\n{rows}\n".encode()})


def v2_tar() -> bytes:
    """Return class folders "0", "1", …, as in ImageNetV2."""
    names = {f"imagenetv2/{label}/{row}.jpeg": row for row, label in enumerate(("12", "0", "999", "12"))}
    return gzipped(tarred(*((name, encoded(IMAGES[row])) for name, row in names.items())))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("shards")
    shards = {}
    for part in range(14):
        file = folder / "shard.parquet"
        write_parquet(file, IMAGES[part % 4][None], [part])
        shards[f"data/validation-{part:05d}-of-00014.parquet"] = file.read_bytes()
    with running() as served:
        served.add("datasets/Trustworthy-AI-Group/TransferAttack", {"data.zip": compatible_zip()})
        served.add("datasets/vaishaal/ImageNetV2", {"imagenetv2-matched-frequency.tar.gz": v2_tar()})
        served.add("datasets/ILSVRC/imagenet-1k", shards, gated=True)
        served.users[TOKEN] = User("someone", ("ILSVRC",), "read")
        served.users["hf_stranger"] = User("stranger", (), "read")
        yield served


def loaded(hub: Hub, home: Path, *asked: tuple[DatasetSpec, str], **variables: str) -> list[Any]:
    """Load splits; return pixels, labels and ids of each, or the sentence."""
    found: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        connect(patch, hub, home / "hub", **variables)
        patch.setenv("TRANSFERZOO_CACHE", str(home / "cache"))
        patch.setenv("HOME", str(home))
        for dataset, split in asked:
            try:
                batch = load_split(dataset, split)
                corner = batch.images[:, :, 0, 0].flatten()
                found.append([corner.tolist(), batch.labels.tolist(), batch.ids.tolist()])
            except TransferZooError as error:
                found.append(str(error))
    assert TOKEN not in str(found)
    return found


def corners(rows: list[int]) -> list[int]:
    return [int(value) for value in IMAGES[rows][:, :, 0, 0].flatten()]


def test_splits_of_imagenet_come_from_the_hub_and_stay(hub: Hub, tmp_path: Path) -> None:
    known = imagenet(compatible_zip())
    asked = [(known, split) for split in ("transferattack-1000", "v2", "validation")]
    compatible, v2, validation = loaded(hub, tmp_path, *asked, HF_TOKEN=TOKEN)
    assert compatible == [corners([0, 1, 2, 3]), [999, 0, 5, 5], [0, 1, 2, 3]]
    assert v2 == [corners([1, 0, 3, 2]), [0, 12, 12, 999], [0, 1, 2, 3]]
    assert validation == [corners([part % 4 for part in range(14)]), [*range(14)], [*range(14)]]
    before = len(hub.requests)
    assert loaded(hub, tmp_path, *asked, HF_HUB_OFFLINE="1") == [compatible, v2, validation]
    assert len(hub.requests) == before
    heads = [request.path for request in hub.requests if "/imagenet-1k/resolve/" in request.path]
    assert {path.split("/resolve/main/")[-1] for path in heads if "/main/" in path} == {
        "data/validation-00000-of-00014.parquet"
    }, "the other shards come from the commit of the first one"


def test_what_the_hub_refuses_is_a_sentence(hub: Hub, tmp_path: Path) -> None:
    replaced, gated = loaded(
        hub, tmp_path, (imagenet(), "transferattack-1000"), (imagenet(), "validation"), HF_TOKEN="hf_stranger"
    )
    assert replaced.startswith("the 'transferattack-1000' images of 'imagenet' were not found; tried ")
    assert (
        "/data.zip (data.zip of the dataset Trustworthy-AI-Group/TransferAttack does not match the "
        in replaced
    )
    assert "expected e8888967c28f751361f0cac50453e29c93f39be81b715f469ef3fc0b4bf750f5, got " in replaced
    assert replaced.endswith("give their folder with --data PATH.")
    assert not (tmp_path / "cache").exists()
    assert "tried local:/nowhere (absent) and hub:ILSVRC/imagenet-1k/data/validation-*-of-00014" in gated
    assert "the dataset ILSVRC/imagenet-1k is gated" in gated
    assert hub.address in gated
    assert "hf auth login" in gated
    assert gated.endswith("give their folder with --data PATH.")
    assert loaded(hub, tmp_path, (imagenet(), "validation")) == [gated], "without a token"


# What is named in a zoo file


def test_the_files_of_a_split_are_known_without_the_hub() -> None:
    zoo = load_zoo()
    known = zoo.dataset("imagenet")
    digest = "e8888967c28f751361f0cac50453e29c93f39be81b715f469ef3fc0b4bf750f5"
    assert hub_files(known, "transferattack-1000") == [
        HubFile("Trustworthy-AI-Group/TransferAttack", "data.zip", digest)
    ]
    assert hub_files(known, "validation")[13] == HubFile(
        "ILSVRC/imagenet-1k", "data/validation-00013-of-00014.parquet", None
    )
    assert hub_files(known, "train") == []
    assert [file.file for file in hub_files(known)] == [
        "data.zip",
        "imagenetv2-matched-frequency.tar.gz",
        *(f"data/validation-{part:05d}-of-00014.parquet" for part in range(14)),
    ]
    assert hub_files(zoo.dataset("fashion-mnist"), "sample") == []
    assert [file.repo for file in hub_files(zoo.dataset("cifar10"))] == ["uoft-cs/cifar10"] * 2
    assert hub_files(
        spec(splits={"test": ("hub:a/b/c.zip", "hub:d/e/f.zip"), "train": ("hub:a/b/c.zip",)})
    ) == [HubFile("a/b", "c.zip", None)]
    with pytest.raises(UnknownNameError, match="unknown split 'tset'"):
        hub_files(known, "tset")


@pytest.mark.parametrize(
    "place",
    [
        "a/b/c.zip",
        "http://a/b",
        "local:",
        "hub:a/b",
        "hub:a/b/",
        "hub:a/*/c.zip",
        "hub:a/b/*",
        "hub:a/b/c.zip@main",
        "hub:a/b/c.zip@sha256:12",
        "hub:a/b/test-*-of-00000.parquet",
        f"hub:a/b/test-*-of-00002.parquet@sha256:{64 * 'a'}",
    ],
)
def test_places_that_cannot_be_are_refused_with_their_line(tmp_path: Path, place: str) -> None:
    file = tmp_path / "zoo.yaml"
    file.write_text(
        f"""datasets:
  tiny: {{classes: 3, channels: 1, size: 8, mean: [0], std: [1], splits: {{test: ["{place}"]}},
         attack: {{split: test, epsilon: 1/255}}, licence: MIT, origin: here}}
"""
    )
    with pytest.raises(UsageError, match=r"zoo\.yaml.*hub:OWNER/NAME/FILE\[@sha256:HASH\], not '"):
        load_zoo(file)


@pytest.mark.parametrize("at_most", ["{tset: 5}", "{test: 0}"])
def test_bounds_of_no_split_are_refused(tmp_path: Path, at_most: str) -> None:
    file = tmp_path / "zoo.yaml"
    file.write_text(
        f"""datasets:
  tiny: {{classes: 3, channels: 1, size: 8, mean: [0], std: [1], splits: {{test: []}}, at_most: {at_most},
         attack: {{split: test, epsilon: 1/255}}, licence: MIT, origin: here}}
"""
    )
    with pytest.raises(UsageError, match=r"at_most with a split \(test\) and a number above 0"):
        load_zoo(file)
