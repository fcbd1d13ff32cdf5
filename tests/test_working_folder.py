"""Files of the working folder are data: none of them is imported, whatever it is called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import transferzoo

ROOT = Path(transferzoo.__file__).parent.parent
STANDARD = ("__future__", "ast", "decimal", "json", "random", "typing")


@pytest.mark.parametrize("command", [["-m", "transferzoo"], ["-mtransferzoo"], ["-P", "-m", "transferzoo"]])
def test_the_command_imports_nothing_from_where_it_is_run(tmp_path: Path, command: list[str]) -> None:
    for name in (*STANDARD, "rich", "typer", "yaml", "torch", "timm"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('imported ./{name}.py')\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command, "list", "attacks", "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [["-m", "mine"], ["-m", "mine", "transferzoo"], ["mine/__main__.py"]])
def test_programs_of_others_keep_their_folder(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("import transferzoo\n")
    (tmp_path / "mine" / "__main__.py").write_text("import transferzoo, sys\nprint(sys.path[0])\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONSAFEPATH", None)
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == str(tmp_path if words[0] == "-m" else tmp_path / "mine"), done.stderr
