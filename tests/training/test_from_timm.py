"""`train --from timm:NAME`: pretrained weights of timm from a loopback Hub, then from the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.models import save_for_hf

from helpers.data_layouts import picture, pixels
from helpers.hub_server import connect, running

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

NAME = "test_resnet.r160_in1k"
"""The smallest network of timm's that has weights there; those of this test are random."""


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model: Any = timm.create_model(NAME)
    save_for_hf(model, str(tmp_path / "timm"), safe_serialization=True)
    return tmp_path / "timm"


@pytest.mark.usefixtures("one_thread")
def test_pretrained_weights_of_timm_are_fine_tuned(
    cli: Run, tmp_path: Path, pretrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body starts from the weights of the Hub, the head afresh; a second training needs no Hub."""
    for number, name in enumerate(("ant", "bee", "cat")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index, image in enumerate(pixels(6, 3, 40)):
            picture((image + 50 * number) % 255).save(tmp_path / "photos" / name / f"{index}.png")
    options = ("--epochs", 1, "--batch-size", 4, "--augment", "none", "--lr", 1e-8, "--storage", "fp32")
    train = ("train", "--data", "photos", "--from", "timm:test_resnet", *options)
    files = {f"timm/{NAME}/{file.name}": file.read_bytes() for file in pretrained.iterdir()}
    with running(files) as hub:
        connect(monkeypatch, hub, tmp_path / "client")
        first = cli(*train, "--output", "first")
        assert first.code == 0, first.err
        assert "has 1000 classes and 'photos-" in first.err
        assert "its head (fc.bias, fc.weight) starts afresh." in first.err
        assert "Images are read in colour, 160x160 pixels, as 'timm/test_resnet.r160_in1k'" in first.err
        assert hub.count("GET", "/resolve/")
        connect(monkeypatch, hub, tmp_path / "client", HF_HUB_OFFLINE="1")
        hub.requests.clear()
        second = cli(*train, "--seed", 1, "--output", "second")
        assert second.code == 0, second.err
        assert not hub.requests
    theirs = load_file(pretrained / "model.safetensors")
    for folder in ("first", "second"):
        mine = load_file(tmp_path / folder / "model.safetensors")
        assert mine.keys() == theirs.keys()
        assert mine["fc.weight"].shape == (3, theirs["fc.weight"].shape[1])
        for key, tensor in theirs.items():
            if not key.startswith("fc.") and "running" not in key and "num_batches" not in key:
                torch.testing.assert_close(mine[key], tensor, rtol=0, atol=1e-5)
    planned = cli("attack", "-s", "./first", "-t", "./second", "--data", "photos", "--dry-run", "--json")
    assert planned.code == 0, planned.err
