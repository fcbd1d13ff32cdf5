"""Image classifiers of transformers itself, small ones made here: in a folder and on the Hub."""

from __future__ import annotations

import json
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
import torch

from helpers.foreign_models import REVERSED, SMALL_VIT, fit_transformers, small_vit
from helpers.hub_server import COMMIT, connect, running
from helpers.refusals import refused
from helpers.short_attack import TRY, records
from transferzoo import load_images, load_model
from transferzoo.base.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = pytest.mark.usefixtures("one_thread")


@cache
def transformers() -> Any:
    """Return the library, whose own types say less than they claim."""
    return import_module("transformers")


def resnet() -> Any:
    shape = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"}
    return transformers().ResNetForImageClassification(transformers().ResNetConfig(**shape, **REVERSED))


def convnext() -> Any:
    shape = {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2}
    return transformers().ConvNextForImageClassification(transformers().ConvNextConfig(**shape, **REVERSED))


PLAIN = {"size": {"height": 28, "width": 28}}
MADE: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "vit": (lambda: small_vit(28), lambda: transformers().ViTImageProcessor(**PLAIN)),
    "vit, larger": (
        lambda: small_vit(35),
        lambda: transformers().ViTImageProcessor(size={"height": 35, "width": 35}, resample=3),
    ),
    "resnet": (
        resnet,
        lambda: transformers().ConvNextImageProcessor(
            size={"shortest_edge": 28}, crop_pct=0.875, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]
        ),
    ),
    "convnext": (
        convnext,
        lambda: transformers().CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28}
        ),
    ),
    "without normalisation": (
        lambda: small_vit(28),
        lambda: transformers().ViTImageProcessor(**PLAIN, do_normalize=False),
    ),
    "from -1 to 1": (
        lambda: small_vit(28),
        lambda: transformers().ViTImageProcessor(
            **PLAIN, rescale_factor=1 / 127.5, image_mean=[1.0] * 3, image_std=[1.0] * 3
        ),
    ),
}


def made(kind: str, folder: Path, few: Path) -> tuple[Any, Any]:
    model_of, processor_of = MADE[kind]
    torch.manual_seed(0)
    model, processor = model_of(), processor_of()
    fit_transformers(model, processor, few)
    transformers().utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model.eval(), processor


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, few: Path) -> Path:
    """A small Vision Transformer that knows some images."""
    folder = tmp_path_factory.mktemp("transformers") / "mine"
    made("vit", folder, few)
    return folder


@pytest.mark.parametrize("kind", MADE)
def test_it_predicts_as_its_image_processor_and_model_do(kind: str, few: Path, tmp_path: Path) -> None:
    """On 200 images. The processor rounds the pixels that it resizes, so a few predictions may differ."""
    model, processor = made(kind, tmp_path / "mine", few)
    images = load_images().images[:200]
    with torch.no_grad():
        given = processor(images=list(images.expand(-1, 3, -1, -1)), return_tensors="pt")["pixel_values"]
        expected = model(pixel_values=given).logits.flip(1)
        loaded = load_model(str(tmp_path / "mine"))
        read, found = loaded.read(images / 255), loaded(images / 255)
    resized = given.shape[-1] != 28 or kind in ("resnet", "convnext")
    levels = ((read - given) * loaded.std).abs().max() * 255
    assert levels < (1.5 if resized else 1e-3)
    equal = int((found.argmax(1) == expected.argmax(1)).sum())
    assert equal >= (195 if resized else 200)
    assert expected.argmax(1).unique().numel() == 10
    if not resized:
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_it_attacks_and_is_attacked(cli: Run, few: Path, folder: Path) -> None:
    found = records(cli, few, "-s", folder, "-t", folder)
    white = found["mine", "mine"]
    assert white["white_box"]
    assert white["versions"]["transformers"] == transformers().__version__
    assert white["outcomes"].count("1") > found["resnet50-sgd", "mine"]["outcomes"].count("1")


