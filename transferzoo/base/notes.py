"""What is noticed while it is not clear yet that a request makes sense."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Notes:
    """Sentences that are kept until it is clear that a request makes sense: none is told before a refusal.

    Args:
        notify: told each of them then.
    """

    def __init__(self, notify: Callable[[str], None]) -> None:
        self._notify = notify
        self._kept: list[str] = []

    def __call__(self, message: str) -> None:
        """Keep a sentence."""
        self._kept.append(message)

    def tell(self) -> None:
        """Tell what was kept."""
        for message in self._kept:
            self._notify(message)
        self._kept.clear()
