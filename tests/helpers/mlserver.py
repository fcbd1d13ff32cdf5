"""MLServer from PyPI, in an environment of its own, as a server of the Open Inference Protocol."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VARIABLE = "TRANSFERZOO_MLSERVER"
"""Names the interpreter of the environment: MLServer pins what TransferZoo has newer."""
RUNTIME = """
from pathlib import Path

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Exported(MLModel):
    async def load(self):
        self.session = onnxruntime.InferenceSession(Path(__file__).with_name("net.onnx"))
        return True

    async def predict(self, payload):
        images = NumpyCodec.decode_input(payload.inputs[0])
        (scores,) = self.session.run(None, {"images": images})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("scores", scores)])
"""
LAUNCH = "from mlserver.cli import main; main()"


def python() -> str:
    """Return the interpreter of the environment, or skip the test."""
    if not (found := os.environ.get(VARIABLE)):
        pytest.skip(f"{VARIABLE} names no python with `pip install mlserver==1.7.1 onnxruntime`")
    return found


@contextmanager
def serving(network: Path, place: Path) -> Iterator[str]:
    """Serve an exported network of Fashion-MNIST's images, input "images"; yield its address.

    Args:
        network: .onnx.
        place: an empty folder, for what the server needs.
    """
    interpreter, ports = python(), [_free_port() for _ in range(2)]
    folder = place / "vgg"
    folder.mkdir(parents=True)
    (folder / "net.onnx").write_bytes(network.read_bytes())
    (folder / "runtime.py").write_text(RUNTIME)
    tensors = {
        "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 1, 28, 28]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 10]}],
    }
    model = {"name": "vgg", "implementation": "runtime.Exported", **tensors}
    (folder / "model-settings.json").write_text(json.dumps(model))
    settings = {"host": "127.0.0.1", "http_port": ports[0], "grpc_port": ports[1], "parallel_workers": 0}
    (place / "settings.json").write_text(json.dumps({**settings, "metrics_endpoint": None, "debug": False}))
    url = f"http://127.0.0.1:{ports[0]}/v2/models/vgg"
    with (place / "log").open("w") as log:
        command = [interpreter, "-c", LAUNCH, "start", str(place)]
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            _wait_for(f"{url}/ready", server, place / "log")
            yield url
        finally:
            server.terminate()
            server.wait(30)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 90
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()
        try:
            with urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"MLServer is not ready after 90 s: {log.read_text()}")
