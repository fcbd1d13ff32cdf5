"""Tells timm of our architectures when timm is imported; nothing heavy is imported before."""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def register_with_timm() -> None:
    """Give timm every architecture as soon as `timm.models` is imported: at once if it already is.

    Those of plug-ins that are loaded by then count; later ones register themselves.
    """
    if "timm.models" in sys.modules:
        _register(sys.modules["timm.models"])
    else:
        sys.meta_path.insert(0, _AfterTimm())


class _AfterTimm(MetaPathFinder):
    """Waits for the import of `timm.models` and registers behind it; importing timm takes seconds."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "timm.models":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                _register(module)

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def _register(timm_models: ModuleType) -> None:
    from transferzoo.models.architectures import ARCHITECTURES
    from transferzoo.models.architectures.entrypoints import register

    register(timm_models, ARCHITECTURES.registered)
