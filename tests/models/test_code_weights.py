"""`train --from` a function or a program: the checkpoint that is trained answers as the code does."""

from __future__ import annotations

import json
import sys
import warnings
from typing import TYPE_CHECKING

import pytest
import torch

from helpers.refusals import once_run, refused
from transferzoo.base.errors import ModelError
from transferzoo.models.classifier import load_checkpoint
from transferzoo.models.code_weights import checkpoint_of_code
from transferzoo.models.resolve import resolve_model
from transferzoo.models.sources import python_function
from transferzoo.models.unlisted_options import UnlistedOptions
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")
SPEC = "small_vgg:width=4"
CODE = """
import torch
from torch import nn
from transferzoo import load_model
from transferzoo.models.build import create
from transferzoo.zoo.reader import load_zoo

DATASET = load_zoo().dataset("fashion-mnist")

def bare():
    torch.manual_seed(0)
    network = create("small_vgg:width=4", DATASET)[0].eval()
    network.load_state_dict({name: value + 0.1 for name, value in network.state_dict().items()})
    return network

class Scaled(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = mean, std
    def forward(self, images):
        return (images - self.mean) / self.std

def normalised():
    return nn.Sequential(Scaled(DATASET.mean[0], DATASET.std[0]), bare())

def otherwise():
    return nn.Sequential(Scaled(0.9, 0.01), bare())

def zoos():
    return load_model("vgg")

def answers():
    return lambda images: torch.zeros(len(images), 10)
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write a module with networks into the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFERZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "coded.py").write_text(CODE)
    yield tmp_path
    sys.modules.pop("coded", None)
    python_function.facts.cache_clear()


def _checkpoint(name: str, architecture: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits of what code makes, and of the checkpoint made of it."""
    zoo = load_zoo()
    dataset = zoo.dataset("fashion-mnist")
    model = resolve_model(zoo, name, options=UnlistedOptions(architecture, allow_code=True))
    images = torch.rand(4, 1, 28, 28)
    folder = checkpoint_of_code(model, architecture, dataset)
    with torch.no_grad():
        theirs = model.source.download(None).load(dataset)(images)
        return theirs, load_checkpoint(folder, dataset)(images)


@pytest.mark.parametrize(
    ("name", "architecture"),
    [("coded:bare", SPEC), ("coded:normalised", SPEC), ("coded:zoos", "small_vgg"), ("net.ts", SPEC)],
)
def test_the_checkpoint_answers_as_the_code(code: Path, name: str, architecture: str) -> None:
    if name == "net.ts":
        sys.path.insert(0, str(code))
        with warnings.catch_warnings(action="ignore"):
            __import__("coded")
            torch.jit.trace(sys.modules["coded"].normalised(), torch.rand(2, 1, 28, 28)).save(name)
    theirs, ours = _checkpoint(name, architecture)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    assert theirs.std() > 0


def test_what_answers_otherwise_is_refused(code: Path) -> None:
    with pytest.raises(ModelError, match="answer otherwise in 'small_vgg:width=4' than in its own network"):
        _checkpoint("coded:otherwise", SPEC)
    with pytest.raises(ModelError, match="do not fit"):
        _checkpoint("coded:bare", "small_vgg:width=8")


@pytest.mark.parametrize("name", ["coded:bare", "python:coded:bare"])
def test_train_from_code(cli: Run, code: Path, name: str) -> None:
    command = ("train", "--from", name, "--dry-run", "--json")
    refused(
        cli(*command, "--architecture", SPEC), 2, "'coded:bare' is code, which is not run unasked", "--allow"
    )
    assert "coded" not in sys.modules
    refused(once_run(cli(*command, "--allow-code")), 2, "does not say which network its weights fit")
    done = cli(*command, "--allow-code", "--architecture", SPEC)
    assert done.code == 0, done.err
    assert "Running code that --allow-code allows: coded:bare" in done.err
    assert json.loads(done.out)["config"]["architecture"] == SPEC


def test_answers_alone_cannot_be_trained(cli: Run, code: Path) -> None:
    result = cli("train", "--from", "coded:answers", "--architecture", SPEC, "--allow-code", "--dry-run")
    refused(once_run(result), 2, "no gradient comes back from it")
    labels = cli(
        "train", "--architecture", SPEC, "--labels-from", "coded:answers", "--allow-code", "--dry-run"
    )
    assert labels.code == 0, labels.err
