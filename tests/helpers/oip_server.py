"""A small server of the Open Inference Protocol on the loopback address, whose faults a test chooses."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

DTYPES = {"FP32": np.float32, "FP16": np.float16, "UINT8": np.uint8, "INT64": np.int64}


class Fault(NamedTuple):
    """What is answered once instead: a status, text and headers; status 0 hangs up."""

    status: int
    text: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class Served:
    """A model that is served.

    Attributes:
        answer: images as the input has them → scores (N, K) or labels.
        datatype: of the input.
        shape: of the input, −1 for any.
        output: datatype and shape of the output.
        metadata: said instead of the usual.
        largest: images that are taken at once.
        faults: answered first, one a request for classes.
        token: without which nothing is answered.
        requests: how many images each request for classes had.
        headers: of the last request.
    """

    answer: Callable[[NDArray[Any]], NDArray[Any]]
    datatype: str = "FP32"
    shape: tuple[int, ...] = (-1, 1, 28, 28)
    output: tuple[str, tuple[int, ...]] = ("FP32", (-1, 10))
    metadata: object = None
    largest: int = 1000
    faults: list[Fault] = field(default_factory=list)
    token: str = ""
    requests: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    url: str = ""

    def describe(self) -> object:
        if self.metadata is not None:
            return self.metadata
        inputs = [{"name": "images", "datatype": self.datatype, "shape": self.shape}]
        outputs = [{"name": "classes", "datatype": self.output[0], "shape": self.output[1]}]
        return {"name": "net", "versions": ["1"], "platform": "tests", "inputs": inputs, "outputs": outputs}

    def infer(self, content: Any) -> tuple[int, object]:
        (given,) = content["inputs"]
        assert (given["name"], given["datatype"]) == ("images", self.datatype)
        images = np.array(given["data"], DTYPES[self.datatype]).reshape(given["shape"])
        assert all(wanted in (-1, size) for wanted, size in zip(self.shape, images.shape, strict=True))
        if len(images) > self.largest:
            return 400, {"error": f"batch size must be <= {self.largest}"}
        self.requests.append(len(images))
        found = self.answer(images)
        output = {"name": "classes", "datatype": self.output[0], "shape": found.shape, "data": found.tolist()}
        return 200, {"model_name": "net", "outputs": [output]}


@contextmanager
def serving(model: Served) -> Iterator[str]:
    """Serve a model while the block runs; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"model": model}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    model.url = f"http://127.0.0.1:{server.server_port}/v2/models/net"
    try:
        yield model.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    model: Served

    def do_GET(self) -> None:
        known = self.path == "/v2/models/net"
        self._answered(200 if known else 404, self.model.describe() if known else {"error": "no such model"})

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.model.faults:
            status, text, headers = self.model.faults.pop(0)
            if status:
                self._said(status, text.encode(), headers)
            self.close_connection = True
            return
        assert self.path == "/v2/models/net/infer"
        self._answered(*self.model.infer(content))

    def _answered(self, status: int, content: object) -> None:
        self.model.headers = dict(self.headers)
        if self.model.token and self.headers.get("Authorization") != f"Bearer {self.model.token}":
            status, content = 401, {"error": f"who is {self.headers.get('Authorization')}?"}
        self._said(status, content if isinstance(content, bytes) else json.dumps(content).encode())

    def _said(self, status: int, content: bytes, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(content)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
