"""Folders in timm's format that timm repairs while it loads, and folders that want more than weights."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from helpers.hub_server import connect, running
from helpers.original_networks import alive, logits
from transferzoo.base.errors import ModelError
from transferzoo.models import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    State = dict[str, Tensor]

pytestmark = pytest.mark.usefixtures("one_thread")
CLASSES = 10


def folder_of(
    place: Path, name: str, model: Any, state: State, arguments: dict[str, Any], **reads: object
) -> Path:
    """Write a folder as timm does, with other names of the weights."""
    kept = {"input_size", "fixed_input_size", "mean", "std", "first_conv", "classifier", "custom_load", "tag"}
    described = {key: value for key, value in model.pretrained_cfg.items() if key in kept}
    config = {
        "architecture": name,
        "num_classes": CLASSES,
        "num_features": model.num_features,
        "pretrained_cfg": {**described, "num_classes": CLASSES, **reads},
        "model_args": arguments,
    }
    (place / "config.json").write_text(json.dumps(config))
    save_file(
        {key: tensor.clone().contiguous() for key, tensor in state.items()}, place / "model.safetensors"
    )
    return place


# ---------------------------------------------------------------- names and buffers of older versions


def swin(state: State) -> State:
    """Downsampling at the end of a stage, another head, and buffers."""
    old = {
        re.sub(r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", key).replace(
            "head.fc.", "head."
        ): value
        for key, value in state.items()
    }
    tables = [key for key in state if key.endswith("relative_position_bias_table")]
    index = {key.replace("bias_table", "index"): torch.zeros(49, 49, dtype=torch.int64) for key in tables}
    return {**old, **index, "layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49)}


def beit(state: State) -> State:
    return state | {"blocks.0.attn.relative_position_index": torch.zeros(197, 197, dtype=torch.int64)}


def levit(state: State) -> State:
    return state | {"stages.0.blocks.0.attn.attention_bias_idxs": torch.zeros(196, 196, dtype=torch.int64)}


def xcit(state: State) -> State:
    """One matrix for queries, keys and values."""
    old = {key.replace("pos_embed.", "pos_embeder."): value for key, value in state.items()}
    for block in range(2):
        for kind in ("weight", "bias"):
            names = [f"cls_attn_blocks.{block}.attn.{part}.{kind}" for part in "qkv"]
            if names[0] in old:
                parts = [old.pop(name) for name in names]
                old[f"cls_attn_blocks.{block}.attn.qkv.{kind}"] = torch.cat(parts)
    return old


def cait(state: State) -> State:
    return {f"module.{key}": value for key, value in state.items()}


def deit3(state: State) -> State:
    return {re.sub(r"ls(\d)\.gamma", r"gamma_\1", key): value for key, value in state.items()}


OLD: dict[str, tuple[Callable[[State], State], dict[str, Any]]] = {
    "swin_tiny_patch4_window7_224": (
        swin,
        {"embed_dim": 8, "depths": [2, 1, 1, 1], "num_heads": [1, 2, 2, 2]},
    ),
    "beit_base_patch16_224": (beit, {"embed_dim": 16, "depth": 1, "num_heads": 2}),
    "levit_128s": (levit, {}),
    "xcit_small_12_p16_224": (xcit, {"embed_dim": 16, "depth": 1, "num_heads": 2}),
    "cait_xxs24_224": (cait, {"embed_dim": 16, "depth": 1, "num_heads": 2}),
    "deit3_small_patch16_224": (deit3, {"embed_dim": 16, "depth": 1, "num_heads": 2}),
}


@pytest.mark.parametrize("name", OLD)
def test_older_names_load_as_in_timm(tmp_path: Path, name: str) -> None:
    age, arguments = OLD[name]
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=CLASSES, **arguments).eval()
    for value in model.state_dict().values():
        value.add_(0.01 * torch.rand_like(value)) if value.is_floating_point() else value
    state = age(dict(model.state_dict()))
    assert state.keys() != model.state_dict().keys()
    folder = folder_of(tmp_path, name, model, state, arguments)
    drawn = torch.random.get_rng_state()
    found, reads = checkpoint.load_network(folder, CLASSES)
    assert torch.equal(torch.random.get_rng_state(), drawn), "the global generator is left alone"
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = torch.rand(1, *reads["input_size"])
    assert torch.equal(logits(found.eval(), images), logits(model, images))
    assert torch.equal(logits(theirs, images), logits(model, images))


def small_resnet() -> tuple[nn.Module, dict[str, Any]]:
    arguments: dict[str, Any] = {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8]}
    return alive(lambda: timm.create_model("resnet18", num_classes=CLASSES, **arguments)), arguments


def test_todays_names_are_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, arguments = small_resnet()
    folder = folder_of(tmp_path, "resnet18", model, dict(model.state_dict()), arguments)
    monkeypatch.setattr(checkpoint, "filtered", None)
    found, _ = checkpoint.load_network(folder, CLASSES)
    assert all(torch.equal(found.state_dict()[key], value) for key, value in model.state_dict().items())


def test_a_head_of_other_classes_is_not_dropped(tmp_path: Path) -> None:
    """timm would draw a new one."""
    age, arguments = OLD["swin_tiny_patch4_window7_224"]
    model = timm.create_model("swin_tiny_patch4_window7_224", num_classes=7, **arguments)
    state = age(dict(model.state_dict()))
    folder = folder_of(tmp_path, "swin_tiny_patch4_window7_224", model, state, arguments)
    with pytest.raises(ModelError, match="do not fit their architecture"):
        checkpoint.load_network(folder, CLASSES)


def test_weights_that_timm_drops_may_be_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As the auxiliary head of torchvision's Inception; timm warns of them."""
    model = alive(lambda: timm.create_model("dla46_c", num_classes=CLASSES))
    state = {**model.state_dict(), "auxiliary.fc.weight": torch.ones(1)}
    found, _ = checkpoint.load_network(folder_of(tmp_path, "dla46_c", model, state, {}), CLASSES)
    assert all(torch.equal(found.state_dict()[key], value) for key, value in model.state_dict().items())
    assert caplog.text == ""


