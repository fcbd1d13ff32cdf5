"""Bare weight files of the user's own, and the names under which unlisted models stand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.checkpoints import BUILTIN, copied, swapped, with_weights
from helpers.short_attack import TRY, records
from transferzoo import load_images, load_model
from transferzoo.base.errors import UsageError
from transferzoo.models.resolve import resolve_model, select_models
from transferzoo.models.unlisted_options import UnlistedOptions
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread", "cache")
FASHION = load_zoo().dataset("fashion-mnist")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Weights of the built-in vgg in another file, and nothing that says so."""
    (tmp_path / "kept").mkdir()
    weights = load_file(BUILTIN / "vgg" / "model.safetensors")
    save_file(weights, tmp_path / "kept" / "bare.safetensors", metadata={"saved": "again"})
    return tmp_path / "kept" / "bare.safetensors"


def test_bare_weights_are_the_model_they_were_taken_from(cli: Run, few: Path, bare: Path) -> None:
    flags = ("-s", bare, "-s", "vgg", "-t", bare, "-t", "resnet18", "--architecture", "small_vgg")
    found = records(cli, few, *flags)
    assert found["bare", "resnet18"]["outcomes"] == found["vgg", "resnet18"]["outcomes"]
    assert found["resnet50-sgd", "bare"]["outcomes"] == found["resnet50-sgd", "vgg"]["outcomes"]
    white = {pair for pair, record in found.items() if record["white_box"]}
    assert white == {("bare", "bare"), ("vgg", "bare"), ("bare", "vgg"), ("vgg", "vgg")}
    assert found["vgg", "bare"]["surrogate_sha256"] != found["vgg", "bare"]["target_sha256"]


def test_an_architecture_of_timm_has_the_classes_of_the_data_set(few: Path, tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=10, in_chans=1)
    save_file(model.state_dict(), tmp_path / "net.safetensors")
    loaded = load_model(str(tmp_path / "net.safetensors"), architecture="resnet18")
    images = load_images(root=few).images[:2].float() / 255
    with torch.no_grad():
        expected = model.eval()((images - FASHION.mean[0]) / FASHION.std[0])
        torch.testing.assert_close(loaded(images), expected, rtol=1e-4, atol=1e-4)


def test_different_models_have_different_names(
    tmp_path: Path, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vgg.onnx").touch()
    folder = copied("resnet18", tmp_path / "bare")
    bare.rename(folder / "bare.safetensors")
    copied("vgg", tmp_path / "other" / "vgg")
    copied("vgg", tmp_path / "deeper" / "other" / "vgg")
    texts = ["vgg", "vgg.onnx", "./bare", "bare/bare.safetensors", "other/vgg", "deeper/other/vgg", "./bare"]
    options = UnlistedOptions(architecture="small_vgg")
    found = select_models(load_zoo(), texts, "fashion-mnist", "target", options)
    here = tmp_path.name
    names = ["vgg", f"vgg ({here})", "bare", "bare (bare)", "vgg (other)", "vgg (other) (2)"]
    assert [model.name for model in found] == names, "the same model twice is one"


def test_what_the_zoo_lists_goes_before_files_of_that_name(cli: Run, few: Path, tmp_path: Path) -> None:
    other = with_weights(copied("vgg", tmp_path / "other"), swapped)
    mine = {"models": {"fashion-mnist": {"net.onnx": {"roles": ["target"], "source": f"local:{other}"}}}}
    (tmp_path / "mine.yaml").write_text(json.dumps(mine))
    (tmp_path / "net.onnx").write_text("no model")
    plan = json.loads(
        cli(*TRY, "--data", few, "--zoo", "mine.yaml", "-t", "net.onnx", "--dry-run", "--json").out
    )
    assert plan["loads"]["fashion-mnist/net.onnx"] == str(other)


def test_programs_say_the_architecture_too(bare: Path) -> None:
    images = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        loaded = load_model(str(bare), architecture="small_vgg")
        torch.testing.assert_close(loaded(images), load_model("vgg")(images))
    with pytest.raises(UsageError, match="no weights for the architecture 'small_vgg'"):
        load_model("vgg", architecture="small_vgg")


def test_names_and_folders_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = BUILTIN / "resnet18"
    twin = {"roles": ["target"], "source": f"local:{source}"}
    models = {"cifar10": {"mine": twin, "vgg": twin}, "imagenet": {"mine": twin}}
    (tmp_path / "zoo.yaml").write_text(json.dumps({"models": models}))
    zoo = load_zoo(tmp_path / "zoo.yaml")

    def found(name: str, dataset: str = "") -> Path:
        return resolve_model(zoo, name, dataset).folder

    assert found("resnet50-sgd") == BUILTIN / "resnet50-sgd"
    assert found("fashion-mnist/vgg", "cifar10") == BUILTIN / "vgg"
    assert found("vgg", "cifar10") == found("imagenet/mine") == source
    assert found("resnet50-sgd", "cifar10") == BUILTIN / "resnet50-sgd", "a model of another data set"
    with pytest.raises(UsageError, match=r"called 'mine': expected one of cifar10/mine, imagenet/mine\.$"):
        found("mine")
    (tmp_path / "folder").mkdir()
    for name in ("folder", "./folder", str(tmp_path / "folder")):
        assert found(name) == tmp_path / "folder"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert found("~/folder") == tmp_path / "folder"
    with pytest.raises(UsageError, match=r"^there is no '\./nowhere': expected a checkpoint folder"):
        found("./nowhere")
    with pytest.raises(UsageError, match=r"unknown model 'resnet50-smm': .* did you mean resnet50-"):
        found("resnet50-smm")
