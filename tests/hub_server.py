"""A small Hub on the loopback address, for tests that run the real `huggingface_hub` client against it.

It answers HEAD and GET of `/[datasets/]OWNER/NAME/resolve/REV/FILE` with the headers the client needs.
"""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GATED = "owner/gated"


@contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[str]:
    """Serve `files` ("datasets/OWNER/NAME/FILE" or "OWNER/NAME/FILE" → content); yield the address."""
    served = type("Handler", (_Handler,), {"files": dict(files)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), served)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
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


class _Handler(BaseHTTPRequestHandler):
    files: ClassVar[dict[str, bytes]] = {}
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""

    def _answer(self, *, body: bool) -> None:
        path = unquote(self.path.split("?")[0]).strip("/")
        repo, _, place = path.partition("/resolve/")
        revision, _, file = place.partition("/")
        content = self.files.get(f"{repo}/{file}")
        if repo.removeprefix("datasets/") == GATED:
            self._refuse(403, "GatedRepo", body=body)
        elif not place or not any(name.startswith(f"{repo}/") for name in self.files):
            self._refuse(404, "RepoNotFound", body=body)
        elif revision not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound", body=body)
        elif content is None:
            self._refuse(404, "EntryNotFound", body=body)
        else:
            self._send(200, content, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'}, body=body)

    def _refuse(self, status: int, code: str, *, body: bool) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": code}, body=body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)
