"""Packages that only some of the commands need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from transferzoo.base.errors import TransferZooError


def import_optional(package: str, extra: str, what: str) -> Any:
    """Import a package that is an extra of this one.

    Args:
        package: its name.
        extra: of this package, which installs it.
        what: needs it, in words: "figures need".

    Raises:
        TransferZooError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError:
        raise TransferZooError(
            f"{what} {package}, which is not installed", hint=f"run `pip install 'transferzoo[{extra}]'`"
        ) from None
