"""Models exported to ONNX, run by onnxruntime: targets only, no gradient comes back.

An exported model takes pixels in [0, 1], or 8-bit ones in 0, …, 255 where its input says so: the
normalisation belongs inside the exported graph. One that expects normalised pixels shows it in its clean
accuracy, and near chance the gate stops it. Channels come before or after height and width, as its input has
them. It runs on the GPU where both torch and the installed onnxruntime can use it.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from transferzoo.base.atomic import sha256
from transferzoo.base.errors import ModelError, reason
from transferzoo.base.frozen_model import fingerprint
from transferzoo.models.sources.at_path import AtPath
from transferzoo.zoo.model_source import model_source
from transferzoo.zoo.source_facts import Example, InputForm

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.models.classifier import Classifier
    from transferzoo.models.foreign_network import ForeignNetwork
    from transferzoo.zoo.schema import DatasetSpec, Role

_LOCATION = re.compile(rb"\x0a\x08location\x12([\x80-\xff]?[\x00-\x7f])", re.DOTALL)
"""How a graph names a file of its weights: "location" and the path, whose length is the group."""
INPUTS = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
"""How onnxruntime calls the numbers that an input may hold → their name in NumPy."""


@model_source("onnx")
@dataclass(frozen=True)
class OnnxFile(AtPath):
    """An exported model."""

    written: ClassVar[str] = "MODEL.onnx"
    examples: ClassVar[tuple[Example, ...]] = (
        Example("an exported model", "net.onnx", "pip install 'transferzoo[onnx]'", surrogate="no"),
    )
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)
    roles: ClassVar[tuple[Role, ...]] = ("target",)

    def load(self, dataset: DatasetSpec, weights: Path | None = None) -> Classifier:
        from transferzoo.models.predictor import tried

        network = network_of(_session(self.path), self.path.name, len(dataset.classes))
        return tried(network.classifier(dataset.channels, dataset.size).eval(), self.place, dataset)

    def identity(self) -> tuple[str, str]:
        return _digest(self.path), fingerprint("reads [0, 1] pixels")

    def reads(self) -> InputForm | None:
        network = network_of(_session(self.path), self.path.name)
        if network.channels is None or network.height is None or network.height != network.width:
            return None
        return InputForm(network.channels, network.height)

    def gives_gradients(self) -> bool:
        return False

    def class_names(self) -> tuple[str, ...]:
        from transferzoo.datasets.labels import numbered

        shape = _session(self.path).get_outputs()[0].shape
        return numbered(shape[1]) if len(shape) == 2 and isinstance(shape[1], int) else ()

    def versions(self) -> dict[str, str]:
        runtime = _runtime(self.path)
        first = _providers(runtime)[0]
        on = "" if first == "CPUExecutionProvider" else f" {first}"  # it rounds in other places
        return {"onnxruntime": f"{runtime.__version__}{on}"}


@dataclass(frozen=True)
class _Graph:
    """What an exported model answers.

    Attributes:
        session: of onnxruntime.
        input: name of its input.
        batch: how many images it takes at once; None for any number.
        dtype: of the pixels it takes, "uint8" for 0, …, 255.
        channels_last: whether it takes them as (N, H, W, C).
    """

    session: Any
    input: str
    batch: int | None
    dtype: str
    channels_last: bool

    def __call__(self, images: Tensor) -> Tensor:
        """Return its first output for images, float32 (N, C, H, W) in [0, 1]."""
        from transferzoo.models.batches import in_batches_of

        return in_batches_of(self.batch, images, self._run)

    def _run(self, images: Tensor) -> Tensor:
        import torch

        if self.dtype == "uint8":
            images = (images * 255).round()
        if self.channels_last:
            images = images.permute(0, 2, 3, 1).contiguous()
        return torch.as_tensor(self.session.run(None, {self.input: images.numpy().astype(self.dtype)})[0])


def network_of(session: Any, name: str, classes: int | None = None) -> ForeignNetwork:
    """Return an exported model as a network of [0, 1] pixels; no gradient comes back through it.

    Args:
        session: of onnxruntime, whose one input is (N, C, H, W) or (N, H, W, C).
        name: what errors call it.
        classes: K, how many it shall know; None for any number.

    Raises:
        ModelError: it reads something else.
    """
    from transferzoo.models.foreign_network import ForeignNetwork
    from transferzoo.models.predictor import Predictor

    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in INPUTS or len(inputs[0].shape) != 4:
        got = ", ".join(f"{one.type} {one.shape}" for one in inputs) or "none"
        raise ModelError(
            f"{name} cannot read images",
            expected="one input of 4 dimensions, float32, float16 or uint8",
            got=got,
            hint="export it with such an input",
        )
    batch, *sides = (size if isinstance(size, int) else None for size in inputs[0].shape)
    channels_last = sides[0] not in (1, 3) and sides[2] in (1, 3)
    channels, height, width = (sides[2], *sides[:2]) if channels_last else sides
    if channels not in (None, 1, 3):
        raise ModelError(
            f"{name} cannot read images",
            expected="1 or 3 channels, (N, C, H, W) or (N, H, W, C)",
            got=f"shape {inputs[0].shape}",
            hint="export it with such an input",
        )
    graph = _Graph(session, inputs[0].name, batch, INPUTS[inputs[0].type], channels_last)
    return ForeignNetwork(Predictor(graph, classes, name), channels, height, width)


def _session(path: Path) -> Any:
    import torch

    runtime = _runtime(path)
    _weight_files(path)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what is wrong comes as an exception
    try:
        return runtime.InferenceSession(path, options, providers=_providers(runtime))
    except Exception as error:  # onnxruntime's exceptions have no base of their own
        raise ModelError(
            f"cannot open {path}: {reason(error)}",
            hint="the file may be damaged, or newer than the installed onnxruntime",
        ) from None


def _providers(runtime: Any) -> list[str]:
    """Return what runs a graph, the preferred one first."""
    import torch

    wanted = ["CUDAExecutionProvider"] if torch.cuda.is_available() else []
    return [name for name in (*wanted, "CPUExecutionProvider") if name in runtime.get_available_providers()]


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
