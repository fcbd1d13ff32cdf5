"""A browser for the tests of pages; without Chromium these are skipped, TRANSFERZOO_CHROMIUM names one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from helpers.browser import Browser, browsing, chromium

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = chromium()
    if program is None:
        pytest.skip("there is no Chromium on this machine")
    with browsing(program) as started:
        yield started
