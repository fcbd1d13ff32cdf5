"""Models of Keras itself, on torch: small ones made here."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional

from helpers.foreign_models import fitted_keras
from helpers.processes import printed
from helpers.refusals import refused
from helpers.short_attack import TRY, records
from transferzoo import load_images, load_model
from transferzoo.models.sources.keras_file import KerasFile, package

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def keras(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        found = package()
    assert "tensorflow" not in sys.modules
    return found


KINDS: dict[str, dict[str, Any]] = {
    "logits of [0, 1]": {"scale": 1.0, "end": None},
    "softmax of [0, 255]": {"scale": 1 / 255, "end": "softmax"},
    "a layer of softmax": {"scale": 1.0, "end": "layer"},
    "colours of [0, 255]": {"scale": 1 / 127.5, "end": "softmax", "channels": 3},
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_what_keras_says(keras: Any, few: Path, tmp_path: Path, kind: str) -> None:
    options = KINDS[kind]
    model = fitted_keras(keras, few, **options)
    model.save(tmp_path / "net.keras")
    images = load_images().images[:200] / 255
    given = images.expand(-1, options.get("channels", 1), -1, -1).permute(0, 2, 3, 1)
    with torch.no_grad():
        expected = model(given * (1 if options["scale"] == 1 else 255), training=False)
        found = load_model(str(tmp_path / "net.keras"))(images)
    if options["end"]:
        assert found.min() < 0
        found = found.softmax(1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert expected.argmax(1).unique().numel() == 10


def test_its_gradients_are_those_of_its_logits(keras: Any, few: Path, tmp_path: Path) -> None:
    """The same network with and without softmax: the first step goes the same way."""
    known, signs = load_images(), []
    for end in (None, "softmax"):
        fitted_keras(keras, few, scale=1 / 255, end=end).save(tmp_path / "net.keras")
        images = (known.images[:40] / 255).requires_grad_()
        functional.cross_entropy(
            load_model(str(tmp_path / "net.keras"))(images), known.labels[:40]
        ).backward()
        assert images.grad is not None
        signs.append(images.grad.sign())
    assert (signs[0] == signs[1]).float().mean() >= 0.995
    assert signs[0].abs().mean() > 0.5


def test_it_attacks_and_is_attacked(keras: Any, cli: Run, few: Path, tmp_path: Path) -> None:
    fitted_keras(keras, few, **KINDS["softmax of [0, 255]"]).save(tmp_path / "net.keras")
    found = records(cli, few, "-s", "net.keras", "-t", "net.keras", "-t", "./net.keras|bits:depth=7")
    white = found["net", "net"]
    assert white["white_box"]
    assert white["versions"]["keras"] == keras.__version__
    assert white["outcomes"].count("1") > found["resnet50-sgd", "net"]["outcomes"].count("1")


def test_code_in_a_file_is_not_run(keras: Any, cli: Run, few: Path, tmp_path: Path) -> None:
    layers = keras.layers
    own = layers.Lambda(lambda images: images * 2)
    model = keras.Sequential([keras.Input((28, 28, 1)), own, layers.Flatten(), layers.Dense(10)])
    with warnings.catch_warnings(action="ignore"):
        model.save(tmp_path / "lambda.keras")
    words = ("Keras cannot load", "code in such a file (Lambda, custom layers) is never run")
    refused(cli(*TRY, "--data", few, "-t", "lambda.keras"), 1, *words)
    refused(cli(*TRY, "--data", few, "-t", "lambda.keras", "--allow-code"), 1, *words)


def test_what_cannot_be_used_is_a_sentence(keras: Any, cli: Run, few: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.keras").write_bytes(b"no")
    refused(
        cli(*TRY, "--data", few, "-t", "broken.keras"), 1, "Keras cannot load", "export the model to ONNX"
    )
    layers = keras.layers
    keras.Sequential([keras.Input((784,)), layers.Dense(10)]).save(tmp_path / "flat.keras")
    words = ("cannot read images", "(N, H, W, C)", "got (None, 784)")
    refused(cli(*TRY, "--data", few, "-t", "flat.keras"), 1, *words)
    keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(9)]).save(
        tmp_path / "nine.keras"
    )
    refused(
        cli(*TRY, "--data", few, "-t", "nine.keras"), 1, "'nine.keras' does not classify like the data set"
    )


def test_keras_on_something_else_is_refused(
    keras: Any, cli: Run, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.keras").touch()
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    words = ("Keras runs on jax in this process", "expected torch", "set KERAS_BACKEND=torch")
    refused(cli(*TRY, "--data", few, "-t", "net.keras"), 1, *words)


def test_it_runs_on_torch_whatever_the_environment_says(tmp_path: Path) -> None:
    """Where nothing has imported it yet; the environment is left as it is."""
    code = f"""
import os, sys
assert "keras" not in sys.modules
os.environ |= {{"KERAS_BACKEND": "tensorflow", "KERAS_HOME": {str(tmp_path)!r}}}
from transferzoo.models.sources.keras_file import package
print(package().backend.backend(), os.environ["KERAS_BACKEND"])
"""
    assert printed(code, tmp_path) == "torch tensorflow\n"


def test_a_file_is_known_by_its_bytes(keras: Any, few: Path, tmp_path: Path) -> None:
    for name, options in (("a", {}), ("b", {"channels": 3})):
        fitted_keras(keras, few, scale=1.0, end=None, **options).save(tmp_path / f"{name}.keras")
    one, other = (KerasFile(tmp_path / f"{name}.keras").identity() for name in "ab")
    assert one[0] != other[0] and one[1] == other[1]
