"""Waiting: what may pass is tried again, as often and as long as is bearable."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from transferzoo.hub.sentences import asked_to_wait, status_of

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PAUSES = (0.5, 2.0)
"""Seconds before the second and the third try."""
LONGEST = 300
"""Seconds that are waited at most where the Hub asks for it; its limits are by five minutes."""
_BUSY, _BROKEN = 429, (500, 502, 503, 504)
_CUT = ("ReadError", "RemoteProtocolError", "ChunkedEncodingError")
"""What the client's HTTP libraries call a connection that ends in the middle."""


def patiently(call: Callable[[], T], *, when_busy: bool = False) -> T:
    """Return what a call of the client returns, called again after what may pass.

    That is a Hub that fails (status 5xx), a connection that ends in the middle, and a body that is too short.
    The client repeats some requests itself, not these.

    Args:
        call: what to do.
        when_busy: wait also where the Hub is busy (status 429), which the client does for files by itself.
    """
    for pause in PAUSES:
        _let_no_wait_be_endless()
        try:
            return call()
        except Exception as error:
            seconds = _pause(error, pause, when_busy)
            if seconds is None:
                raise
        time.sleep(seconds)
    return call()


def _pause(error: Exception, pause: float, when_busy: bool) -> float | None:
    """Return how long to wait before the next try, None if there shall be none."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):  # tried long enough
        return None
    status = status_of(error)
    if status in _BROKEN or (when_busy and status == _BUSY):
        said = asked_to_wait(error.response.headers)  # type: ignore[attr-defined]
        return pause if said is None else said if said <= LONGEST else None
    short = isinstance(error, OSError) and not status and error.errno is None  # a full disk has a number
    return pause if short or type(error).__name__ in _CUT else None


def _let_no_wait_be_endless() -> None:
    """Make the client give up where it would wait longer than `LONGEST`: it waits as long as it is told."""
    from huggingface_hub import get_session

    session: Any = get_session()
    hooks = getattr(session, "event_hooks", None)  # older clients do not wait as they are told
    if hooks is not None and _give_up not in hooks["response"]:
        session.event_hooks = {**hooks, "response": [*hooks["response"], _give_up]}


def _give_up(response: Any) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    if response.status_code == _BUSY and (asked_to_wait(response.headers) or 0) > LONGEST:
        raise HfHubHTTPError("the wait is too long", response=response)
