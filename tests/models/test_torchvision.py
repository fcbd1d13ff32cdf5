"""Models of torchvision: a small one of the tests, registered with torchvision, with weights on a server."""

from __future__ import annotations

import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torchvision.models import WeightsEnum, _api, get_model
from torchvision.models._api import Weights, register_model
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification, ObjectDetection
from torchvision.transforms.functional import to_pil_image

from helpers.foreign_models import TinyNet, fitted_tiny, hashed_name, saved
from helpers.refusals import ATTACK, refused
from helpers.short_attack import records
from transferzoo import load_images, load_model
from transferzoo.base.errors import TransferZooError, UsageError
from transferzoo.models.sources.torchvision_model import TorchvisionModel
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")
FASHION = load_zoo().dataset("fashion-mnist")


class Code:
    """What a pickle makes by calling a function."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this ran",)


@pytest.fixture
def weights(tmp_path: Path, few: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[WeightsEnum]]:
    """Register `tiny_net`, whose weights lie on a server; the cache of torch.hub is empty."""
    (tmp_path / "served").mkdir()
    first = partial(ImageClassification, crop_size=24, resize_size=30)
    second = partial(ImageClassification, crop_size=28, interpolation=InterpolationMode.BICUBIC)
    good, other, bad = fitted_tiny(few, first()), saved(TinyNet().state_dict()), saved({"a": Code()})
    named = {name: hashed_name(content) for name, content in (("good", good), ("other", other), ("bad", bad))}
    for name, content in {"good": good, "other": good, "bad": bad}.items():  # "other" has changed
        (tmp_path / "served" / named[name]).write_bytes(content)
    handler = partial(Quiet, directory=tmp_path / "served")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        meta = {"categories": [*reversed(FASHION.classes)], "_file_size": len(good) / 2**20}

        class Tiny_Weights(WeightsEnum):  # type: ignore[misc]
            V1 = Weights(f"{address}/{named['good']}", first, meta)
            V2 = Weights(f"{address}/{named['good']}", second, meta)
            CHANGED = Weights(f"{address}/{named['other']}", first, meta)
            UNSAFE = Weights(f"{address}/{named['bad']}", first, meta)
            BOXES = Weights(f"{address}/{named['good']}", ObjectDetection, meta)
            LOST = Weights("http://127.0.0.1:9/tiny-00000000.pth", first, meta)
            DEFAULT = V1

        def tiny_net(*, weights: Tiny_Weights | None = None, progress: bool = True) -> TinyNet:
            model = TinyNet()
            if weights is not None:
                model.load_state_dict(weights.get_state_dict(progress=progress, check_hash=True))
            return model

        tiny_net.__annotations__["weights"] = Tiny_Weights  # `get_model_weights` reads it
        monkeypatch.setattr(_api, "BUILTIN_MODELS", {**_api.BUILTIN_MODELS})
        register_model()(tiny_net)
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        yield Tiny_Weights
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize(("place", "chosen"), [("tiny_net", "V1"), ("tiny_net:V2", "V2")])
def test_it_predicts_as_torchvision_does(
    weights: type[WeightsEnum], few: Path, place: str, chosen: str
) -> None:
    """torchvision's own transforms and model; its classes stand in another order than the data's.

    Pillow rounds what it resizes; what it resizes bicubically it cuts off at black and white.
    """
    images = load_images(root=few).images[:20]
    pixels = images / 255
    model = load_model(f"torchvision:{place}")
    reference = get_model("tiny_net", weights=weights[chosen]).eval()
    with torch.no_grad():
        read_by = weights[chosen].transforms()
        colours = pixels.expand(-1, 3, -1, -1)
        one_by_one = [read_by(to_pil_image(image)) for image in images.expand(-1, 3, -1, -1)]
        read = read_by(colours) if chosen == "V1" else torch.stack(one_by_one)
        torch.testing.assert_close(model.read(pixels), read, rtol=0, atol=1e-5 if chosen == "V1" else 0.04)
        expected = reference(read).flip(1)
        torch.testing.assert_close(model(pixels), expected, rtol=0, atol=1e-4 if chosen == "V1" else 0.3)
    assert expected.argmax(1).unique().numel() > 1


def test_its_download_is_told_before_it_is_made(
    weights: type[WeightsEnum], cli: Run, few: Path, tmp_path: Path
) -> None:
    """By `pull` and by the plan of an attack, with its size and address; `pull` makes it, once."""
    name = "torchvision:tiny_net"
    served = tmp_path / "served" / weights["V1"].url.rpartition("/")[2]
    kept = tmp_path / "torch" / "hub" / "checkpoints" / served.name
    told = cli("pull", name, "--dry-run")
    assert told.code == 0
    assert "to download" in told.err
    assert weights["V1"].url[:22] in told.err, told.err
    (item,) = json.loads(cli("pull", name, "--dry-run", "--json").out)["items"]
    size = served.stat().st_size
    assert (item["name"], item["state"], item["url"]) == (name, "web", weights["V1"].url)
    assert (item["bytes"], item["missing"]) == (size, size)
    attack = ("attack", "-s", "vgg", "-t", name, "--data", few, "--steps", 1, "--dry-run", "--json")
    plan = json.loads(cli(*attack).out)
    wanted = {"name": name, "kind": "model", "bytes": size, "error": None, "url": weights["V1"].url}
    assert plan["downloads"] == [wanted]
    assert not kept.exists(), "nothing is downloaded to tell"
    done = cli("pull", name)
    assert (done.code, kept.read_bytes() == served.read_bytes()) == (0, True), done.err
    assert "Nothing to download." in cli("pull", name).err
    (item,) = json.loads(cli("pull", name, "--json").out)["items"]
    assert (item["state"], item["missing"]) == ("cached", 0)
    assert json.loads(cli(*attack).out)["run_folder"], "all that it needs is here"
    damaged = cli("pull", "torchvision:tiny_net:CHANGED")
    assert (damaged.code, "is damaged" in damaged.err) == (1, True), damaged.err


def test_it_attacks_and_is_attacked(weights: type[WeightsEnum], cli: Run, few: Path) -> None:
    name = "torchvision:tiny_net"
    found = records(cli, few, "-s", name, "-t", name)
    assert found[name, name]["white_box"]
    assert found[name, name]["target_sha256"][:8] in weights["V1"].url
    assert "torchvision" in found[name, name]["versions"]
    assert not found[name, "vgg"]["white_box"]


def test_what_stands_behind_a_name_is_told_apart(weights: type[WeightsEnum]) -> None:
    one, same, other = (TorchvisionModel.parse(f"tiny_net{end}") for end in ("", ":V1", ":V2"))
    assert one.identity() == same.identity()
    assert one.identity()[0] == other.identity()[0]
    assert one.identity()[1] != other.identity()[1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("torchvision:tiny_net:V3", ("unknown weights 'V3' of torchvision:tiny_net", "CHANGED", "mean V2")),
        ("torchvision:", ("is no model of torchvision", "torchvision:NAME[:WEIGHTS]")),
        ("torchvision:mnasnet0_75_", ("unknown model",)),
        ("torchvision:shufflenet_v2_x1_5:NONE", ("unknown weights 'NONE'",)),
    ],
)
def test_a_wrong_name_is_a_sentence(
    weights: type[WeightsEnum], cli: Run, name: str, words: tuple[str, ...]
) -> None:
    refused(cli(*ATTACK, "-t", name), 2, *words)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("LOST", "cannot download the weights http.*check the network, or put the file into"),
        ("CHANGED", "the download of .* is damaged: .*invalid hash value"),
        ("UNSAFE", "are not read: .*with tensors only; delete it"),
    ],
)
def test_weights_that_cannot_be_had_are_a_sentence(
    weights: type[WeightsEnum], capsys: pytest.CaptureFixture[str], place: str, words: str
) -> None:
    with pytest.raises(TransferZooError, match=words):
        load_model(f"torchvision:tiny_net:{place}")
    assert "this ran" not in capsys.readouterr().out


def test_a_file_in_the_cache_is_checked_too(weights: type[WeightsEnum], tmp_path: Path) -> None:
    load_model("torchvision:tiny_net")
    (file,) = (tmp_path / "torch" / "hub" / "checkpoints").iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"\0\0")
    with pytest.raises(TransferZooError, match=r"are not read: its SHA-256 is .*; delete it"):
        load_model("torchvision:tiny_net")


def test_it_is_nothing_to_train_from(weights: type[WeightsEnum], cli: Run) -> None:
    refused(cli("train", "--from", "torchvision:tiny_net", "--dry-run"), 2, "is no checkpoint folder")


def test_boxes_are_no_classes(weights: type[WeightsEnum]) -> None:
    with pytest.raises(UsageError, match="is no classifier of images"):
        load_model("torchvision:tiny_net:BOXES")