def test_a_builder_that_puts_up_with_missing_weights_is_not_believed(tmp_path: Path) -> None:
    model = alive(lambda: timm.create_model("dla46_c", num_classes=CLASSES))
    state = {key: value for key, value in model.state_dict().items() if key != "fc.weight"}
    folder = folder_of(tmp_path, "dla46_c", model, state, {})
    theirs: Any = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert theirs.fc.weight.shape[0] == CLASSES, "timm loads it, with a fresh head"
    with pytest.raises(ModelError, match=r"'fc\.weight' is missing"):
        checkpoint.load_network(folder, CLASSES)


def test_a_repaired_weight_that_is_not_finite(tmp_path: Path) -> None:
    age, arguments = OLD["cait_xxs24_224"]
    model = timm.create_model("cait_xxs24_224", num_classes=CLASSES, **arguments)
    state = age(dict(model.state_dict()))
    state["module.head.bias"] = torch.full((CLASSES,), torch.nan)
    folder = folder_of(tmp_path, "cait_xxs24_224", model, state, arguments)
    with pytest.raises(ModelError, match=r"weight 'module\.head\.bias' of .* is not finite"):
        checkpoint.load_network(folder, CLASSES)


# ---------------------------------------------------------------- configurations that mean harm


class Harm:
    """A value that makes a folder when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.place),)


OPTIONS: dict[str, Any] = {
    "pretrained": True,
    "checkpoint_path": "{place}/evil.pt",
    "pretrained_cfg": {"url": "{url}"},
    "pretrained_cfg_overlay": {"file": "{place}/evil.pt"},
    "cache_dir": "{place}",
}
"""Arguments of timm's that would bring in weights from elsewhere."""
NAMES = ["hf-hub:owner/evil", "hf_hub:owner/evil", "local-dir:{place}", "os.system"]
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    key: ({"model_args": {key: value}}, f"'{key}' is no option of architecture 'resnet18'")
    for key, value in OPTIONS.items()
} | {name: ({"architecture": name}, f"unknown architecture '{name.partition('{')[0]}") for name in NAMES}


def filled(value: object, **words: object) -> Any:
    text = json.dumps(value)
    for word, meaning in words.items():
        text = text.replace(f"{{{word}}}", str(meaning))
    return json.loads(text)


@pytest.mark.parametrize("case", REFUSED)
def test_a_config_that_asks_for_more_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    model, arguments = small_resnet()
    folder = folder_of(tmp_path, "resnet18", model, dict(model.state_dict()), arguments)
    torch.save(Harm(tmp_path / "harm"), tmp_path / "evil.pt")
    with running() as hub:
        connect(monkeypatch, hub, tmp_path / "hub")
        changes, sentence = REFUSED[case]
        changes = filled(changes, place=tmp_path, url=f"{hub.address}/evil.pt")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))
        with pytest.raises(ModelError, match=sentence) as caught:
            checkpoint.load_network(folder, CLASSES)
        assert "\n" not in str(caught.value) and hub.requests == []
    assert not (tmp_path / "harm").exists()


ELSEWHERE: dict[str, dict[str, Any]] = {
    "url": {"url": "{url}"},
    "file": {"file": "{place}/evil.pt"},
    "folder": {"source": "local-dir", "file": "{place}/other"},
    "hub": {"source": "hf-hub", "hf_hub_id": "owner/evil"},
    "custom": {"custom_load": True, "file": "{place}/evil.npz"},
}


@pytest.mark.parametrize("case", ELSEWHERE)
@pytest.mark.parametrize("old", [True, False])
def test_weights_come_from_the_folder_whatever_its_config_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, old: bool
) -> None:
    age, arguments = OLD["cait_xxs24_224"]
    model = timm.create_model("cait_xxs24_224", num_classes=CLASSES, **arguments)
    state = age(dict(model.state_dict())) if old else dict(model.state_dict())
    (tmp_path / "other").mkdir()
    for name in ("evil.pt", "evil.npz", "other/pytorch_model.bin"):
        torch.save(Harm(tmp_path / "harm"), tmp_path / name)
    with running() as hub:
        connect(monkeypatch, hub, tmp_path / "hub")
        reads = filled(ELSEWHERE[case], place=tmp_path, url=f"{hub.address}/evil.pt")
        folder = folder_of(tmp_path, "cait_xxs24_224", model, state, arguments, **reads)
        found, _ = checkpoint.load_network(folder, CLASSES)
        assert hub.requests == []
    assert all(torch.equal(found.state_dict()[key], value) for key, value in model.state_dict().items())
    assert not (tmp_path / "harm").exists()
