"""Ctrl-C and SIGTERM: what they raise, and the sentence that ends the command."""

from __future__ import annotations

SENTENCE = "Interrupted; the same command goes on from here."


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM; no `Exception`, so that nothing on the way up takes it for a failure of its own.

    A command that knows more than `SENTENCE` says adds its own as a note.
    """


def sentence(error: BaseException) -> str:
    """Return what is said of an interruption, whatever it has become on its way up."""
    notes: list[str] = getattr(error, "__notes__", [])
    return notes[-1] if notes and isinstance(error, Interrupted) else SENTENCE
