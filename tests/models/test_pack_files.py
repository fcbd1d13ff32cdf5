"""The files that zoo.yaml names, with real names and shapes: they classify as their authors' networks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from helpers.hub_server import COMMIT, connect, running
from helpers.original_networks import (
    alive,
    detectors_densenet,
    detectors_resnet,
    detectors_vgg,
    detectors_vit,
    enlarged,
    logits,
    normalise,
    robust_file,
)
from helpers.stripes import TINY
from transferzoo.models import build
from transferzoo.models.classifier import load_checkpoint
from transferzoo.models.download import download_model
from transferzoo.models.sources.checkpoint_folder import LocalFolder
from transferzoo.models.sources.hub_repository import HubRepository
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


pytestmark = pytest.mark.usefixtures("one_thread", "cache")
ZOO = load_zoo()
CIFAR = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def images(size: int) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))


class Layout(NamedTuple):
    """How an entry's file comes to be: the network, what is stored of it, and what it reads."""

    make: Callable[[], nn.Module]
    store: Callable[[nn.Module], dict[str, Any]]
    normalisation: tuple[tuple[float, ...], tuple[float, ...]]
    size: int = 32


def plain(network: nn.Module) -> dict[str, Any]:
    return dict(network.state_dict())


LAYOUTS = {
    "cifar10/resnet18": Layout(lambda: detectors_resnet(18), plain, CIFAR),
    "cifar10/vgg16-bn": Layout(detectors_vgg, plain, CIFAR),
    "cifar10/densenet121": Layout(detectors_densenet, plain, CIFAR),
    "imagenet/resnet18-l2-0.1": Layout(torchvision.models.resnet18, robust_file, IMAGENET, 64),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_entrys_file_classifies_as_its_authors_network(tmp_path: Path, name: str) -> None:
    layout, entry = LAYOUTS[name], ZOO.models[name]
    weights = entry.weights
    assert weights is not None and weights.pickle
    channels, height, _ = weights.input_size
    if layout.size != height:  # images of 224 pixels would only be slower
        weights = weights.model_copy(update={"input_size": (channels, layout.size, layout.size)})
    network = alive(layout.make)
    torch.save(layout.store(network), tmp_path / weights.file)
    model = entry.model_copy(update={"source": LocalFolder(tmp_path), "weights": weights})
    told: list[str] = []
    folder = download_model(model, told.append).folder
    classifier = load_checkpoint(folder, ZOO.dataset(entry.dataset))
    pixels = images(layout.size)
    expected = logits(network, normalise(pixels, *layout.normalisation))
    torch.testing.assert_close(logits(classifier, pixels), expected, rtol=1e-4, atol=1e-4)
    assert told == [
        f"{weights.file} is a pickle: it is read as tensors only, once, and kept as safetensors in {folder}."
    ]


SHAPES = {
    "resnet18": lambda: detectors_resnet(18),
    "resnet34": lambda: detectors_resnet(34),
    "resnet50": lambda: detectors_resnet(50),
    "vgg16-bn": detectors_vgg,
    "densenet121": detectors_densenet,
    "vit-b16": detectors_vit,
}


@pytest.mark.parametrize("name", SHAPES)
def test_an_entry_has_the_names_and_shapes_of_its_authors_network(name: str) -> None:
    weights = ZOO.models[f"cifar10/{name}"].weights
    assert weights is not None
    architecture, options = build.read(weights.architecture)
    arguments = {"in_chans": 3, **options, **weights.arguments}
    with torch.device("meta"):
        theirs = SHAPES[name]().state_dict()
        ours = build.build(architecture, arguments.pop("num_classes", None), arguments).state_dict()
    assert [(key, value.shape) for key, value in ours.items()] == [(k, v.shape) for k, v in theirs.items()]


def test_a_transformer_for_larger_images(tmp_path: Path) -> None:
    entry = ZOO.models["cifar10/vit-b16"]
    assert entry.weights is not None
    tiny = {"depth": 1, "embed_dim": 24, "num_heads": 2}
    weights = entry.weights.model_copy(update={"arguments": {**entry.weights.arguments, **tiny}})
    network = alive(lambda: detectors_vit(**tiny))
    torch.save(network.state_dict(), tmp_path / weights.file)
    model = entry.model_copy(update={"source": LocalFolder(tmp_path), "weights": weights})
    classifier = load_checkpoint(download_model(model).folder, ZOO.dataset("cifar10"))
    pixels = images(32)
    expected = logits(network, (enlarged(pixels, 224) - 0.5) / 0.5)
    torch.testing.assert_close(logits(classifier, pixels), expected, rtol=1e-4, atol=1e-4)


def test_from_the_hub_with_the_real_client(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle of the zoo and a repository in timm's format, whose images are enlarged."""
    pickled, ready = ZOO.models["cifar10/densenet121"], ZOO.models["cifar10/resnet18-grodino"]
    assert pickled.weights is not None
    one, other = (
        alive(detectors_densenet),
        alive(lambda: timm.create_model("resnet18", num_classes=10, **TINY)),
    )
    stored, folder = tmp_path / "a.bin", tmp_path / "timm"
    torch.save(one.state_dict(), stored)
    reads = {"input_size": (3, 224, 224), "mean": CIFAR[0], "std": (0.247, 0.243, 0.261), "num_classes": 10}
    timm.models.save_for_hf(
        other, str(folder), model_config={"pretrained_cfg": reads}, model_args=TINY, safe_serialization=True
    )
    source = ready.source
    assert isinstance(source, HubRepository)
    files = {f"{source.repo}/{path.name}": path.read_bytes() for path in folder.iterdir()}
    config = json.dumps({"architecture": "resnet18", "auto_map": {"AutoModel": "evil.Model"}}).encode()
    files |= {
        "edadaltocg/densenet121_cifar10/pytorch_model.bin": stored.read_bytes(),
        "edadaltocg/densenet121_cifar10/config.json": config,
        "edadaltocg/densenet121_cifar10/evil.py": b"raise SystemExit",
    }
    with running(files) as hub:
        hub.repositories[source.repo].refs[str(source.revision)] = COMMIT
        connect(monkeypatch, hub, tmp_path / "hub")
        told: list[str] = []
        found = [download_model(model, told.append).folder for model in (pickled, ready)]
        asked = {request.path.rpartition("/")[2] for request in hub.requests if "/resolve/" in request.path}
        assert asked == {"pytorch_model.bin", "config.json", "model.safetensors", "recipe.json"}
        assert not any("densenet" in r.path and "config" in r.path for r in hub.requests), "one file of it"
        assert download_model(pickled, told.append).folder == found[0]
        assert len(told) == 1, "a pickle is read once"
        connect(monkeypatch, hub, tmp_path / "hub", HF_HUB_OFFLINE="1")
        assert download_model(pickled).folder == found[0]
    assert found[0].parent == cache / "converted"
    origin = json.loads((found[0] / "origin.json").read_text())
    assert origin["repository"] == "edadaltocg/densenet121_cifar10"
    assert (origin["commit"], origin["file"], len(origin["sha256"])) == (COMMIT, "pytorch_model.bin", 64)
    pixels = images(32)
    for place, network, read in (
        (found[0], one, normalise(pixels, *CIFAR)),
        (found[1], other, normalise(enlarged(pixels, 224), CIFAR[0], (0.247, 0.243, 0.261))),
    ):
        classifier = load_checkpoint(place, ZOO.dataset("cifar10"))
        torch.testing.assert_close(logits(classifier, pixels), logits(network, read), rtol=1e-4, atol=1e-4)
