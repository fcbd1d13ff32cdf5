"""Plug-ins that pip installs: what is loaded, what never is, and how they fail."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from helpers.plugins import (
    ATTACK,
    REGISTERED,
    SOURCE,
    STUDY_OF_PLUGIN,
    TECHNIQUE,
    TRAIN,
    cell_plugins,
    digest,
    file,
    run_plugins,
)
from helpers.studies import write_study
from helpers.wheels import Installed, environment, install, points, wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result

    Run = Callable[..., Result]


HOSTILE = "open({mark!r}, 'a').close()\n" + TECHNIQUE.format(name="hostile")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Install the plug-in's package, outside any folder that commands work in."""
    folder = tmp_path_factory.mktemp("outside")
    made = wheel(
        folder,
        "zoo-extras",
        {"zoo_extras/__init__.py": "", "zoo_extras/all.py": SOURCE},
        points("zoo_extras.all"),
    )
    return install(made, folder / "site")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a folder with a distribution that nobody installed; its code would leave a file `ran`."""
    folder = tmp_path / "work"
    folder.mkdir()
    source = HOSTILE.format(mark=str(folder / "ran"))
    install(wheel(tmp_path, "evil", {"evil.py": source}, points("evil")), folder)
    assert list(folder.glob("evil-1.0.dist-info/entry_points.txt"))
    return folder


def test_an_installed_plugin_is_listed_and_shown(package: Installed, tmp_path: Path) -> None:
    listed = json.loads(package.run("list", "attacks", "--json", cwd=tmp_path).stdout)
    origins = {entry["name"]: entry["plugin"] for entry in listed}
    assert {name for name, origin in origins.items() if origin} == {"flat-sign"}
    assert origins["flat-sign"] == "zoo-extras 1.0"
    shown = package.run("show", "half-sgd", cwd=tmp_path).stdout
    assert re.search("^ plugin +zoo-extras 1.0, sha256 [0-9a-f]{64} *$", shown, re.MULTILINE)
    assert "SGD with half the gradient" in shown


@pytest.mark.timeout(600)
def test_an_installed_plugin_trains_attacks_and_studies_in_several_processes(
    package: Installed, hostile: Path
) -> None:
    """In a working folder that is on the path, with a distribution in it that nobody installed."""
    study = write_study(hostile, STUDY_OF_PLUGIN)
    where: dict[str, Any] = {"cwd": hostile, "path": os.pathsep.join(["", str(hostile), "."])}
    package.fork(*TRAIN, **where)
    known = json.loads((hostile / "mine/recipe.json").read_text())["plugins"]
    assert known.keys() == {"zoo-extras"}
    assert known["zoo-extras"]["version"] == "1.0"
    package.fork(*ATTACK, "--jobs", 2, **where)
    assert run_plugins(hostile) == known
    package.fork(*study, "--jobs", 2, **where)  # its workers come from a fork server in a new interpreter
    assert cell_plugins(hostile) == [known] * 4
    listed = json.loads(package.run("list", "attacks", "--json", **where).stdout)
    assert {entry["name"] for entry in listed if entry["plugin"]} == {"flat-sign"}
    assert not (hostile / "ran").exists()


def test_what_a_script_imports_or_defines_is_known_by_where_it_comes_from(
    package: Installed, tmp_path: Path
) -> None:
    imports = "import zoo_extras.all\n"
    says = "print([str(TECHNIQUES.origin(name)) for name in ('flat-sign', 'scripted', 'mi')])\n"
    says += "print(TECHNIQUES.origin('scripted').sha256)\n"
    script = file(tmp_path, TECHNIQUE.format(name="scripted") + imports + says)
    program, variables = [sys.executable, str(script)], environment(str(package.folder))
    done = subprocess.run(program, env=variables, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["['zoo-extras 1.0', '__main__', 'None']", digest(script)]


def test_what_all_techniques_and_minimizers_keep_is_tested_of_a_plugins(package: Installed) -> None:
    """As its README says: what is installed is among the cases of the tests in a checkout."""
    files = ["tests/attacks/test_engine.py", "tests/minimizers/test_minimizers.py"]
    done = package.test("-q", "-p", "no:cacheprovider", *files, "-k", "flat-sign or half-sgd")
    (passed,) = re.findall(r"(\d+) passed", done)
    assert int(passed) >= 15, done


def test_a_broken_plugin_is_a_note_to_who_asks_for_names(package: Installed, tmp_path: Path) -> None:
    broken = install(
        wheel(tmp_path, "Broken.Pack", {"broken.py": REGISTERED + "1 / 0"}, points("broken")),
        tmp_path / "site",
    )
    work = tmp_path / "work"
    work.mkdir()
    where: dict[str, Any] = {"cwd": work, "path": str(broken.folder)}
    note = (
        "Note: the plug-in Broken.Pack 1.0 cannot be loaded: ZeroDivisionError: division by zero; "
        "`python -c 'import broken'` shows where.\n"
    )
    assert package.run("list", "models", **where).stderr == ""
    listed = package.run("list", "attacks", "--json", **where)
    names = [entry["name"] for entry in json.loads(listed.stdout)]
    assert listed.stderr == note
    assert "flat-sign" in names
    assert "first" not in names
    unknown = package.run("show", "first", check=False, **where)
    assert unknown.returncode == 2
    assert unknown.stderr.startswith(f"{note}Error: unknown name 'first'")
