"""Fixtures that save the time of all tests: what many would do again is done once, or briefly."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest
import typer.main

from transferzoo.cli import app
from transferzoo.datasets import pixels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from transferzoo.datasets.pixels import Fit
    from transferzoo.zoo.schema import DatasetSpec


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
