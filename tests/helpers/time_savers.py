"""Fixtures that save the time of all tests: what many would do again is done once, or briefly."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import pytest
import typer.main

from helpers.checkpoints import BUILTIN
from helpers.kept_networks import Kept
from transferzoo.base.foreign_files import unpack_gzip
from transferzoo.cli import app
from transferzoo.datasets import idx, pixels
from transferzoo.models import checkpoint, optimize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from transferzoo.datasets.pixels import Fit
    from transferzoo.models.classifier import Classifier
    from transferzoo.zoo.schema import DatasetSpec


READ: WeakKeyDictionary[nn.Module, tuple[tuple[object, ...], list[object]]] = WeakKeyDictionary()
"""Networks of the package as they were read: which, and their `state`."""


@pytest.fixture(scope="session", autouse=True)
def decoded_once() -> Iterator[None]:
    """Decode small files of images once: hundreds of tests read the built-in thousand."""
    known: dict[tuple[bytes, int, int, str], NDArray[Any]] = {}

    def content(encoded: bytes | Path) -> bytes:
        if isinstance(encoded, bytes):
            return encoded
        return encoded.read_bytes() if encoded.is_file() and encoded.stat().st_size <= 2000 else b""

    def decode(encoded: bytes | Path, spec: DatasetSpec, where: str, fit: Fit) -> NDArray[Any]:
        small = content(encoded)
        if not 0 < len(small) <= 2000:
            return pixels.decode(encoded, spec, where, fit)
        key = small, spec.channels, spec.size, fit
        if key not in known:
            known[key] = pixels.decode(encoded, spec, where, fit)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transferzoo.datasets.memory.decode", decode)
        yield


@pytest.fixture(scope="session", autouse=True)
def unpacked_once() -> Iterator[None]:
    """Unpack what is installed with the system once: each plan of a training counts its 60,000 images."""
    known = functools.cache(unpack_gzip)

    def unpack(path: Path) -> bytes:
        return known(path) if path.is_relative_to("/usr/share") else unpack_gzip(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idx, "unpack_gzip", unpack)
        yield


@pytest.fixture(scope="session", autouse=True)
def networks_read_once() -> Iterator[None]:
    """Build the networks in the package and read their weights once: tests load one thousands of times."""
    known: dict[tuple[Path, int, Path | None], tuple[Kept, dict[str, Any]]] = {}
    load = checkpoint.load_network

    def load_network(
        folder: Path, classes: int, weights: Path | None = None
    ) -> tuple[nn.Module, dict[str, Any]]:
        if not folder.is_relative_to(BUILTIN):
            return load(folder, classes, weights)
        key = folder, classes, weights
        if key not in known:
            network, reads = load(folder, classes, weights)
            known[key] = Kept(network), reads
        kept, reads = known[key]
        network = kept.copy()
        READ[network] = key, state(network)
        return network, copy.deepcopy(reads)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "load_network", load_network)
        yield


def state(network: nn.Module) -> list[object]:
    """Return what tells whether a network is still as it was read: its tensors, and what listens to it."""
    tensors = [(each.data_ptr(), each._version) for each in (*network.parameters(), *network.buffers())]
    return [
        *tensors,
        *(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in network.modules()),
    ]


@pytest.fixture(scope="session", autouse=True)
def folded_once() -> Iterator[None]:
    """Fold the batch norm of the networks in the package once: every attack from one of them does."""
    known: dict[tuple[object, ...], Kept] = {}
    fold = optimize.folded

    def folded(classifier: Classifier, pixels: Tensor) -> Classifier:
        key, before = READ.get(classifier.model, ((), []))
        if not before or before != state(classifier.model):
            return fold(classifier, pixels)
        if key not in known:
            known[key] = Kept(fold(classifier, pixels).model)
        twin = copy.copy(classifier)
        vars(twin).update({name: part.copy() for name, part in vars(twin).items() if isinstance(part, dict)})
        twin.model = known[key].copy()
        return twin

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimize, "folded", folded)
        yield


@pytest.fixture(scope="session", autouse=True)
def options_read_once() -> Iterator[None]:
    """Let Typer read the options of a command once: thousands of tests run one in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "_app", functools.cache(app._app))
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def short_forecasts() -> Iterator[None]:
    """Time one step for a forecast, not a second of them: many commands make one."""
    with pytest.MonkeyPatch.context() as patch:
        for room in ("training", "studies"):
            patch.setattr(f"transferzoo.{room}.estimate.LEAST_SECONDS", 1e-9)
        yield
