"""The package as it is installed: its version, its licence, and that the tests test this checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import transferzoo
from helpers.installed_copy import CHECKOUT, difference

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result

WEIGHTS = "assets/fashion-mnist/vgg/model.safetensors"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the package as an installation is one, in a folder for PYTHONPATH."""
    package = tmp_path / "site" / "transferzoo"
    shutil.copytree(CHECKOUT / "transferzoo", package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "zoo.yaml", package)
    return package


def changed(package: Path) -> str:
    return difference(CHECKOUT, package)


def test_a_copy_is_a_checkout_until_a_file_differs(copy: Path) -> None:
    assert changed(CHECKOUT / "transferzoo") == changed(copy) == ""
    (copy / "__pycache__").mkdir()
    (copy / "__pycache__" / "api.cpython-311.pyc").write_bytes(b"")
    assert changed(copy) == ""
    weights = (copy / WEIGHTS).read_bytes()
    (copy / WEIGHTS).write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert changed(copy) == WEIGHTS
    (copy / WEIGHTS).write_bytes(weights)
    (copy / "zoo.yaml").unlink()
    assert changed(copy) == "zoo.yaml"
    shutil.copy(CHECKOUT / "zoo.yaml", copy)
    (copy / "attacks" / "techniques" / "gone.py").touch()
    assert changed(copy) == "attacks/techniques/gone.py"


def test_the_tests_do_not_start_on_another_copy(copy: Path) -> None:
    with (copy / "api.py").open("a") as file:
        file.write("# edited\n")
    command = [sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider", "tests/test_imports.py"]
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env={"PYTHONPATH": str(copy.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr.startswith("Error: the tests would not test this checkout but the copy in ")
    assert done.stderr.rstrip().endswith("`pip install -e '.[dev]'`, once, lets tests use your edits.")
    assert "transferzoo/api.py" in done.stderr and done.stderr.count("\n") == 1


def test_the_version_stands_in_one_place(cli: Callable[..., Result]) -> None:
    done = cli("--version")
    assert (done.code, done.out, done.err) == (0, f"transferzoo {transferzoo.__version__}\n", "")
    changelog = (CHECKOUT / "transferzoo" / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## {transferzoo.__version__}" in changelog


def test_what_others_made_is_in_the_notices() -> None:
    notices = (CHECKOUT / "transferzoo" / "THIRD_PARTY.md").read_text(encoding="utf-8")
    assets = CHECKOUT / "transferzoo" / "assets"
    ours = {"model.safetensors", "config.json", "recipe.json", "manifest.json"}
    theirs = [file for file in assets.rglob("*") if file.is_file() and file.name not in ours]
    assert theirs
    assert not [file for file in theirs if f"assets/{file.relative_to(assets).as_posix()}" not in notices]
