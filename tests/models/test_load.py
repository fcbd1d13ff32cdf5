"""Opening models of every kind: what is told of them, and what they may say."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from helpers.checkpoints import BUILTIN
from transferzoo.base.errors import ModelError, UsageError
from transferzoo.base.frozen_model import fingerprint
from transferzoo.defences import read_defence
from transferzoo.evaluation.job import weights_of
from transferzoo.models import checkpoint, load
from transferzoo.models.download import loadable
from transferzoo.models.predict import predict, predict_defended
from transferzoo.models.predictor import Predictor, checked
from transferzoo.models.sources.checkpoint_folder import LocalFolder
from transferzoo.models.sources.python_function import PythonFunction
from transferzoo.models.weight_digests import state_digest
from transferzoo.zoo.model_source import read_source
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("one_thread")
VGG = load_zoo().models["fashion-mnist/vgg"]


def test_a_checkpoint_is_known_by_the_digests_it_always_had() -> None:
    weights, config = loadable(VGG).identity()
    assert weights == hashlib.sha256((BUILTIN / "vgg" / "model.safetensors").read_bytes()).hexdigest()
    assert config == fingerprint(checkpoint.read_config(BUILTIN / "vgg"))
    assert loadable(VGG).versions() == {}
    load.require_gradients(VGG)


def test_collected_weights_are_files_and_the_main_ones_none(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    files = [tmp_path / "samples" / f"{number:04d}.safetensors" for number in (1, 0)]
    for file in files:
        file.touch()
    model = VGG.model_copy(update={"source": LocalFolder(tmp_path)})
    assert weights_of(model, every=True) == sorted(files)
    assert weights_of(model, every=False) == [None]
    assert weights_of(model.model_copy(update={"source": PythonFunction("mine:net")}), every=True) == [None]


@pytest.mark.parametrize("source", ["onnx:/tmp/net.onnx", "python:mine:net"])
def test_only_checkpoints_have_a_folder(source: str) -> None:
    model = VGG.model_copy(update={"source": read_source(source)})
    assert (model.place, model.source.folder) == (source, None)
    with pytest.raises(UsageError, match=r"is no checkpoint folder: expected .* got " + source):
        model.folder  # noqa: B018


def test_weights_are_told_apart_by_names_numbers_and_number_formats() -> None:
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    first, second = map(state_digest, nets)
    assert first == second
    prints = {first, state_digest(nn.ModuleDict({"0": nets[1][0], "norm": nets[1][1]}))}
    nets[1][1].get_buffer("num_batches_tracked").add_(1)
    prints |= {state_digest(nets[1]), state_digest(nets[0].bfloat16())}
    assert len(prints) == 4


def test_a_model_without_weights_is_asked_in_full_precision_on_the_processor() -> None:
    seen = []

    def answer(images: torch.Tensor) -> Any:
        seen.append((images.dtype, images.device.type, images.requires_grad, float(images.max())))
        return torch.eye(3)[[2, 0]].numpy()

    images = torch.full((2, 1, 4, 4), 255, dtype=torch.uint8)
    model = Predictor(answer, 3, "it")
    assert predict(model, images).tolist() == [2, 0]
    assert predict_defended(model, read_defence("bits:depth=4"), images, torch.arange(2)).tolist() == [2, 0]
    assert not model(torch.ones(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)).requires_grad
    assert seen == [(torch.float32, "cpu", False, 1.0)] * 3


def test_buffers_say_the_precision_where_there_are_no_weights() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.tensor(0))
            self.register_buffer("scale", torch.ones(1, dtype=torch.float64))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert images.dtype is torch.float64
            return images.flatten(1)[:, :2]

    assert predict(Counts(), torch.tensor([[[[0, 9]]]], dtype=torch.uint8)).tolist() == [1]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (torch.zeros(2, 4), r"expected logits of shape \(2, 3\), got shape \(2, 4\)"),
        (torch.zeros(2), r"got shape \(2,\)"),
        (torch.zeros(1, 3), r"got shape \(1, 3\)"),
        (torch.tensor([[0, 1, float("nan")]] * 2), "returns NaN"),
        (None, "returns no scores.* got NoneType"),
        ({"logits": 1}, "returns no scores.* got dict"),
        ((torch.zeros(2, 3), None), "returns no scores.* got tuple"),
    ],
)
def test_what_is_no_score_is_refused(said: object, words: str) -> None:
    with pytest.raises(ModelError, match=f"'it' .*{words}"):
        checked(said, 2, 3, "it")


@pytest.mark.parametrize("make", [torch.zeros, lambda *size: torch.zeros(size).numpy()])
def test_scores_are_tensors_or_arrays(make: Callable[..., object]) -> None:
    assert checked(make(2, 3), 2, 3, "it").shape == (2, 3)
