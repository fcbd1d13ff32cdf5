"""Models exported to ONNX, run by onnxruntime on the CPU: targets only, no gradient comes back.

An exported model takes pixels in [0, 1]: the normalisation belongs inside the exported graph. One that
expects normalised pixels shows it in its clean accuracy, and near chance the gate stops it.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from transferzoo.base.atomic import sha256
from transferzoo.base.errors import ModelError, reason
from transferzoo.base.frozen_model import fingerprint
from transferzoo.zoo.model_source import InputForm, LoadableSource, model_source
from transferzoo.zoo.schema import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.models.classifier import Classifier
    from transferzoo.models.resolve import UnlistedOptions
    from transferzoo.zoo.schema import DatasetSpec

SUFFIX = ".onnx"
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x80-\xff]?[\x00-\x7f])", re.DOTALL)
"""How a graph names a file of its weights: "location" and the path, whose length is the group."""


@model_source("onnx")
@dataclass(frozen=True)
class OnnxFile(LoadableSource):
    """An exported model.

    Attributes:
        path: of the file.
    """

    path: Path

    pattern: ClassVar[str] = "PATH"
    written: ClassVar[str] = f"MODEL{SUFFIX}"
    is_path: ClassVar[bool] = True

    @classmethod
    def parse(cls, place: str) -> Self:
        if not place:
            raise ValueError("onnx:PATH")
        return cls(Path(place).expanduser())

    @classmethod
    def recognises(cls, written: str, options: UnlistedOptions) -> bool:
        return written.lower().endswith(SUFFIX) and not Path(written).expanduser().is_dir()

    @classmethod
    def unlisted(cls, written: str, dataset: DatasetSpec, options: UnlistedOptions) -> ModelSpec:
        path = Path(written).expanduser().absolute()
        return ModelSpec(name=path.stem, dataset=dataset.name, roles=("target",), source=cls(path))

    @property
    def place(self) -> str:
        return str(self.path)

    @property
    def group(self) -> str:
        return self.path.parent.name

    def beside(self, folder: Path) -> Self:
        return type(self)(folder / self.path)

    def reads(self) -> InputForm | None:
        shape = _session(self.path).get_inputs()[0].shape
        match shape:
            case [_, 1 | 3 as channels, int(height), int(width)] if height == width:
                return InputForm(channels, height)
        return None

    def load(self, dataset: DatasetSpec, weights: Path | None = None) -> Classifier:
        from transferzoo.models.classifier import tried

        return tried(_classifier(self.path, dataset), self.place, dataset)

    def identity(self) -> tuple[str, str]:
        return _digest(self.path), fingerprint("reads [0, 1] pixels")

    def gives_gradients(self) -> bool:
        return False

    def versions(self) -> dict[str, str]:
        return {"onnxruntime": str(_runtime(self.path).__version__)}


@dataclass(frozen=True)
class _Graph:
    """What an exported model answers.

    Attributes:
        session: of onnxruntime.
        input: name of its input.
        batch: how many images it takes at once; None for any number.
    """

    session: Any
    input: str
    batch: int | None

    def __call__(self, images: Tensor) -> Tensor:
        """Return its first output for images, float32 (N, C, H, W)."""
        import torch

        parts = images.split(self.batch or max(1, len(images)))
        return torch.cat([self._run(part) for part in parts])

    def _run(self, images: Tensor) -> Tensor:
        import torch

        missing = (self.batch or len(images)) - len(images)
        filled = torch.cat([images, images.new_zeros(missing, *images.shape[1:])]) if missing else images
        output = self.session.run(None, {self.input: filled.numpy()})[0]
        return torch.as_tensor(output)[: len(images)]


def _classifier(path: Path, dataset: DatasetSpec) -> Classifier:
    """Open an exported model as a classifier of a data set's images.

    Its input is float32 (N, C, H, W); other sizes than its own are resized to it, and grey images repeated
    for a model of colours, as for every `Classifier`. Where a dimension is not fixed, it is the data set's.

    Args:
        path: the file.
        dataset: whose images it reads and whose classes it has.

    Raises:
        ModelError: onnxruntime is not installed, or the file is damaged or reads something else.
    """
    from transferzoo.models.classifier import Classifier, Predictor

    session = _session(path)
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
        got = ", ".join(f"{one.type} {one.shape}" for one in inputs) or "none"
        raise ModelError(
            f"{path} cannot read images",
            expected="one input, float32 (N, C, H, W)",
            got=got,
            hint="export it with such an input",
        )
    batch, channels, height, width = (size if isinstance(size, int) else None for size in inputs[0].shape)
    if channels not in (None, 1, 3):
        last = width in (1, 3)
        raise ModelError(
            f"{path} cannot read images",
            expected="1 or 3 channels, (N, C, H, W)",
            got=f"shape {inputs[0].shape}" + (", channels last" if last else ""),
            hint="export it with the channels before height and width" if last else "",
        )
    depth = channels or dataset.channels
    return Classifier(
        Predictor(_Graph(session, inputs[0].name, batch), len(dataset.classes), path.name),
        size=(height or dataset.size, width or dataset.size),
        channels=depth,
        mean=[0.0] * depth,
        std=[1.0] * depth,
    ).eval()


def _session(path: Path) -> Any:
    import torch

    runtime = _runtime(path)
    _weight_files(path)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what is wrong comes as an exception
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no base of their own
        raise ModelError(
            f"cannot open {path}: {reason(error)}",
            hint="the file may be damaged, or newer than the installed onnxruntime",
        ) from None


def _runtime(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ModelError(
            f"cannot open {path} without onnxruntime", hint="run `pip install 'transferzoo[onnx]'`"
        ) from None
    return onnxruntime


def _digest(path: Path) -> str:
    """Return the SHA-256 of an exported model: of its file, or of its file and those its weights lie in.

    Raises:
        ModelError: it is absent, or its weights lie outside of its folder.
    """
    files = _weight_files(path)
    if not files:
        return sha256(path)
    return hashlib.sha256("".join(sha256(file) for file in (path, *files)).encode()).hexdigest()


def _weight_files(path: Path) -> list[Path]:
    """Return the files beside an exported model that hold its weights, sorted by name."""
    if not path.is_file():
        raise ModelError(f"{path} is no file", expected="an exported model")
    content = path.read_bytes()
    names = set()
    for found in _LOCATION.finditer(content):
        length = sum((byte & 127) << 7 * place for place, byte in enumerate(found[1]))
        names.add(content[found.end() : found.end() + length].decode("utf-8", "replace").rstrip("\0"))
    for name in names:
        if Path(name).is_absolute() or os.pardir in Path(name).parts:
            raise ModelError(
                f"{path} has its weights in '{name}'",
                expected="a file in the same folder",
                hint="export it as one file",
            )
    return [file for name in sorted(names) if (file := path.parent / name).is_file()]
