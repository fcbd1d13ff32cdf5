"""Weight files of others: what they hold classifies as before; what they should not hold is a sentence."""

from __future__ import annotations

import json
import os
import pickle
import time
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import timm
import torch
import torchvision
from hub_server import COMMIT, connect, running
from originals import (
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
from safetensors.torch import load_file, save_file
from stripes import TINY
from torch import Tensor, nn

from transferzoo import building, checkpoint, conversion
from transferzoo.classifier import load
from transferzoo.errors import ModelError, TransferZooError
from transferzoo.pulling import located
from transferzoo.specs import ROLES, ModelSpec, WeightFile
from transferzoo.zoo import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result

pytestmark = pytest.mark.usefixtures("one_thread")
ZOO = load_zoo()
FASHION = ZOO.dataset("fashion-mnist")
CIFAR = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "converted"


def images(size: int) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))


# ---------------------------------------------------------------- the files of the zoo


class Layout(NamedTuple):
    """How an entry's file comes to be: the network, what is stored of it, and what it reads."""

    make: Callable[[], nn.Module]
    store: Callable[[nn.Module], dict[str, Any]]
    normalisation: tuple[tuple[float, ...], tuple[float, ...]]
    size: int = 32


def plain(network: nn.Module) -> dict[str, Any]:
    return dict(network.state_dict())


def wrapped(network: nn.Module) -> dict[str, Any]:
    return {"state_dict": network.state_dict(), "arch": "densenet121", "clean_acc": 95.39, "epoch": 200}


