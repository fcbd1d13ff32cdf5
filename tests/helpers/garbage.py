"""No garbage collection until all tests are collected: it would go through every new module again and again.

What stays to the end, modules and tests, is left alone by later collections too.
"""

from __future__ import annotations

import gc

gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
