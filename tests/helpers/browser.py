"""Headless Chromium, spoken to over a pipe in its DevTools protocol; nothing but Chromium is needed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader, BufferedWriter
    from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SIZES = [(360, False), (360, True), (1440, False), (1440, True)]
"""Width of a window in pixels, and whether it is by night."""
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--remote-debugging-pipe",
)


def chromium() -> str | None:
    """Return the browser: the one that TRANSFERZOO_CHROMIUM names, or the first on the path."""
    named = os.environ.get("TRANSFERZOO_CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Browser:
    """A page of a browser.

    Attributes:
        events: what the browser has told of the page so far, in its order.
        rest: what was read of it and is no event yet.
    """

    writes: BufferedWriter
    reads: BufferedReader
    session: str = ""
    number: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    rest: bytes = b""

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self.number += 1
        content: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            content["sessionId"] = self.session
        self.writes.write(json.dumps(content).encode() + b"\0")
        self.writes.flush()
        while (answer := self._next()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        parts = [self.rest]
        while b"\0" not in parts[-1]:
            parts.append(self.reads.read1())
            assert parts[-1], "the browser has gone"
        answer, _, self.rest = b"".join(parts).partition(b"\0")
        return dict(json.loads(answer))

    def open(self, address: str, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Open an address in a window of a size, and wait until it is loaded."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.resize(width, height)
        self.events.clear()
        self.call("Page.navigate", url=address)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def resize(self, width: int, height: int = 900) -> None:
        """Give the window another size, in pixels."""
        size = {"width": width, "height": height}
        self.call("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=1, mobile=False)

    def tell(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def happened(self, *methods: str) -> list[dict[str, Any]]:
        """Return the parameters of all events of some kinds since the page was opened."""
        return [event["params"] for event in self.events if event.get("method") in methods]

    def screenshot(self, path: Path) -> None:
        """Write a picture of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip={**size, "scale": 1})
        path.write_bytes(base64.b64decode(taken["data"]))


@contextmanager
def browsing(program: str) -> Iterator[Browser]:
    """Start a browser with an empty profile and end it, and all it has started."""
    down, up = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        joined = f'exec "$@" 3<&{down[0]} 4>&{up[1]}'  # the browser reads from 3 and writes to 4
        process = subprocess.Popen(
            ["bash", "-c", joined, "bash", program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(down[0], up[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(down[0])
        os.close(up[1])
        with os.fdopen(down[1], "wb") as writes, os.fdopen(up[0], "rb") as reads:
            browser = Browser(writes, reads)
            try:
                made = browser.call("Target.createTarget", url="about:blank")
                attached = browser.call("Target.attachToTarget", targetId=made["targetId"], flatten=True)
                browser.session = attached["sessionId"]
                for domain in ("Page", "Runtime", "Network", "Log"):
                    browser.call(f"{domain}.enable")
                yield browser
                browser.session = ""
                browser.call("Browser.close")
            finally:
                process.terminate()
                process.wait(30)


def check_quiet(browser: Browser, address: str, width: int) -> None:
    """Check that the page says nothing on its console, asks for nothing but itself, and is not too wide."""
    messages = browser.happened("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
    assert messages == []
    asked = [event["request"]["url"] for event in browser.happened("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith("data:")] == [address]
    assert browser.tell("document.documentElement.scrollWidth") <= width
