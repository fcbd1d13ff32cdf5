"""Commands whose parameters are the fields of a dataclass."""

from __future__ import annotations

import dataclasses
import inspect
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Request = TypeVar("Request")


def command(of: type[Request]) -> Callable[[Callable[[Request], None]], Callable[..., None]]:
    """Return a decorator that makes a command of a function of one request.

    Typer reads the parameters of a command from its signature. This one has those of the dataclass, so that
    a parameter is declared once and what was parsed is handed on as one object.

    Args:
        of: a dataclass whose fields are annotated as Typer's parameters are.
    """
    parameters = inspect.signature(of, eval_str=True).parameters
    factories = {
        field.name: field.default_factory
        for field in dataclasses.fields(of)  # type: ignore[arg-type]
        if field.default_factory is not dataclasses.MISSING
    }
    filled = [
        one.replace(default=factories[name]()) if name in factories else one
        for name, one in parameters.items()
    ]

    def decorate(run: Callable[[Request], None]) -> Callable[..., None]:
        @wraps(run)
        def parsed(**values: Any) -> None:
            run(of(**values))

        parsed.__signature__ = inspect.Signature(filled)  # type: ignore[attr-defined]
        return parsed

    return decorate
