"""Which tests are slow: those of `tests/slow.txt`, which `pytest --list-slow` writes from what it measures.

Every line is a test, all its cases together, and the seconds they took, fixtures that they were the first to
use included. Under xdist files stay together, so that no two workers make the same fixture, and those that
took longest begin.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

LIST = Path(__file__).parent.parent / "slow.txt"
LEAST = 0.4
"""Seconds of a slow test."""


def read() -> dict[str, float]:
    """Return the seconds of every slow test, by its name without cases."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return {name: float(seconds) for seconds, name in (line.split(maxsplit=1) for line in lines)}


def write(measured: Mapping[str, float]) -> None:
    """Put what was measured into the list; tests that were not run keep their line."""
    known = {name: seconds for name, seconds in read().items() if name not in measured}
    slow = {**known, **{name: seconds for name, seconds in measured.items() if seconds >= LEAST}}
    lines = [f"{seconds:6.1f} {name}\n" for name, seconds in sorted(slow.items())]
    LIST.write_text("".join(lines), encoding="utf-8")


def _name(case: str) -> str:
    return case.partition("[")[0]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--list-slow",
        action="store_true",
        help=f"Note in {LIST.name} which of the tests take {LEAST} s and more; nothing else should run.",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("list_slow") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Stopwatch())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = read()
    files: dict[str, float] = defaultdict(float)
    for name, seconds in slow.items():
        files[name.partition("::")[0]] += seconds
    for item in items:
        if _name(item.nodeid) in slow or item.get_closest_marker("network"):
            item.add_marker("slow")
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: -files[item.nodeid.partition("::")[0]])


class _Stopwatch:
    """Adds up what every test takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[_name(report.nodeid)] += report.duration

    def pytest_sessionfinish(self) -> None:
        write(self.seconds)