LAYOUTS = {
    "cifar10/resnet18": Layout(lambda: detectors_resnet(18), plain, CIFAR),
    "cifar10/vgg16-bn": Layout(detectors_vgg, plain, CIFAR),
    "cifar10/densenet121": Layout(detectors_densenet, plain, CIFAR),
    "cifar10/densenet121-scissors": Layout(
        lambda: detectors_densenet(32), wrapped, ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    ),
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
    model = entry.model_copy(update={"source": f"local:{tmp_path}", "weights": weights})
    told: list[str] = []
    folder = located(model, told.append).folder
    classifier = load(folder, ZOO.dataset(entry.dataset))
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
    architecture, options = building.read(weights.architecture)
    arguments = {"in_chans": 3, **options, **weights.arguments}
    with torch.device("meta"):
        theirs = SHAPES[name]().state_dict()
        ours = building.build(architecture, arguments.pop("num_classes", None), arguments).state_dict()
    assert [(key, value.shape) for key, value in ours.items()] == [(k, v.shape) for k, v in theirs.items()]


def test_a_transformer_for_larger_images(tmp_path: Path) -> None:
    entry = ZOO.models["cifar10/vit-b16"]
    assert entry.weights is not None
    tiny = {"depth": 1, "embed_dim": 24, "num_heads": 2}
    weights = entry.weights.model_copy(update={"arguments": {**entry.weights.arguments, **tiny}})
    network = alive(lambda: detectors_vit(**tiny))
    torch.save(network.state_dict(), tmp_path / weights.file)
    model = entry.model_copy(update={"source": f"local:{tmp_path}", "weights": weights})
    classifier = load(located(model).folder, ZOO.dataset("cifar10"))
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
    repo, _, commit = ready.source.removeprefix("hub:").partition("@")
    files = {f"{repo}/{path.name}": path.read_bytes() for path in folder.iterdir()}
    config = json.dumps({"architecture": "resnet18", "auto_map": {"AutoModel": "evil.Model"}}).encode()
    files |= {
        "edadaltocg/densenet121_cifar10/pytorch_model.bin": stored.read_bytes(),
        "edadaltocg/densenet121_cifar10/config.json": config,
        "edadaltocg/densenet121_cifar10/evil.py": b"raise SystemExit",
    }
    with running(files) as hub:
        hub.repositories[repo].refs[commit] = COMMIT
        connect(monkeypatch, hub, tmp_path / "hub")
        told: list[str] = []
        found = [located(model, told.append).folder for model in (pickled, ready)]
        asked = {request.path.rpartition("/")[2] for request in hub.requests if "/resolve/" in request.path}
        assert asked == {"pytorch_model.bin", "config.json", "model.safetensors", "recipe.json"}
        assert not any("densenet" in r.path and "config" in r.path for r in hub.requests), "one file of it"
        assert located(pickled, told.append).folder == found[0]
        assert len(told) == 1, "a pickle is read once"
        connect(monkeypatch, hub, tmp_path / "hub", HF_HUB_OFFLINE="1")
        assert located(pickled).folder == found[0]
    assert found[0].parent == cache
    origin = json.loads((found[0] / "origin.json").read_text())
    assert origin["repository"] == "edadaltocg/densenet121_cifar10"
    assert (origin["commit"], origin["file"], len(origin["sha256"])) == (COMMIT, "pytorch_model.bin", 64)
    pixels = images(32)
    for place, network, read in (
        (found[0], one, normalise(pixels, *CIFAR)),
        (found[1], other, normalise(enlarged(pixels, 224), CIFAR[0], (0.247, 0.243, 0.261))),
    ):
        classifier = load(place, ZOO.dataset("cifar10"))
        torch.testing.assert_close(logits(classifier, pixels), logits(network, read), rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------- one tiny file, read in several ways

FILE = WeightFile(
    file="w.bin", architecture="small_vgg:width=4", pickle=True, input_size=(1, 28, 28), mean=(0.3,),
    std=(0.4,),
)  # fmt: skip
HEAD = "head.fc.weight"


def tiny() -> dict[str, Tensor]:
    return dict(alive(lambda: timm.create_model("small_vgg", width=4)).state_dict())


def convert(file: Path, content: object, **changes: Any) -> Path:
    """Store some content as a pickle, and convert it."""
    torch.save(content, file)
    return conversion.converted(file, FILE.model_copy(update=changes), {"file": file.name})


def test_safetensors_need_no_pickle(tmp_path: Path) -> None:
    state = tiny()
    save_file({f"net.{name}": tensor for name, tensor in state.items()}, tmp_path / "w.safetensors")
    weights = FILE.model_copy(update={"file": "w.safetensors", "pickle": False, "prefix": "net."})
    told: list[str] = []
    folder = conversion.converted(tmp_path / "w.safetensors", weights, {}, told.append)
    assert told == []
    found = load_file(folder / checkpoint.WEIGHTS)
    assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)
    theirs, ours = timm.create_model(f"local-dir:{folder}", pretrained=True).eval(), load(folder, FASHION)
    pixels = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(logits(theirs, (pixels - 0.3) / 0.4), logits(ours, pixels))


def test_other_number_formats_and_shared_numbers(tmp_path: Path) -> None:
    state = tiny()
    halves = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    halves["features.1.bias"] = halves["features.1.weight"]
    found = load_file(convert(tmp_path / "w.bin", halves) / checkpoint.WEIGHTS)
    assert {tensor.dtype for tensor in found.values()} == {torch.float32, torch.int64}
    assert torch.equal(found["features.1.bias"], halves["features.1.weight"].float())
    assert torch.equal(found[HEAD], halves[HEAD].float())
    state["features.1.bias"] = state["features.1.weight"]
    found = load_file(convert(tmp_path / "w.bin", state) / checkpoint.WEIGHTS)
    assert torch.equal(found["features.1.bias"], state["features.1.weight"])


def test_contents_have_folders_of_their_own(tmp_path: Path, cache: Path) -> None:
    state = tiny()
    drawn = torch.random.get_rng_state()
    first = convert(tmp_path / "w.bin", state)
    assert torch.equal(torch.random.get_rng_state(), drawn), "the global generator is left alone"
    time_of = (first / checkpoint.WEIGHTS).stat().st_mtime_ns
    assert convert(tmp_path / "w.bin", state) == first
    assert (first / checkpoint.WEIGHTS).stat().st_mtime_ns == time_of, "written once"
    other = convert(tmp_path / "w.bin", state, mean=(0.5,))
    changed = convert(tmp_path / "w.bin", state | {HEAD: state[HEAD] + 1})
    assert len({first, other, changed}) == 3 == len(list(cache.iterdir()))
    assert checkpoint.read_config(other)["pretrained_cfg"]["mean"] == [0.5]


def test_a_conversion_that_stopped_is_made_again(tmp_path: Path, cache: Path) -> None:
    """The last file it writes goes to a full disk."""
    folder = convert(tmp_path / "w.bin", tiny())
    (folder / checkpoint.WEIGHTS).unlink()
    temporary = folder / f".{checkpoint.WEIGHTS}.{os.getpid()}.tmp"
    temporary.symlink_to("/dev/full")
    with pytest.raises(TransferZooError, match="the disk is full"):
        convert(tmp_path / "w.bin", tiny())
    assert not (folder / checkpoint.WEIGHTS).exists()
    assert convert(tmp_path / "w.bin", tiny()) == folder
    assert load(folder, FASHION).size == (28, 28)


def changed(**tensors: Tensor | None) -> dict[str, Any]:
    """Return the weights with some changed, or removed."""
    state: dict[str, Any] = tiny()
    for key, tensor in tensors.items():
        state[key] = tensor
    return {key: tensor for key, tensor in state.items() if tensor is not None}


WRONG: dict[str, tuple[Callable[[], object], dict[str, Any], str]] = {
    "under": (tiny, {"under": ("net",)}, r"does not hold weights under 'net': expected one of 'feat.*, …\.$"),
    "too deep": (tiny, {"under": (HEAD, "a")}, r"does not hold weights under 'a': expected a mapping\.$"),
    "a list": (lambda: [1, 2], {}, r"holds no weights: expected names and tensors, got list\.$"),
    "prefix": (tiny, {"prefix": "net."}, r"holds no weights that begin with 'net\.': expected one of 'feat"),
    "a number": (lambda: changed() | {HEAD: 3}, {}, r"'head\.fc\.weight' in .* is no weight: .* got int\.$"),
    "sparse": (lambda: changed(**{HEAD: torch.ones(10, 32).to_sparse()}), {}, "is no weight: expected a ten"),
    "nowhere": (lambda: changed(**{HEAD: torch.ones(10, 32, device="meta")}), {}, "is no weight: expected"),
    "missing": (lambda: changed(**{HEAD: None}), {}, rf"do not fit their architecture: '{HEAD}' is missing"),
    "unexpected": (
        lambda: changed(mean=torch.zeros(1)), {},
        r"'mean' is unexpected; check the architecture, or `weights` of the zoo entry\.$",
    ),
    "shape": (
        lambda: changed(**{HEAD: torch.ones(1).expand(10**9, 10**4)}), {},
        rf"shape of '{HEAD}': expected \(10, 32\), got \(1000000000, 10000\)",
    ),
    "nan": (lambda: changed(**{HEAD: torch.full((10, 32), torch.nan)}), {}, rf"'{HEAD}' of .* is not finite"),
    "architecture": (tiny, {"architecture": "small_vggg"}, r"^w\.bin: unknown architecture 'small_vggg'"),
    "elsewhere": (tiny, {"architecture": "hf-hub:a/b"}, r"^w\.bin: cannot read 'a/b' in 'hf-hub:a/b'"),
    "fetching": (tiny, {"arguments": {"pretrained": True}}, "'pretrained' is no option of architecture"),
    "another file": (tiny, {"sha256": "0" * 64}, r"w\.bin is another file: expected the SHA-256 0+, got "),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_a_sentence(tmp_path: Path, cache: Path, case: str) -> None:
    content, changes, sentence = WRONG[case]
    with pytest.raises(ModelError, match=sentence) as caught:
        convert(tmp_path / "w.bin", content(), **changes)
    assert "\n" not in str(caught.value)
    assert not list(cache.glob("*/*"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^cannot read the weights .*/no\.bin: .*; check its place"):
        conversion.converted(tmp_path / "no.bin", FILE, {})


# ---------------------------------------------------------------- files that mean harm


class Harm:
    """A value that makes a folder when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.place),)


ZIP, OLD, BARE = "zip", "old", "bare"


@pytest.mark.parametrize("way", [ZIP, OLD, BARE])
def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, cache: Path, way: str) -> None:
    file, place = tmp_path / "w.bin", tmp_path / "harm"
    if way == BARE:
        file.write_bytes(pickle.dumps({"extra": Harm(place)}, protocol=2))
    else:
        torch.save({**tiny(), "extra": Harm(place)}, file, _use_new_zipfile_serialization=way == ZIP)
    reason = r"^the pickle .*/w\.bin is not read: it needs '\w+\.mkdir', so it could run code"
    with pytest.raises(ModelError, match=reason) as caught:
        conversion.converted(file, FILE, {})
    assert "\n" not in str(caught.value) and not place.exists()
    assert not list(cache.glob("*/*"))
    torch.load(file, weights_only=False) if way != BARE else pickle.loads(file.read_bytes())
    assert place.exists(), "it means harm"


DAMAGED = {
    "empty": b"", "zeros": bytes(100), "text": b"<html>404</html>", "half a zip": b"PK\x03\x04" + bytes(50),
    "a newer pickle": pickle.dumps({"a": 1}, protocol=4),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("pickled", [True, False])
def test_damaged_files_are_sentences(tmp_path: Path, kind: str, pickled: bool) -> None:
    (tmp_path / "w.bin").write_bytes(DAMAGED[kind])
    sentence = "is not read: it is damaged or no such pickle" if pickled else "cannot read the weights"
    weights = FILE.model_copy(update={"pickle": pickled})
    recorded = warnings.catch_warnings(record=True, action="always")
    with recorded as said, pytest.raises(ModelError, match=sentence) as caught:
        conversion.converted(tmp_path / "w.bin", weights, {})
    assert "\n" not in str(caught.value) and not said


def test_a_pickle_is_no_safetensors_file_whatever_its_name(tmp_path: Path) -> None:
    place = tmp_path / "harm"
    torch.save({"a": Harm(place)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"^cannot read the weights .*model\.safetensors: "):
        checkpoint.read_weights(tmp_path / "model.safetensors")
    assert not place.exists()


HEADERS: dict[str, bytes | str] = {
    "long": (2**40).to_bytes(8, "little") + b"{}",
    "all of it": (2**64 - 1).to_bytes(8, "little"),
    "large": json.dumps({"a": {"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}}),
    "overflowing": json.dumps({"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_safetensors_file_that_claims_to_be_huge(tmp_path: Path, kind: str) -> None:
    header = HEADERS[kind]
    if isinstance(header, str):
        header = len(header).to_bytes(8, "little") + header.encode() + bytes(4)
    (tmp_path / "model.safetensors").write_bytes(header)
    started = time.monotonic()
    with pytest.raises(ModelError, match="cannot read the weights"):
        checkpoint.read_weights(tmp_path / "model.safetensors")
    assert time.monotonic() - started < 5


# ---------------------------------------------------------------- on the command line

MINE = """
models:
  fashion-mnist:
    pickled:
      roles: [target]
      source: "local:."
      weights: {file: w.bin, pickle: true, architecture: small_vgg, input_size: [1, 28, 28], mean: [0.286],
                std: [0.353]}
"""


def test_the_command_line_says_that_it_reads_a_pickle(
    cli: Callable[..., Result], few: Path, tmp_path: Path
) -> None:
    torch.save(load_file(ZOO.models["fashion-mnist/vgg"].folder / checkpoint.WEIGHTS), tmp_path / "w.bin")
    (tmp_path / "mine.yaml").write_text(MINE)
    flags = ("--zoo", "mine.yaml", "--data", few, "--steps", 1, "--images", 4, "--json")
    command = ("attack", "-s", "vgg", "-t", "pickled", *flags)
    first = cli(*command)
    assert first.code == 0, first.err
    assert "w.bin is a pickle: it is read as tensors only, once, and kept as safetensors in " in first.err
    again = cli(*command)
    assert again.code == 0 and "pickle" not in again.err


def test_a_weight_file_has_a_place(tmp_path: Path) -> None:
    model = ModelSpec(
        name="a", dataset="fashion-mnist", roles=ROLES, source=f"local:{tmp_path}", weights=FILE
    )
    with pytest.raises(ModelError, match=r"cannot read the weights .*/w\.bin: No such file"):
        located(model)
