"""Requests that fail for a moment are repeated, within bounds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from transferzoo.hub.sentences import response_of, retry_after, status_of

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PAUSES = (0.5, 2.0)
"""Seconds before the second and the third try."""
MAX_WAIT = 300
"""Seconds that are waited at most where the Hub asks for it; its rate limits hold for five minutes."""
_BUSY, _BROKEN = 429, (500, 502, 503, 504)
_INTERRUPTED = ("ReadError", "RemoteProtocolError")
"""What the client's HTTP library calls a connection that ends in the middle; its name differs by version."""


def with_retries(call: Callable[[], T], *, when_busy: bool = False) -> T:
    """Return what a call of the client returns, repeated after errors that may be gone a moment later.

    A Hub that fails (status 5xx), a connection that ends in the middle, and a body that is too short: the
    client repeats some requests itself, not these.

    Args:
        call: asks the Hub.
        when_busy: wait also where the Hub is busy (status 429), which the client does for files by itself.
    """
    for pause in PAUSES:
        _limit_waits()
        try:
            return call()
        except Exception as error:
            seconds = _pause(error, pause, when_busy)
            if seconds is None:
                raise
        time.sleep(seconds)
    return call()


def _pause(error: Exception, pause: float, when_busy: bool) -> float | None:
    """Return the seconds before the next try, None if there is none."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return None  # the client has repeated it
    status = status_of(error)
    if status in _BROKEN or (when_busy and status == _BUSY):
        seconds = retry_after(response_of(error).headers)
        return pause if seconds is None else seconds if seconds <= MAX_WAIT else None
    short = isinstance(error, OSError) and not status and error.errno is None  # a full disk has a number
    return pause if short or type(error).__name__ in _INTERRUPTED else None


def _limit_waits() -> None:
    """Make the client raise where the Hub asks it to wait longer than `MAX_WAIT`: it would wait that long."""
    from huggingface_hub import get_session

    session: Any = get_session()
    hooks = session.event_hooks
    if _raise_if_long not in hooks["response"]:
        session.event_hooks = {**hooks, "response": [*hooks["response"], _raise_if_long]}


def _raise_if_long(response: Any) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    if response.status_code == _BUSY and (retry_after(response.headers) or 0) > MAX_WAIT:
        raise HfHubHTTPError("the wait is too long", response=response)