def test_a_repository_of_the_hub_is_looked_at(
    cli: Run, few: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"owner/mine/{file.name}": file.read_bytes() for file in folder.iterdir()}
    files["owner/mine/modeling.py"] = b"raise SystemExit"
    with running(files) as hub:
        connect(monkeypatch, hub, tmp_path / "hub")
        plan = json.loads(cli("pull", "hf-hub:owner/mine", "--json").out)["items"][0]
        assert {file["path"] for file in plan["files"]} == {
            "config.json",
            "model.safetensors",
            "preprocessor_config.json",
        }
        again = json.loads(cli("pull", f"hf-hub:owner/mine@{COMMIT}", "--json").out)
        assert again["missing"] == 0
        shown = json.loads(cli("show", "hf-hub:owner/mine", "--json").out)[0]
        done = cli(*TRY[:3], "-t", "hf-hub:owner/mine", "-t", folder, *TRY[5:], "--data", few, "--json")
    remote, local = json.loads(done.out)["records"]
    assert remote["target"] != local["target"]
    assert remote["outcomes"] == local["outcomes"]
    assert remote["target_sha256"] == local["target_sha256"]
    assert shown["state"] == "cached"
    assert not any("modeling" in file["path"] for file in shown["files"])


def changed(folder: Path, file: str, **values: object) -> None:
    content = json.loads((folder / file).read_text()) | values
    (folder / file).write_text(json.dumps(content))


def without_head(folder: Path) -> None:
    config = transformers().ViTConfig(image_size=28, patch_size=7, **SMALL_VIT)
    transformers().ViTModel(config).save_pretrained(folder)


def code_of_its_own(folder: Path) -> None:
    (folder / "own.py").write_text("raise SystemExit('this ran')")
    entries = dict.fromkeys(("AutoConfig", "AutoModelForImageClassification"), "own.Own")
    changed(folder, "config.json", model_type="own", auto_map=entries)


def no_such(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


def no_tensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no")


DAMAGE: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "no head": (without_head, ("is no trained image classifier: it has no weights 'classifier.bias'",)),
    "code": (
        code_of_its_own,
        ("transformers cannot load the classifier in", "code of a repository is never"),
    ),
    "no weights": (no_such("model.safetensors"), ("holds no weights", "model.save_pretrained(FOLDER)")),
    "no processor": (
        no_such("preprocessor_config.json"),
        ("nothing says how pixels are read", "its image pr"),
    ),
    "no classifier": (
        lambda folder: changed(folder, "config.json", model_type="bert"),
        ("transformers cannot load the classifier in",),
    ),
    "other size": (
        lambda folder: changed(folder, "preprocessor_config.json", size={"longest_edge": 30}),
        ("cannot be read: expected height and width, or shortest_edge", "longest_edge"),
    ),
    "damaged": (
        no_tensors,
        ("transformers cannot load the classifier in",),
    ),
    "padded": (
        lambda folder: changed(
            folder, "preprocessor_config.json", do_pad=True, pad_size={"height": 35, "width": 35}
        ),
        ("does more than resize, crop and normalise", "35, 35", "package.module:function"),
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_cannot_be_used_is_a_sentence(
    cli: Run, few: Path, folder: Path, tmp_path: Path, kind: str
) -> None:
    damage, words = DAMAGE[kind]
    (tmp_path / "mine").mkdir()
    for file in folder.iterdir():
        (tmp_path / "mine" / file.name).write_bytes(file.read_bytes())
    damage(tmp_path / "mine")
    refused(cli(*TRY, "--data", few, "-t", "mine"), 1, *words)


def test_other_numbers_of_classes_are_a_sentence(folder: Path) -> None:
    with pytest.raises(
        ModelError, match=r"'mine' does not know all classes of 'imagenet': .* got none for 0, 1"
    ):
        load_model(str(folder), "imagenet")


def test_it_is_nothing_to_train_from(cli: Run, folder: Path) -> None:
    refused(cli("train", "--from", folder, "--dry-run"), 2, "is no checkpoint folder")
