"""Checkpoint folders: what is saved comes back, here and in timm; what is damaged is a sentence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from helpers.full_disk import fill_disk
from transferzoo.base.errors import ModelError, TransferZooError, UnknownNameError, UsageError
from transferzoo.models import build, checkpoint
from transferzoo.models.classifier import load_checkpoint as load_classifier
from transferzoo.models.recipe_file import read_recipe

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.zoo.schema import DatasetSpec

pytestmark = pytest.mark.usefixtures("one_thread")
ARCHITECTURES = ["small_vgg:width=4", "small_vit:width=16", "resnet18"]


def stored(folder: Path, architecture: str, dataset: DatasetSpec, half: bool = False) -> nn.Module:
    """Save a model whose running averages and zero heads are drawn too; return it."""
    torch.manual_seed(0)
    model, arguments = build.create(architecture, dataset)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.1 * torch.rand_like(tensor))
    checkpoint.save(folder, model, architecture, dataset, arguments, half=half)
    return model.eval()


@pytest.fixture
def folder(tmp_path: Path, stripes: DatasetSpec) -> Path:
    """A good checkpoint, to be damaged."""
    stored(tmp_path / "model", "small_vgg:width=4", stripes)
    return tmp_path / "model"


def logits(model: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        return torch.as_tensor(model.eval()(torch.rand(4, 1, 12, 12, generator=generator)))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_round_trip_here_and_in_timm(tmp_path: Path, stripes: DatasetSpec, architecture: str) -> None:
    model = stored(tmp_path, architecture, stripes)
    state = torch.random.get_rng_state()
    again, pretrained = checkpoint.load_network(tmp_path, classes=3)
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator is left alone"
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert torch.equal(logits(again), logits(model))
    assert torch.equal(logits(theirs), logits(model))
    assert (pretrained["input_size"], pretrained["mean"], pretrained["std"]) == ([1, 12, 12], [0.5], [0.25])
    saved = json.loads((tmp_path / "config.json").read_text())["pretrained_cfg"]
    assert saved["label_names"] == ["lying", "standing", "chequered"]
    mode = (tmp_path / "model.safetensors").stat().st_mode
    assert mode == (tmp_path / "config.json").stat().st_mode, "others may read the weights too"


def test_half_precision_is_stored_and_never_used(tmp_path: Path, stripes: DatasetSpec) -> None:
    model = stored(tmp_path, "small_vgg:width=4", stripes, half=True)
    kinds = {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()}
    assert kinds == {torch.float16, torch.int64}
    again, _ = checkpoint.load_network(tmp_path, classes=3)
    assert {tensor.dtype for tensor in again.state_dict().values()} == {torch.float32, torch.int64}
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor.half().to(tensor.dtype))
    assert torch.equal(logits(timm.create_model(f"local-dir:{tmp_path}", pretrained=True)), logits(again))
    classifier = load_classifier(tmp_path, stripes)
    images = torch.rand(4, 1, 12, 12)
    torch.testing.assert_close(classifier(images), again.eval()((images - 0.5) / 0.25))


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16])
def test_short_numbers_are_read(tmp_path: Path, stripes: DatasetSpec, kind: torch.dtype) -> None:
    """PyTorch stores numbers of eight bits and does not compute with them."""
    model = stored(tmp_path, "small_vgg:width=4", stripes)
    change_weights(tmp_path, HEAD, model.get_parameter(HEAD).detach().to(kind))
    again, _ = checkpoint.load_network(tmp_path, 3)
    assert torch.equal(again.get_parameter(HEAD), model.get_parameter(HEAD).to(kind).float())
    change_weights(tmp_path, HEAD, torch.full_like(model.get_parameter(HEAD), torch.nan).to(kind))
    with pytest.raises(ModelError, match=f"weight '{HEAD}' of .* is not finite"):
        checkpoint.load_network(tmp_path, 3)


@pytest.mark.parametrize(("half", "hint"), [(True, "; float16 ends at 65504"), (False, "")])
def test_what_is_not_finite_is_not_saved(tmp_path: Path, stripes: DatasetSpec, half: bool, hint: str) -> None:
    model, arguments = build.create("small_vgg:width=4", stripes)
    model.get_buffer("features.1.running_var")[0] = 1e5 if half else float("inf")
    with pytest.raises(ModelError, match=f"'features.1.running_var' of .* is not finite.*{hint}"):
        checkpoint.save(tmp_path / "new", model, "small_vgg:width=4", stripes, arguments, half=half)
    assert not (tmp_path / "new").exists()


def change_config(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def change_weights(folder: Path, name: str, tensor: Tensor | None) -> None:
    weights = load_file(folder / "model.safetensors")
    if tensor is None:
        del weights[name]
    else:
        weights[name] = tensor
    save_file(weights, folder / "model.safetensors")


HEAD = "head.fc.weight"
DAMAGES: dict[str, tuple[Any, str]] = {
    "truncated": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-9]),
        r"^cannot read the weights .*/model/model\.safetensors: .*; the file may be truncated; copy or train",
    ),
    "empty": (
        lambda f: (f / "model.safetensors").write_bytes(b""),
        r"^cannot read the weights .*/model/model\.safetensors: .*; the file may be truncated; copy or train",
    ),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        r"^cannot read the weights .*/model/model\.safetensors: No such file",
    ),
    "no config": (
        lambda f: (f / "config.json").unlink(),
        r"/model is not a checkpoint folder: expected config\.json and model\.safetensors in it; name a",
    ),
    "garbage": (
        lambda f: (f / "config.json").write_bytes(b"\xff{"),
        r"^cannot read .*/model/config\.json: expected timm's config\.json, got .*; copy or train it",
    ),
    "list": (lambda f: (f / "config.json").write_text("[1]"), r"^cannot read .*config\.json: expected timm"),
    "no classes": (lambda f: (f / "config.json").write_text("{}"), r"config\.json: .* got KeyError: "),
    "bad size": (
        lambda f: change_config(f, pretrained_cfg={"input_size": ["a"], "mean": [0], "std": [1]}),
        r"^cannot read .*config\.json: .*invalid literal",
    ),
    "bad mean": (
        lambda f: change_config(f, pretrained_cfg={"input_size": [1, 8, 8], "mean": [0, 0], "std": [1]}),
        r"^cannot read .*config\.json: .*input_size, mean and std do not fit together",
    ),
    "infinite classes": (
        lambda f: (f / "config.json").write_text('{"num_classes": 1e400}'),
        r"^cannot read .*config\.json: .*the number 1e400 is too large",
    ),
    "deep": (
        lambda f: (f / "config.json").write_text("[" * 10**5 + "]" * 10**5),
        r"^cannot read .*config\.json: .*nested more than 100 deep",
    ),
    "half a character": (
        lambda f: change_config(f, architecture="\ud800"),
        r"^cannot read .*config\.json: .*half of a character",
    ),
    "a billion classes": (
        lambda f: change_config(f, num_classes=10**9),
        r"^cannot read .*config\.json: .*num_classes is 1000000000, not 0 to 100,000",
    ),
    "a billion pixels": (
        lambda f: change_config(f, pretrained_cfg={"input_size": [1, 8, 10**9], "mean": [0], "std": [1]}),
        r"^cannot read .*config\.json: .*input_size is more than 4096 pixels",
    ),
    "a billion channels": (
        lambda f: change_config(f, model_args={"width": 10**9}),
        r"config\.json: an argument of architecture 'small_vgg' is out of range: expected numbers up",
    ),
    "whole numbers": (
        lambda f: change_weights(f, HEAD, torch.ones(3, 32, dtype=torch.int8)),
        rf"^the weights in .*/model do not fit .*: kind of '{HEAD}': expected real numbers, got int8",
    ),
    "complex numbers": (
        lambda f: change_weights(f, HEAD, torch.ones(3, 32, dtype=torch.complex64)),
        rf"^the weights in .*/model do not fit .*: kind of '{HEAD}': expected real numbers, got complex64",
    ),
    "unknown architecture": (
        lambda f: change_config(f, architecture="small_vggg"),
        r"/model/config\.json: unknown architecture 'small_vggg': .*; did you mean small_vgg or ",
    ),
    "unknown argument": (
        lambda f: change_config(f, model_args={"widht": 4}),
        r"/model/config\.json: unknown option 'widht' of architecture 'small_vgg': .*; did you mean width\.$",
    ),
    "other weights": (
        lambda f: change_config(f, model_args={"checkpoint_path": "/tmp/evil.pt"}),
        r"/model/config\.json: 'checkpoint_path' is no option of architecture 'small_vgg'; leave it out\.$",
    ),
    "classes": (
        lambda f: change_config(f, num_classes=10),
        r"/model has the wrong number of classes: expected 3 as the data set, got 10; name its",
    ),
    "other architecture": (
        lambda f: change_config(f, architecture="resnet18", model_args={"in_chans": 1}),
        r"/model do not fit their architecture: 'bn1\.bias' is missing; config\.json and model",
    ),
    "shape": (
        lambda f: change_config(f, model_args={"in_chans": 1, "width": 8}),
        r"/model do not fit their architecture: shape of '.*': expected \(.*\), got \(.*\); config\.json and",
    ),
    "missing": (lambda f: change_weights(f, HEAD, None), rf"'{HEAD}' is missing"),
    "unexpected": (lambda f: change_weights(f, "extra", torch.ones(1)), "'extra' is unexpected"),
    "nan": (
        lambda f: change_weights(f, HEAD, torch.full((3, 32), torch.nan)),
        rf"^weight '{HEAD}' of .*/model is not finite: expected numbers, got NaN or infinity\.$",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_a_sentence(folder: Path, damage: str) -> None:
    inflict, sentence = DAMAGES[damage]
    inflict(folder)
    with pytest.raises(ModelError, match=sentence) as caught:
        checkpoint.load_network(folder, classes=3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[1]", "5", '"a"'])
def test_a_damaged_recipe_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(ModelError, match=r"^cannot read .*/recipe\.json: expected what `transferzoo train`"):
        read_recipe(tmp_path)


@pytest.mark.parametrize(
    ("architecture", "kind", "sentence"),
    [
        ("small_vggg", UnknownNameError, r"one of cifar_densenet121, .*; did you mean small_vgg or"),
        ("resnet19", UnknownNameError, r"did you mean (?=.*resnet18)"),
        ("small_vgg:widht=4", UnknownNameError, r"unknown option 'widht' of architecture 'small_vgg'"),
        ("small_vgg:width=0", UsageError, r"option 'width' of 'small_vgg' is out of range"),
        ("small_vgg+small_vit", UsageError, r"cannot read the architecture: expected one name"),
        ("resnet18:wdith=4", UsageError, r"cannot build architecture 'resnet18' with .*wdith"),
        ("resnet18:act_layer=nope", UsageError, r"cannot build architecture 'resnet18' with .*nope"),
        ("resnet18:pretrained=1", UsageError, r"'pretrained' is no option of architecture 'resnet18'"),
        ("small_vgg:in_chans=3", UsageError, r"the data set sets 'in_chans' of architecture"),
    ],
)
def test_architectures_that_cannot_be(
    stripes: DatasetSpec, architecture: str, kind: type[UsageError], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence) as caught:
        build.create(architecture, stripes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_full_disk_while_saving_weights(
    tmp_path: Path, stripes: DatasetSpec, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fill_disk(monkeypatch, name)
    with pytest.raises(TransferZooError, match="the disk is full; free some space"):
        stored(tmp_path, "small_vgg:width=4", stripes)
    assert not (tmp_path / name).exists()
    assert not list(tmp_path.glob(".*.tmp"))
