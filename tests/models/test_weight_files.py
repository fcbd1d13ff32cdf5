"""Weight files as training scripts leave them: wrapped, prefixed, pickled, with one's own normalisation."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn

from helpers.checkpoints import BUILTIN
from helpers.short_attack import TRY, records
from transferzoo import load_images, load_model
from transferzoo.base.errors import TransferZooError, UsageError
from transferzoo.models.wrapped_weights import Place, locate
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread", "cache")
FASHION, CIFAR = (load_zoo().dataset(name) for name in ("fashion-mnist", "cifar10"))


@pytest.fixture(scope="module")
def vgg() -> dict[str, torch.Tensor]:
    return load_file(BUILTIN / "vgg" / "model.safetensors")


def prefixed(prefix: str, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return OrderedDict((prefix + name, tensor) for name, tensor in weights.items())


def zeros(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.zeros_like(tensor) for name, tensor in weights.items()}


SAVED: dict[str, tuple[str, Any, str]] = {
    "bare": ("net.pt", lambda w: w, ""),
    "parallel": ("net.pth", lambda w: prefixed("module.", w), "'module.' is cut off their names"),
    "compiled": ("net.th", lambda w: prefixed("_orig_mod.", w), "'_orig_mod.' is cut off"),
    "both": ("net.pth", lambda w: prefixed("module._orig_mod.", w), "'module._orig_mod.' is cut off"),
    "the example of ImageNet": (
        "model_best.pth.tar",
        lambda w: {
            "epoch": 3,
            "arch": "vgg",
            "state_dict": prefixed("module.", w),
            "best_acc1": torch.ones(()),
        },
        "the weights are under 'state_dict', 'module.' is cut off",
    ),
    "DeiT and ConvNeXt": (
        "checkpoint.pth",
        lambda w: {"model": w, "model_ema": zeros(w), "optimizer": {}, "args": argparse.Namespace(lr=1.0)},
        "the weights are under 'model', those under 'model_ema' are not taken",
    ),
    "an average alone": ("ema.pt", lambda w: {"model_ema": w}, "the weights are under 'model_ema'"),
    "pytorch-cifar": (
        "ckpt.pth",
        lambda w: {"net": prefixed("module.", w), "acc": 93.1},
        "under 'net', 'mod",
    ),
    "Lightning": (
        "last.ckpt",
        lambda w: {"state_dict": {**prefixed("model.", w), "loss.weight": torch.ones(10)}, "loops": {}},
        "under 'state_dict', 'model.' is cut off their names, 1 entries without it are left out",
    ),
    "AveragedModel": (
        "swa.pt",
        lambda w: {**prefixed("module.", w), "n_averaged": torch.ones(())},
        "'module.' is cut off their names, 1 entries",
    ),
}


@pytest.mark.parametrize("kind", SAVED)
def test_weights_are_found_in_what_scripts_save(
    cli: Run, few: Path, tmp_path: Path, vgg: dict[str, torch.Tensor], kind: str
) -> None:
    name, wrap, note = SAVED[kind]
    torch.save(wrap(vgg), tmp_path / name)
    loaded = load_model(str(tmp_path / name), architecture="small_vgg")
    images = load_images(root=few).images[:8] / 255
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), load_model("vgg")(images), rtol=0, atol=0)
    for _ in range(2):  # also where it is converted already
        told = cli(*TRY, "--data", few, "-t", name, "--architecture", "small_vgg", "--dry-run", "--json")
        assert told.code == 0
        assert (f"{name}: " in told.err) == bool(note)
        assert note in told.err
    assert f"fashion-mnist/{name.partition('.')[0]}" in told.out


@pytest.mark.parametrize(
    ("content", "names", "place"),
    [
        ({"a": 1, "b": 2}, {"a", "b"}, Place()),
        ({"model.a": 1}, {"model.a"}, Place()),
        ({"model.model.a": 1}, {"model.a"}, Place((), "model.")),
        ({"other.a": 1}, {"a"}, Place()),
        ({"module.b": 1}, {"a"}, Place()),
        ([1, 2], {"a"}, Place()),
        ({"model": {"state_dict": {"a": 1}}}, {"a"}, Place(("model", "state_dict"))),
    ],
)
def test_what_is_known_is_cut_off_and_nothing_else(content: Any, names: set[str], place: Place) -> None:
    assert locate(content, names) == place


def fine_tuned(tmp_path: Path) -> Any:
    torch.manual_seed(0)
    model: nn.Module = timm.create_model("resnet10t", num_classes=10)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "net.pt")
    return model.eval()


@pytest.mark.parametrize("stated", [False, True])
def test_colours_are_normalised_as_the_architecture_or_the_user_has_it(tmp_path: Path, stated: bool) -> None:
    model = fine_tuned(tmp_path)
    own: Any = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)} if stated else {}
    loaded = load_model(str(tmp_path / "net.pt"), "cifar10", architecture="resnet10t", **own)
    reads = own or model.pretrained_cfg
    assert reads["mean"] != CIFAR.mean
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(reads[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), model((images - mean) / std), rtol=1e-4, atol=1e-4)


def test_a_fixed_size_is_the_architectures(tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = "vit_tiny_patch16_224:img_size=48,embed_dim=24,depth=1"
    model: Any = timm.create_model("vit_tiny_patch16_224", num_classes=10, img_size=48, embed_dim=24, depth=1)
    torch.save(model.state_dict(), tmp_path / "net.pt")
    loaded = load_model(str(tmp_path / "net.pt"), "cifar10", architecture=spec)
    assert loaded.size == (48, 48)
    assert loaded.mean.flatten().tolist() == pytest.approx(model.pretrained_cfg["mean"])


def test_mean_and_std_on_the_command_line(
    cli: Run, few: Path, tmp_path: Path, vgg: dict[str, torch.Tensor]
) -> None:
    torch.save(vgg, tmp_path / "net.pt")
    flags = ("-t", "net.pt", "--architecture", "small_vgg")
    own = ("--mean", FASHION.mean[0], "--std", FASHION.std[0])
    same, stated, other = (
        records(cli, few, *flags, *more)["resnet50-sgd", "net"]
        for more in ((), own, ("--mean", "0.5", "--std", "0.6"))
    )
    assert same["outcomes"] == stated["outcomes"] != other["outcomes"]


NET = ("-t", "net.pt", "--architecture", "small_vgg")


def test_programs_get_the_sentences_too(tmp_path: Path, vgg: dict[str, torch.Tensor]) -> None:
    torch.save(vgg, tmp_path / "net.pt")
    with pytest.raises(UsageError, match="--mean does not fit 'fashion-mnist'"):
        load_model(str(tmp_path / "net.pt"), architecture="small_vgg", mean=(0.1, 0.2, 0.3))
    with pytest.raises(UsageError, match="--mean and --std are about"):
        load_model("vgg", mean=(0.1,))
    with pytest.raises(TransferZooError, match="do not fit"):
        load_model(str(tmp_path / "net.pt"), architecture="small_resnet18")
