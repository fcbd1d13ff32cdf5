"""A small Hub on the loopback address, for tests that run the real `huggingface_hub` client against it.

It answers what the client asks to find, download and publish files: who the user is, repositories, listings,
files with their redirects to the storage of LFS files, uploads, commits, branches, tags and pull requests.
The answers are in hub_answers.py; what it holds, and what goes wrong on demand, is a `Hub` of hub_state.py.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import os
import socket
import struct
import sys
import threading
import time
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from helpers.hub_answers import Exchange
from helpers.hub_state import COMMIT, GATED, STATUSES, Answer, Fault, Hub, Request, User
from transferzoo.base.errors import TransferZooError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "COMMIT",
    "GATED",
    "Hub",
    "Outcome",
    "User",
    "called",
    "client_environment",
    "connect",
    "running",
    "serving",
]


class _Server(ThreadingHTTPServer):
    """A server that says nothing when a client hangs up, as one does that was given a fault."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[str]:
    """Serve `files` ("datasets/OWNER/NAME/FILE" or "OWNER/NAME/FILE" → content); yield the address."""
    with running(files) as hub:
        yield hub.address


@contextmanager
def running(files: Mapping[str, bytes] | None = None) -> Iterator[Hub]:
    """Serve a Hub with `files`; yield it, to be changed and asked while it runs."""
    hub = Hub()
    hub.add_all(files or {})
    servers = [
        _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub, "stores": stores}))
        for stores in (False, True)
    ]
    hub.address, hub.storage = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        for server in servers
    ]
    for server, thread in zip(servers, threads, strict=True):
        server.daemon_threads = True
        server.block_on_close = False
        thread.start()
    try:
        yield hub
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join(5)


def client_environment(endpoint: str, home: Path) -> dict[str, str]:
    """Return the variables that turn the real client to `endpoint`, with its cache in `home`."""
    return {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def connect(monkeypatch: pytest.MonkeyPatch, hub: Hub, home: Path, **variables: str) -> None:
    """Turn the client of this process, which has read its variables, to a Hub, with its cache in `home`."""
    import huggingface_hub
    from huggingface_hub import constants

    huggingface_hub.close_session()  # a connection may lead to another Hub, or be forbidden
    implicit = {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "0" if variables.get("HF_TOKEN") else "1", "HF_TOKEN": ""}
    environment = client_environment(hub.address, home) | implicit | variables
    settings: dict[str, object] = {
        "ENDPOINT": hub.address,
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_HUB_DISABLE_SYMLINKS_WARNING": True,
        "HF_TOKEN_PATH": str(home / "token"),
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.address + "/{repo_id}/resolve/{revision}/{filename}",
    }
    for switch in ("IMPLICIT_TOKEN", "SYMLINKS", "TELEMETRY", "XET"):
        settings[f"HF_HUB_DISABLE_{switch}"] = environment.get(f"HF_HUB_DISABLE_{switch}") == "1"
    settings["HF_HUB_OFFLINE"] = environment.get("HF_HUB_OFFLINE") == "1"
    for variable in environment.items():
        monkeypatch.setenv(*variable)
    for setting in settings.items():
        monkeypatch.setattr(constants, *setting)


class Outcome(NamedTuple):
    """What a call of `transferzoo.hub` returned, or the sentence it raised."""

    value: Any
    error: str


def called(hub: Hub, home: Path, *calls: tuple[str, dict[str, Any]], **variables: str) -> list[Outcome]:
    """Call functions of `transferzoo.hub` with `home` as the client's home.

    A token is taken from `HF_TOKEN`; that it is printed nowhere is asserted.
    """
    from transferzoo import hub as client

    output = io.StringIO()
    handler = logging.StreamHandler(output)
    found = []
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(output),
        redirect_stderr(output),
        warnings.catch_warnings(action="ignore", category=DeprecationWarning),  # the client's own
    ):
        connect(patch, hub, home, **variables)
        logging.getLogger("huggingface_hub").addHandler(handler)
        for name, options in calls:
            try:
                found.append(Outcome(_plain(getattr(client, name)(**options)), ""))
            except TransferZooError as error:
                found.append(Outcome(None, str(error)))
        logging.getLogger("huggingface_hub").removeHandler(handler)
    token = variables.get("HF_TOKEN")
    assert not token or token not in output.getvalue() + "".join(one.error for one in found)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        text = value.read_bytes().decode("latin-1")
        return {"path": str(value), "text": text, "commit": value.parts[value.parts.index("snapshots") + 1]}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[Hub]
    stores: ClassVar[bool]  # whether this is the storage of LFS files
    protocol_version = "HTTP/1.1"
    timeout = 10
    fault: Fault | None

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        path = unquote(address.path)
        body = self._read()
        self.hub.requests.append(Request(self.command, path, "Authorization" in self.headers))
        self.fault = self.hub.fault(self.command, path)
        if self.fault and self.fault.kind == "slow":
            time.sleep(min(self.fault.value, 10))
        if self.fault and self.fault.kind in STATUSES:
            waits = {"Retry-After": f"{self.fault.value:.0f}"}
            return self._send(Answer(STATUSES[self.fault.kind], b"", waits))
        query = parse_qs(address.query)
        asked = Exchange(self.hub, self.command, address.path, self.headers, query, body)
        return self._send(asked.answer(stores=self.stores))

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, answer: Answer) -> None:
        status, content, headers = answer
        kind, value = (self.fault.kind, self.fault.value) if self.fault else ("", 0)
        if kind == "lost":
            self.close_connection = True
            return
        if kind == "corrupt":
            content = bytes([content[0] ^ 255]) + content[1:]
        if kind == "truncate":
            content = content[: len(content) // 2]
        size = str(len(content))
        if kind == "huge":
            linked = "X-Linked-Size" in headers
            headers = {**headers, **({"X-Linked-Size": f"{value:.0f}"} if linked else {})}
            size = size if linked else f"{value:.0f}"
        self.send_response(status)
        for name, header in {"Content-Length": size, **headers}.items():
            self.send_header(name, header)
        self.end_headers()
        if self.command == "HEAD":
            return
        if kind in ("drop", "reset"):
            content = content[: len(content) // 2]
            self.close_connection = True
        self.wfile.write(content)
        if kind == "reset":
            self.wfile.flush()
            time.sleep(0.1)  # the client reads what came so far
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())  # the server itself would end it politely
