"""Models of other libraries, as a program holds them: taken directly, and as those libraries answer."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import onnxruntime
import pytest
import torch

from helpers.exported import Normalised, export
from helpers.foreign_models import fit_transformers, fitted_keras, small_vit
from transferzoo import craft, evaluate, load_images, load_model, measure, read_attack, wrap
from transferzoo.base.errors import ModelError, UsageError
from transferzoo.models.sources.keras_file import package

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from transferzoo.datasets import Batch
    from transferzoo.models.wrap import Model

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]
ATTACK = read_attack("mi", epsilon="24/255", steps=3)


@pytest.fixture(scope="module")
def known(few: Path) -> Batch:
    return load_images(root=few)


@pytest.fixture(scope="module")
def vgg() -> nn.Module:
    return load_model("vgg")


@pytest.fixture(scope="module")
def session(vgg: Any, tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    file = tmp_path_factory.mktemp("onnx") / "net.onnx"
    network = Normalised(vgg.model, float(vgg.mean), float(vgg.std)).eval()
    return onnxruntime.InferenceSession(export(network, file, 2, 1, 28, 28))


@pytest.fixture(scope="module")
def of_keras(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        return fitted_keras(package(), few, scale=1 / 255, end="softmax")


@pytest.fixture(scope="module")
def vit(few: Path) -> tuple[Any, Any]:
    """Return a small model of transformers, whose classes stand in reverse, and its image processor."""
    torch.manual_seed(0)
    transformers: Any = import_module("transformers")
    model, processor = small_vit(28), transformers.ViTImageProcessor(size={"height": 28, "width": 28})
    fit_transformers(model, processor, few)
    return model.eval(), processor


@pytest.mark.filterwarnings("ignore:Note. labels says labels only")
def test_the_same_network_as_session_function_and_module(
    vgg: nn.Module, session: onnxruntime.InferenceSession, known: Batch
) -> None:
    """The same outcomes; a function of labels too, which does not say how many classes there are."""
    with torch.no_grad():
        targets: dict[str, Model] = {
            "torch": vgg,
            "onnx": session,
            "scores": lambda images: vgg(images).detach().numpy(),
            "labels": lambda images: vgg(images).argmax(1),
        }
    surrogate = load_model("resnet50-lsam")
    found = evaluate(ATTACK, surrogate, targets, known.images, known.labels)
    assert len(found.records) == 4
    assert len({record.outcomes for record in found.records}) == 1
    assert 0 < found.records[0].rate < 1
    adversarial = craft(ATTACK, surrogate, known.images, known.labels, torch.arange(len(known)))
    for name in ("onnx", "labels"):  # alone: nothing else says how many classes there are
        measured = measure(adversarial, {name: targets[name]}, known.images, known.labels)
        assert measured.records[0].outcomes == found.records[0].outcomes


def test_a_model_of_keras(of_keras: Any, known: Batch) -> None:
    """It answers as Keras does, has gradients, and is handed back with its softmax."""
    pixels = known.images.permute(0, 2, 3, 1).float()
    before = of_keras(pixels, training=False).detach()
    adversarial = craft(ATTACK, of_keras, known.images, known.labels, torch.arange(len(known)))
    found = evaluate(ATTACK, {"keras": of_keras}, {"keras": of_keras}, known.images, known.labels)
    (record,) = found.records
    assert record.white_box
    predicted = of_keras(adversarial.permute(0, 2, 3, 1).float(), training=False).argmax(1)
    right = before.argmax(1) == known.labels
    assert record.n == right.sum()
    assert record.rate == (predicted != known.labels)[right].float().mean()
    assert record.rate > found.noise[0].rate
    after = of_keras(pixels, training=False).detach()
    assert torch.equal(before, after)
    assert torch.allclose(after.sum(1), torch.ones(len(known)), atol=1e-5)


def test_a_model_of_transformers_with_its_image_processor(vit: tuple[Any, Any], known: Batch) -> None:
    model, processor = vit
    labels = 9 - known.labels
    asked = wrap(model, processor=processor)
    adversarial = craft(ATTACK, asked, known.images, labels, torch.arange(len(known)))
    by_hand = wrap(model, mean=processor.image_mean, std=processor.image_std, size=28)
    found = evaluate(ATTACK, {"vit": asked}, {"by hand": by_hand}, known.images, labels)

    def answers(images: Tensor) -> Tensor:
        given = processor(images=list(images.expand(-1, 3, -1, -1)), return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            predicted: Tensor = model(pixel_values=given).logits.argmax(1)
        return predicted

    right = answers(known.images) == labels
    assert found.records[0].n == right.sum()
    assert found.records[0].rate == (answers(adversarial) != labels)[right].float().mean() > 0


def test_what_cannot_be_taken_is_a_sentence(
    vit: tuple[Any, Any], vgg: nn.Module, session: onnxruntime.InferenceSession, known: Batch
) -> None:
    ids = torch.arange(len(known))
    with pytest.raises(
        UsageError, match=r"nothing says how 'vit', a ViTFor.* expected wrap\(model, processor=…"
    ):
        measure(known.images, {"vit": vit[0]}, known.images, known.labels)
    with pytest.raises(UsageError, match=r"'vgg' is no model: .* got str; load_model\('vgg'\) loads one"):
        measure(known.images, {"vgg": "vgg"}, known.images, known.labels)  # type: ignore[dict-item]
    for target in (session, lambda images: vgg(images)):
        with pytest.raises(ModelError, match="gradient"):
            craft(ATTACK, target, known.images, known.labels, ids)
        with pytest.raises(ModelError, match="gradient"):
            evaluate(ATTACK, target, {"vgg": vgg}, known.images, known.labels)
    with pytest.raises(ModelError, match="'short' does not know all labels: expected at least 10 classes"):
        measure(255 - known.images, {"short": lambda x: vgg(x)[:, :9]}, known.images, known.labels)
