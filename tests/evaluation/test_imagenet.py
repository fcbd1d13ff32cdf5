"""ImageNet from end to end, at its real sizes: models of 224, 240 and 299 pixels, images in a zip."""

from __future__ import annotations

import gc
import io
import json
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from PIL import Image
from timm.models import save_for_hf
from torch.nn.functional import interpolate, one_hot

from helpers.archives import zipped
from helpers.hub_server import Hub, connect, running
from transferzoo.models import load
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Result
    from transferzoo.models.classifier import Classifier

pytestmark = pytest.mark.usefixtures("one_thread")
CLASSES, COUNT, SIDE = 1000, 8, 299
MODELS = {  # name on the Hub → architecture, input size, mean and std
    "timm/surrogate": ("test_resnet", 224, 0.5),
    "timm/small": ("test_convnext", 224, 0.4),
    "timm/middle": ("test_efficientnet", 240, 0.5),
    "timm/large": ("test_resnet", 299, 0.45),
}
LABELS = torch.arange(COUNT) * 100 + 7


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    """Return smooth pictures of 299 pixels, uint8 (N, 3, 299, 299), that look the same at any size."""
    coarse = torch.rand(COUNT, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return (interpolate(coarse, SIDE, mode="bilinear") * 255).round().byte()


def _fitted(architecture: str, size: int, mean: float, pictures: torch.Tensor) -> Any:
    """Return a random network whose last layer tells the pictures apart, by least squares."""
    torch.manual_seed(size)
    model: Any = timm.create_model(architecture, num_classes=CLASSES, img_size=None).eval()
    with torch.no_grad():
        images = (interpolate(pictures / 255, size, mode="bilinear", antialias=True) - mean) / mean
        features = model.forward_head(model.forward_features(images), pre_logits=True)
        wanted = one_hot(LABELS, CLASSES).float() * 10
        last = model.get_classifier()
        last.weight.copy_(torch.linalg.lstsq(features, wanted, driver="gelsd").solution.T)
        last.bias.zero_()
    return model


@pytest.fixture(scope="module")
def files(pictures: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return what the Hub holds: four models as timm saves them, and the images with their list in a zip."""
    held: dict[str, bytes] = {}
    for name, (architecture, size, mean) in MODELS.items():
        folder = tmp_path_factory.mktemp("model")
        reads = {"input_size": (3, size, size), "mean": (mean,) * 3, "std": (mean,) * 3}
        model = _fitted(architecture, size, mean, pictures)
        save_for_hf(model, str(folder), model_config={"pretrained_cfg": reads}, safe_serialization=True)
        held |= {f"{name}/{path.name}": path.read_bytes() for path in folder.iterdir()}
    listed, packed = "filename,label", {}
    for row, picture in enumerate(pictures):
        content = io.BytesIO()
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(content, "PNG")
        packed[f"images/{row}.png"] = content.getvalue()
        listed += f"\n{row}.png,{int(LABELS[row])}"
    return held | {"datasets/owner/images/data.zip": zipped({**packed, "labels.csv": listed.encode()})}


@pytest.fixture
def hub(files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / "cache"))
    known = load_zoo().dataset("imagenet").model_dump(mode="json", exclude={"name"})
    known["splits"]["transferattack-1000"] = ["hub:owner/images/data.zip"]
    known["fit"] = "squash"  # the last layers were fitted to whole pictures
    (tmp_path / "zoo.yaml").write_text(json.dumps({"datasets": {"imagenet": known}}))
    monkeypatch.setenv("TRANSFERZOO_ZOO", str(tmp_path / "zoo.yaml"))
    with running(files) as served:
        connect(monkeypatch, served, tmp_path / "hub")
        yield served


@pytest.fixture
def most_at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many models were in memory whenever another one had been loaded."""
    alive: list[weakref.ref[Classifier]] = []
    counts: list[int] = []
    original = load.load_classifier

    def watched(*arguments: Any) -> Classifier:
        gc.collect()
        model = original(*arguments)
        counts.append(1 + sum(one() is not None for one in alive))
        alive.append(weakref.ref(model))
        return model

    monkeypatch.setattr(load, "load_classifier", watched)
    return counts


def test_a_surrogate_and_three_targets_of_their_own_sizes(
    hub: Hub, cli: Callable[..., Result], most_at_once: list[int]
) -> None:
    surrogate, *targets = (f"hf-hub:{name}" for name in MODELS)
    command = ["attack", "--dataset", "imagenet", "-s", surrogate, "-t", ",".join(targets), "--steps", 3]
    done = cli(*command, "--epsilon", "16/255", "--step", "eps/3")
    assert done.code == 0, done.err
    assert "Note: These images are among those of 'validation'" in done.err
    for name in ("small", "middle", "large"):
        assert name in done.out
    assert f"n = {COUNT}" in done.out
    assert len(most_at_once) > 2 * len(targets)
    assert max(most_at_once) == 1, "one model at a time"
    records = json.loads(cli(*command, "--epsilon", "16/255", "--step", "eps/3", "--json").out)["records"]
    assert [record["target_accuracy"] for record in records] == [1.0] * 3
    assert any(record["successes"] for record in records), "they are attacked indeed"
