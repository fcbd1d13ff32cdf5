"""Commands whose parameters are the fields of a dataclass."""

from __future__ import annotations

import inspect
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable

Request = TypeVar("Request")


def command(of: type[Request]) -> Callable[[Callable[[Request], None]], Callable[..., None]]:
    """Return a decorator that makes a command of a function of one request.

    Typer reads the parameters of a command from its signature. This one has those of the dataclass, so that
    a parameter is declared once and what was parsed is handed on as one object. Its own fields come
    before those that it inherits, which the help shows last in each panel.

    Args:
        of: a dataclass whose fields are annotated as Typer's parameters are, and have no default factory.
    """
    annotations = get_type_hints(of, include_extras=True)
    names = [name for part in of.__mro__ for name in inspect.get_annotations(part)]
    kind, empty = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
    parameters = [
        inspect.Parameter(name, kind, default=getattr(of, name, empty), annotation=annotations[name])
        for name in names
    ]

    def decorate(run: Callable[[Request], None]) -> Callable[..., None]:
        @wraps(run)
        def parsed(**values: Any) -> None:
            run(of(**values))

        parsed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return parsed

    return decorate
