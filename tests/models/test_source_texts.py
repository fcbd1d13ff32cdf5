"""The contract of a form of models: its text and its source stand for each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from helpers.hub_server import COMMIT
from transferzoo.zoo.model_source import SOURCES, forms, read_source

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = {
    "builtin": "builtin:fashion-mnist/vgg",
    "hub": f"hub:owner/mine@{COMMIT}",
    "keras": "keras:/somewhere/net.keras",
    "local": "local:/somewhere/mine",
    "oip": "oip:http://127.0.0.1:8080/v2/models/net",
    "onnx": "onnx:/somewhere/net.onnx",
    "open_clip": "open_clip:ViT-B-32/laion2b_s34b_b79k",
    "open_clip_folder": "open_clip_folder:/somewhere/mine",
    "program": "program:/somewhere/net.pt2",
    "python": "python:own.models:make",
    "timm": "timm:resnet18.a1_in1k",
    "torchvision": "torchvision:resnet50:IMAGENET1K_V1",
    "train": "train",
    "transformers": "transformers:/somewhere/mine",
}


def test_every_form_has_an_example() -> None:
    assert {form.form for form in forms()} == EXAMPLES.keys()
    assert SOURCES["hf-hub"] is SOURCES["hub"]


@pytest.mark.parametrize("text", EXAMPLES.values())
def test_the_text_of_a_source_is_the_source(text: str) -> None:
    assert str(read_source(text)) == text
    assert read_source(text) == read_source(read_source(text)) == read_source(text)
    assert len({read_source(text), read_source(text)}) == 1


@pytest.mark.parametrize(
    "text", ["ftp:x", "", "hub:mine", "local:", "builtin:", "onnx:", "python:own", "train:x"]
)
def test_other_texts_are_no_source(text: str) -> None:
    with pytest.raises(ValueError, match=r"one of|:|train, with"):
        read_source(text)


def test_a_relative_place_starts_at_the_zoo_file(tmp_path: Path) -> None:
    for text, beside in (
        ("local:a", f"local:{tmp_path}/a"),
        ("onnx:a", f"onnx:{tmp_path}/a"),
        ("train", "train"),
    ):
        assert str(read_source(text).beside(tmp_path)) == beside
