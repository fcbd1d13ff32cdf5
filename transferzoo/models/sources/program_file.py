"""Networks saved with their program: TorchScript (.pt) and torch.export (.pt2).

Both can run code of whoever made the file, so they are loaded with --allow-code only. They take [0, 1]
pixels: normalisation belongs inside. Gradients come back.
"""

from __future__ import annotations

import logging
import warnings
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar

from transferzoo.base.atomic import sha256
from transferzoo.base.errors import ModelError, reason
from transferzoo.base.frozen_model import fingerprint
from transferzoo.models.sources.at_path import AtPath
from transferzoo.zoo.model_source import model_source
from transferzoo.zoo.source_facts import Example

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from transferzoo.models.classifier import Classifier
    from transferzoo.models.unlisted_options import UnlistedOptions
    from transferzoo.zoo.schema import DatasetSpec

EXPORTED = ".pt2"
SCRIPTED = (".pt", ".pth", ".ts", ".jit", ".torchscript")


@model_source("program")
@dataclass(frozen=True)
class ProgramFile(AtPath):
    """A TorchScript archive or an exported program."""

    written: ClassVar[str] = "PROGRAM.pt2 or TorchScript with --allow-code"
    examples: ClassVar[tuple[Example, ...]] = (
        Example("a program of torch.export", "net.pt2 --allow-code"),
        Example("TorchScript", "scripted.pt --allow-code"),
    )
    runs_code: ClassVar[bool] = True
    as_is: ClassVar[bool] = True

    @classmethod
    def recognises(cls, written: str, options: UnlistedOptions) -> bool:
        path = Path(written).expanduser()
        name = path.name.lower()
        return name.endswith(EXPORTED) or (name.endswith(SCRIPTED) and is_scripted(path))

    def load(self, dataset: DatasetSpec, weights: Path | None = None) -> Classifier:
        from transferzoo.models.predictor import tried

        return tried(_classifier(self.path, dataset), self.path.name, dataset)

    def identity(self) -> tuple[str, str]:
        return sha256(self.path), fingerprint("reads [0, 1] pixels")


def is_scripted(path: Path) -> bool:
    """Return whether a file is a TorchScript archive: one that has code beside its constants."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            parts = {PurePath(name).parts[1:2] for name in archive.namelist()}
    except Exception:  # of a damaged directory zipfile raises all kinds
        return False
    return {("code",), ("constants.pkl",)} <= parts


def _classifier(path: Path, dataset: DatasetSpec) -> Classifier:
    """Return a saved network as a classifier of a data set's images.

    Raises:
        ModelError: it cannot be loaded.
    """
    from transferzoo.models.classifier import Classifier

    try:
        with warnings.catch_warnings(action="ignore"):  # TorchScript is deprecated, its files are not gone
            network = _exported(path) if path.name.lower().endswith(EXPORTED) else _scripted(path)
    except Exception as error:  # torch raises all kinds, and so may the program
        raise ModelError(
            f"torch cannot load the program {path}: {reason(error)}",
            hint="the file may be damaged, or saved by another version of torch; save it again",
        ) from None
    return Classifier(network, channels=dataset.channels).eval()


def _scripted(path: Path) -> nn.Module:
    import torch

    return torch.jit.load(path, map_location="cpu")  # type: ignore[no-any-return]


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Silence a logger: what matters comes as an exception."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _exported(path: Path) -> nn.Module:
    """Return the module of an exported program, for any number of images; its mode is that of its export."""
    import torch
    from torch import Tensor, nn

    from transferzoo.models.batches import in_batches_of

    with _quiet("torch.export"):  # a damaged file's traceback, for one
        program: Any = torch.export.load(path)
    (name,) = program.graph_signature.user_inputs
    (images,) = (node for node in program.graph.nodes if node.name == name)
    given = images.meta["val"].shape[0]
    batch = given if isinstance(given, int) else None

    class Program(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.program = program.module()

        def train(self, mode: bool = True) -> Program:
            return self  # it has no other mode

        def forward(self, images: Tensor) -> Tensor:
            return in_batches_of(batch, images, self.program)

    return Program()
