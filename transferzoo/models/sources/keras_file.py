"""Models of Keras (.keras), which runs on torch here: gradients come back, and code in the file is not run.

Pixels are in [0, 1], or in 0, …, 255 where the model begins with a layer `Rescaling` by less than 1/100, as
some of keras.applications do. A softmax in its last layer is left out, so that there are logits.
"""

from __future__ import annotations

import os
import sys
import warnings
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from transferzoo.base.atomic import sha256
from transferzoo.base.errors import ModelError, reason
from transferzoo.base.foreign_files import parse_json
from transferzoo.base.frozen_model import fingerprint
from transferzoo.base.optional import import_optional
from transferzoo.models.sources.at_path import AtPath
from transferzoo.zoo.model_source import model_source
from transferzoo.zoo.source_facts import Example, InputForm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import nn

    from transferzoo.models.classifier import Classifier
    from transferzoo.models.foreign_network import ForeignNetwork
    from transferzoo.zoo.schema import DatasetSpec


@model_source("keras")
@dataclass(frozen=True)
class KerasFile(AtPath):
    """A model that Keras saved."""

    written: ClassVar[str] = "MODEL.keras"
    examples: ClassVar[tuple[Example, ...]] = (
        Example("a model of Keras", "net.keras", "pip install 'transferzoo[keras]'"),
    )
    suffixes: ClassVar[tuple[str, ...]] = (".keras",)
    as_is: ClassVar[bool] = True

    def load(self, dataset: DatasetSpec, weights: Path | None = None) -> Classifier:
        from transferzoo.models.predictor import tried

        return tried(_classifier(self.path, dataset), self.path.name, dataset)

    def identity(self) -> tuple[str, str]:
        return sha256(self.path), fingerprint("logits, of layers too; pixels as its first layer has them")

    def reads(self) -> InputForm | None:
        """Return what the description in the file says; Keras is not imported."""
        try:
            with zipfile.ZipFile(self.path) as file:
                described = parse_json(file.read("config.json").decode())
            _, *sides = described["config"]["layers"][0]["config"]["batch_shape"]
            height, width, channels = sides if sides[2] in (1, 3) else (*sides[1:], sides[0])
        except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, LookupError, ValueError, TypeError):
            return None
        fixed = channels in (1, 3) and isinstance(height, int) and height == width
        return InputForm(channels, height) if fixed else None

    def versions(self) -> dict[str, str]:
        return {"keras": str(package().__version__)}


def package() -> Any:
    """Import Keras, on torch.

    Raises:
        TransferZooError: it is not installed.
        ModelError: this process runs it on something else already.
    """
    before = os.environ.get("KERAS_BACKEND")
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
    try:
        keras = import_optional("keras", "keras", "models of Keras need")
    finally:
        os.environ.pop("KERAS_BACKEND", None)
        if before is not None:
            os.environ["KERAS_BACKEND"] = before
    if keras.backend.backend() != "torch":
        raise ModelError(
            f"Keras runs on {keras.backend.backend()} in this process",
            expected="torch, through which gradients come back",
            hint="set KERAS_BACKEND=torch before keras is imported",
        )
    return keras


def _classifier(path: Path, dataset: DatasetSpec) -> Classifier:
    """Return a model of Keras as a classifier of a data set's images.

    Raises:
        ModelError: it cannot be loaded without running code in it, or reads something else than images.
    """
    keras = package()
    try:
        with warnings.catch_warnings(action="ignore"), keras.device("cpu"):
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises all kinds
        raise ModelError(
            f"Keras cannot load {path}: {reason(error)}",
            expected="a whole model of Keras's own layers",
            hint="code in such a file (Lambda, custom layers) is never run; export the model to ONNX",
        ) from None
    return network_of(model, str(path)).classifier(dataset.channels, dataset.size).eval()


def network_of(model: Any, name: str) -> ForeignNetwork:
    """Return a model of Keras as a network of [0, 1] pixels that gives logits; it is not changed.

    Args:
        model: of one input (N, H, W, C) or (N, C, H, W).
        name: what errors call it.

    Raises:
        ModelError: it reads something else, or Keras runs on something else than torch.
    """
    from transferzoo.models.foreign_network import ForeignNetwork

    keras = package()
    shape = getattr(model, "input_shape", None)
    shape = shape[0] if isinstance(shape, list) and len(shape) == 1 else shape
    if not isinstance(shape, tuple) or len(shape) != 4 or not {1, 3} & {shape[1], shape[3]}:
        raise ModelError(
            f"{name} cannot read images",
            expected="one input (N, H, W, C) or (N, C, H, W) of 1 or 3 channels",
            got=str(shape),
        )
    last = shape[3] in (1, 3)
    channels, height, width = (shape[3], *shape[1:3]) if last else shape[1:]
    most = 255 if _rescales(keras, model) else 1
    logits = _without_softmax_layer(keras, model)
    return ForeignNetwork(_module(keras, logits, channels_last=last, most=most), channels, height, width)


def _rescales(keras: Any, model: Any) -> bool:
    """Return whether a model begins with a layer that brings 0, …, 255 to small numbers."""
    first = next((one for one in model.layers if not isinstance(one, keras.layers.InputLayer)), None)
    if not isinstance(first, keras.layers.Rescaling):
        return False
    scales = first.scale if isinstance(first.scale, list | tuple) else [first.scale]
    return all(abs(scale) < 0.01 for scale in scales)


def _without_softmax_layer(keras: Any, model: Any) -> Any:
    """Return a model that ends before a layer `Softmax`; the layers are those of the model."""
    last = model.layers[-1]
    if not isinstance(last, keras.layers.Softmax):
        return model
    with keras.device("cpu"):
        return keras.Model(model.inputs, last.input)


@contextmanager
def _without_softmax(keras: Any, model: Any) -> Iterator[None]:
    """Leave out the softmax at the end of a model for as long as it is asked: it gives logits then."""
    last = model.layers[-1]
    before = getattr(last, "activation", None)
    if before is not keras.activations.softmax:
        yield
        return
    last.activation = keras.activations.linear
    try:
        yield
    finally:
        last.activation = before


def _module(keras: Any, model: Any, *, channels_last: bool, most: int) -> nn.Module:
    """Return a module of [0, 1] pixels (N, C, H, W)."""
    from torch import Tensor, nn

    class KerasModule(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = model

        def forward(self, images: Tensor) -> Tensor:
            pixels = images.permute(0, 2, 3, 1) if channels_last else images
            device = str(images.device)
            with (
                warnings.catch_warnings(action="ignore"),
                keras.device(device),
                _without_softmax(keras, model),
            ):
                logits: Tensor = self.network(pixels * most, training=False)
            return logits

    return KerasModule()
