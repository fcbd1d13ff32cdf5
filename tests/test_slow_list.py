"""The list of slow tests: it names tests that exist, and what is measured comes into it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from helpers import slow_tests

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parent.parent


def test_its_tests_exist() -> None:
    for name in slow_tests.read():
        file, *_, test = name.split("::")
        code = (ROOT / file).read_text(encoding="utf-8")
        assert f"def {test}(" in code, f"{name} is gone: pytest --list-slow makes the list again"


def test_what_is_measured_comes_into_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that were not run stay, those that have become fast go."""
    monkeypatch.setattr(slow_tests, "LIST", tmp_path / "slow.txt")
    slow_tests.LIST.write_text("   9.0 a.py::test_old\n   2.0 b.py::test_mended\n", encoding="utf-8")
    slow_tests.write({"b.py::test_mended": 0.1, "b.py::Test::test_new": 1.25, "b.py::test_fast": 0.39})
    assert slow_tests.read() == {"a.py::test_old": 9.0, "b.py::Test::test_new": 1.2}


def test_what_needs_the_network_is_slow(request: pytest.FixtureRequest) -> None:
    """So that `-m 'not slow'`, in the place of the usual `-m 'not network'`, leaves it out."""
    items = [item for item in request.session.items if item.get_closest_marker("network")]
    assert all(item.get_closest_marker("slow") for item in items)
