"""One network in every form: the same answers, and the same attacks where gradients come back."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from helpers.checkpoints import BUILTIN, copied
from helpers.exported import Normalised, export
from helpers.refusals import ATTACK, refused
from helpers.short_attack import TRY, by_pair
from transferzoo import load_images, load_model
from transferzoo.base.errors import ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")
OWN = """
from transferzoo import load_model
def network(): return load_model('vgg')
"""
GRADIENTS = [
    "folder",
    "bare.safetensors",
    "parallel.pt",
    "scripted.pt",
    "exported.pt2",
    "single.pt2",
    "own:network",
]
"""Forms that images can be crafted on."""
FORMS = [*GRADIENTS, "plain.onnx", "bytes.onnx"]


class Bytes(nn.Module):
    """A network of 8-bit pixels, channels last."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        said: torch.Tensor = self.network(images.permute(0, 3, 1, 2).float() / 255)
        return said


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """The built-in vgg with its normalisation."""
    model = load_model("vgg")
    return Normalised(model.model, float(model.mean), float(model.std)).eval()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, network: nn.Module) -> Path:
    folder = tmp_path_factory.mktemp("forms")
    copied("vgg", folder / "folder")
    weights = load_file(BUILTIN / "vgg" / "model.safetensors")
    save_file(weights, folder / "bare.safetensors")
    torch.save({f"module.{name}": tensor for name, tensor in weights.items()}, folder / "parallel.pt")
    (folder / "own.py").write_text(OWN)
    export(network, folder / "plain.onnx", 2, 1, 28, 28)
    export(Bytes(network), folder / "bytes.onnx", 2, 28, 28, 1, dtype=torch.uint8)
    with warnings.catch_warnings(action="ignore"):  # TorchScript is deprecated; weights are channels last
        for name, size in (("exported", 2), ("single", 1)):
            batch = None if size == 1 else ({0: torch.export.Dim("n")},)
            program = torch.export.export(network, (torch.zeros(size, 1, 28, 28),), dynamic_shapes=batch)
            torch.export.save(program, folder / f"{name}.pt2")
        torch.jit.save(torch.jit.trace(network, torch.zeros(2, 1, 28, 28)), folder / "scripted.pt")
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cli: Run) -> Iterator[Run]:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / "cache"))
    yield lambda *arguments: cli(*arguments, "--runs", tmp_path / "runs")
    sys.modules.pop("own", None)


FLAGS = ("--architecture", "small_vgg", "--allow-code")


def loaded(name: str) -> Any:
    architecture = "small_vgg" if name in ("bare.safetensors", "parallel.pt") else ""
    return load_model(name if ":" in name else f"./{name}", architecture=architecture, allow_code=True)


@pytest.mark.parametrize("name", FORMS)
def test_every_form_predicts_the_same(here: Run, network: nn.Module, name: str) -> None:
    images = load_images().images[:200] / 255
    with torch.no_grad():
        torch.testing.assert_close(loaded(name)(images), network(images), rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_first_step_goes_the_same_way(here: Run, network: nn.Module, name: str) -> None:
    known = load_images()
    signs = []
    for model in (network, loaded(name)):
        images = (known.images[:40] / 255).requires_grad_()
        functional.cross_entropy(model(images), known.labels[:40]).backward()
        assert images.grad is not None
        signs.append(images.grad.sign())
    assert (signs[0] == signs[1]).float().mean() >= 0.995


def test_every_form_is_attacked_and_attacks_alike(here: Run, few: Path) -> None:
    names = [word for name in FORMS for word in ("-t", name if ":" in name else f"./{name}")]
    targets = by_pair(here(*TRY, "--data", few, *names, *FLAGS, "--json"))
    assert len(targets) == len(FORMS) + 1
    assert len({record["outcomes"] for record in targets.values()}) == 1
    crafted = [word for name in GRADIENTS for word in ("-s", name if ":" in name else f"./{name}")]
    command = ("attack", "-s", "vgg", *crafted, "-t", "resnet18", *TRY[5:])
    surrogates = by_pair(here(*command, "--data", few, *FLAGS, "--json"))
    assert len(surrogates) == len(GRADIENTS) + 1
    successes = [record["outcomes"].count("1") for record in surrogates.values()]
    assert max(successes) == min(successes) > 0


# ---------------------------------------------------------------- programs

ASKED = "is code, which is not run unasked"


@pytest.mark.parametrize("name", ["scripted.pt", "exported.pt2", "program:scripted.pt"])
def test_programs_are_not_run_unasked(here: Run, few: Path, name: str) -> None:
    refused(here(*TRY, "--data", few, "-t", name), 2, ASKED, "--allow-code")
    with pytest.raises(UsageError, match=ASKED):
        load_model(name)


@pytest.mark.parametrize("name", ["broken.pt2", "program:broken.pt"])
def test_a_damaged_program_is_a_sentence(
    place: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for ending, of in (("pt2", "exported.pt2"), ("pt", "scripted.pt")):
        (tmp_path / f"broken.{ending}").write_bytes((place / of).read_bytes()[:2000])
    with pytest.raises(ModelError, match=r"torch cannot load the program .*save it again"):
        load_model(name, allow_code=True)
    assert not caplog.records


def test_programs_of_other_images_are_a_sentence(tmp_path: Path) -> None:
    program = torch.export.export(nn.Flatten(), (torch.zeros(2, 1, 28, 28),))
    torch.export.save(program, tmp_path / "flat.pt2")
    with pytest.raises(ModelError, match="does not classify like the data set"):
        load_model(str(tmp_path / "flat.pt2"), allow_code=True)
    program = torch.export.export(nn.Linear(5, 10), (torch.zeros(2, 5),))
    torch.export.save(program, tmp_path / "linear.pt2")
    with pytest.raises(ModelError, match="cannot classify images of 'fashion-mnist'"):
        load_model(str(tmp_path / "linear.pt2"), allow_code=True)


# ---------------------------------------------------------------- TensorFlow


@pytest.mark.parametrize(
    ("name", "option"),
    [("net.h5", "--keras"), ("net.hdf5", "--keras"), ("net.tflite", "--tflite"), ("saved", "--saved-model")],
)
def test_models_of_tensorflow_have_a_way_out(cli: Run, tmp_path: Path, name: str, option: str) -> None:
    (tmp_path / name).touch() if "." in name else (tmp_path / name).mkdir()
    if name == "saved":
        (tmp_path / name / "saved_model.pb").touch()
    words = (f"'{name}' is a model of TensorFlow", f"python -m tf2onnx.convert {option} {name} --output")
    refused(cli(*ATTACK, "-t", name), 2, *words, "MODEL.onnx", "MODEL.keras")
