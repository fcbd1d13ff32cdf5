"""Pretrained classifiers of torchvision, with the transforms of their weights.

The images are resized, cropped and normalised as the weights say, also where a data set's images have been
cropped before. torchvision keeps the file in the folder of torch.hub (TORCH_HOME); its name holds the start
of its SHA-256, which is checked on every use, and it is read as tensors only.
"""

from __future__ import annotations

import re
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from transferzoo.base.errors import ModelError, UnknownNameError, UsageError, reason
from transferzoo.base.frozen_model import fingerprint
from transferzoo.models.web_file import damaged, fetched
from transferzoo.zoo.model_source import LoadableSource, model_source
from transferzoo.zoo.schema import ROLES, ModelSpec
from transferzoo.zoo.source_facts import Example, InputForm, WebFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from transferzoo.models.classifier import Classifier
    from transferzoo.models.unlisted_options import UnlistedOptions
    from transferzoo.zoo.model_source import State
    from transferzoo.zoo.schema import DatasetSpec, WeightFile

_PLACE = re.compile(r"(?P<name>\w+)(:(?P<weights>\w+))?")
DEFAULT = "DEFAULT"
"""What torchvision calls the best weights of a model."""


@model_source("torchvision")
@dataclass(frozen=True)
class TorchvisionModel(LoadableSource):
    """A model of torchvision with weights.

    Attributes:
        name: "resnet50".
        weights: which ones, "IMAGENET1K_V2".
    """

    name: str
    weights: str = DEFAULT

    pattern: ClassVar[str] = "NAME[:WEIGHTS]"
    written: ClassVar[str] = f"torchvision:{pattern}"
    examples: ClassVar[tuple[Example, ...]] = (
        Example("a pretrained classifier of torchvision", "torchvision:resnet50"),
        Example("one with other weights", "torchvision:resnet50:IMAGENET1K_V1"),
    )
    forks: ClassVar[bool] = True
    state: ClassVar[State] = "web"

    @classmethod
    def parse(cls, place: str) -> Self:
        match = _PLACE.fullmatch(place)
        if match is None:
            raise ValueError(f"torchvision:{cls.pattern}")
        return cls(match["name"].lower(), match["weights"] or DEFAULT)

    @classmethod
    def unlisted(cls, written: str, dataset: DatasetSpec, options: UnlistedOptions) -> ModelSpec:
        try:
            source = cls.parse(written)
        except ValueError:
            raise UsageError(f"'{written}' is no model of torchvision", expected=cls.written) from None
        return ModelSpec(
            name=str(source), dataset=dataset.name, roles=ROLES, source=source, origin="torchvision"
        )

    @property
    def place(self) -> str:
        return self.name if self.weights == DEFAULT else f"{self.name}:{self.weights}"

    def download(
        self, weights: WeightFile | None, notify: Callable[[str], None] = lambda sentence: None
    ) -> LoadableSource:
        fetched(_file(_chosen(self.name, self.weights)))
        return self

    def web_file(self) -> WebFile:
        return _file(_chosen(self.name, self.weights))

    def reads(self) -> InputForm | None:
        read = _chosen(self.name, self.weights).transforms()
        return InputForm(len(read.mean), read.crop_size[0], tuple(read.mean), tuple(read.std))

    def load(self, dataset: DatasetSpec, weights: Path | None = None) -> Classifier:
        from transferzoo.models.predictor import tried

        return tried(_classifier(self.name, self.weights, dataset), str(self), dataset)

    def identity(self) -> tuple[str, str]:
        chosen = _chosen(self.name, self.weights)
        read = {key: str(value) for key, value in vars(chosen.transforms()).items() if key[0] != "_"}
        return fetched(_file(chosen)), fingerprint({"torchvision": self.name, **read})

    def class_names(self) -> tuple[str, ...]:
        return tuple(_chosen(self.name, self.weights).meta["categories"])

    def versions(self) -> dict[str, str]:
        import torchvision

        return {"torchvision": str(torchvision.__version__)}


def _chosen(name: str, weights: str) -> Any:
    """Return the entry of torchvision's that describes the weights of a classifier.

    Raises:
        UnknownNameError: torchvision has no such model, or it no such weights.
        UsageError: it is no classifier of images, or it has no weights.
    """
    from torchvision import models
    from torchvision.transforms._presets import ImageClassification

    try:
        found: Any = models.get_model_weights(name)
    except ValueError:
        raise UnknownNameError("model of torchvision", name, models.list_models()) from None
    names = [*found.__members__]
    if not names:
        raise UsageError(
            f"torchvision has no weights of '{name}'",
            expected="a trained model",
            hint=f"train one, `transferzoo train --architecture {name}`, or name another",
        )
    if weights not in names:
        raise UnknownNameError(f"weights of torchvision:{name}", weights, names)
    chosen = found[weights]
    if not isinstance(chosen.transforms(), ImageClassification):
        raise UsageError(
            f"'torchvision:{name}' is no classifier of images",
            expected="a model of torchvision that has classes of images, such as torchvision:resnet50",
            got=f"one whose weights read {type(chosen.transforms()).__name__}",
        )
    return chosen


def _file(chosen: Any) -> WebFile:
    """Return the file of weights, which need not be on this machine; torchvision states its size in MiB."""
    from torch import hub

    path = Path(hub.get_dir()) / "checkpoints" / Path(chosen.url).name
    return WebFile(chosen.url, path, round(chosen.meta.get("_file_size", 0) * 2**20))


def _classifier(name: str, weights: str, dataset: DatasetSpec) -> Classifier:
    """Return a classifier that does what the transforms of the weights and the model do.

    Raises:
        UsageError, TransferZooError, ModelError: see `_chosen` and `_file`.
        ModelError: torchvision cannot build it.
    """
    import torch
    from torchvision import models

    from transferzoo.datasets.labels import class_order
    from transferzoo.models.classifier import Classifier

    chosen = _chosen(name, weights)
    file = _file(chosen)
    fetched(file)
    try:  # before torchvision opens it in its own way
        chosen.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # a damaged file may fail anywhere in torch, pickle and zipfile
        raise damaged(file.path, reason(error)) from None
    try:
        with torch.random.fork_rng(devices=[]), redirect_stdout(sys.stderr):
            model = models.get_model(name, weights=chosen)
    except Exception as error:  # whatever a builder raises on weights of another version
        raise ModelError(f"torchvision cannot build '{name}': {reason(error)}") from error
    read = chosen.transforms()
    return Classifier(
        model,
        size=tuple(read.resize_size * 2)[:2],
        crop=tuple(read.crop_size * 2)[:2],
        interpolation=read.interpolation.value,
        channels=len(read.mean),
        mean=read.mean,
        std=read.std,
        order=class_order(chosen.meta["categories"], dataset.classes),
    ).eval()
