"""How the tests run: alone, or handed out to workers by a process that imports nothing heavy."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from helpers.garbage import pytest_collection_finish as pytest_collection_finish
from helpers.installed_copy import require_checkout

if TYPE_CHECKING:
    import pytest

os.environ.pop("COLUMNS", None)  # tables are as wide as in any pipe
if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are shared with the other workers
    os.environ["OMP_NUM_THREADS"] = "1"
else:
    require_checkout()

pytest_plugins = ["helpers.slow_tests"]


def pytest_configure(config: pytest.Config) -> None:
    """Import the fixtures, and with them PyTorch, where tests are run.

    Clean predictions are kept where no other run of the tests, and no user, has any.
    """
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        for name in ("helpers.fixtures", "helpers.time_savers"):
            config.pluginmanager.import_plugin(name)
        cache = TemporaryDirectory()
        config.add_cleanup(cache.cleanup)
        os.environ["TRANSFERZOO_CACHE"] = cache.name
        if sys.platform == "linux":  # elsewhere the first test that needs the server starts it
            from helpers.processes import start_server

            start_server()


@dataclass(frozen=True)
class Result:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str
