"""Packages made by hand, which pip installs from nowhere else."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.processes import Forked
from helpers.stripes import begin_process, run_command


@dataclass(frozen=True)
class Installed:
    """A folder that pip has installed distributions into, on the path of commands.

    Attributes:
        folder: the folder.
    """

    folder: Path

    def run(
        self, *command: object, cwd: Path, path: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command line in an interpreter of its own.

        Args:
            command: what follows `transferzoo`.
            cwd: the working folder.
            path: what stands before the distributions on its path.
            check: whether it must succeed.
        """
        variables = environment(self._path(path))
        program = [sys.executable, "-m", "transferzoo", *map(str, command)]
        done = subprocess.run(program, cwd=cwd, env=variables, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done

    def fork(self, *command: object, cwd: Path, path: str = "") -> None:
        """Run a command line as `run` does, but in a process that has PyTorch already; it must succeed."""
        process = Forked(target=_be_command, args=(list(map(str, command)), cwd, self._path(path)))
        process.start()
        process.join(200)
        assert process.exitcode == 0, (cwd / "said.err").read_text()

    def test(self, *words: str) -> str:
        """Run tests of this checkout, which must pass, in a process that has PyTorch already.

        Args:
            words: what follows `pytest`.

        Returns:
            What was printed.
        """
        said = self.folder / "tests"
        process = Forked(target=_be_pytest, args=(list(words), self._path(""), said))
        process.start()
        process.join(200)
        printed = said.with_suffix(".out").read_text()
        assert process.exitcode == 0, printed
        return printed

    def _path(self, before: str) -> str:
        return os.pathsep.join(filter(None, [before, str(self.folder)]))


def _be_command(arguments: list[str], folder: Path, path: str) -> None:
    os.environ |= environment(path)
    sys.path[:0] = path.split(os.pathsep)
    os.chdir(folder)
    run_command(arguments, folder / "said", "")


def _be_pytest(words: list[str], path: str, output: Path) -> None:
    begin_process(output)
    for name in [name for name in os.environ if name.startswith("PYTEST")]:
        del os.environ[name]
    os.environ |= environment(path)
    sys.path[:0] = path.split(os.pathsep)
    os.chdir(Path(__file__).parents[2])
    sys.exit(pytest.main(words))


def environment(path: str) -> dict[str, str]:
    """Return the variables of a process whose PYTHONPATH has `path` before this package's place."""
    here = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [path, here])), "OMP_NUM_THREADS": "1"}


def wheel(folder: Path, name: str, files: dict[str, str], points: str, version: str = "1.0") -> Path:
    """Write a wheel by hand, which needs no build backend.

    Args:
        folder: where.
        name: of the distribution.
        files: path within → text.
        points: its entry_points.txt.
        version: of the distribution.
    """
    home = f"{name.replace('-', '_')}-{version}.dist-info"
    content = {
        **files,
        f"{home}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{home}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{home}/entry_points.txt": points,
    }
    record = "".join(f"{path},{_digest(text)},{len(text.encode())}\n" for path, text in content.items())
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in {**content, f"{home}/RECORD": f"{record}{home}/RECORD,,\n"}.items():
            archive.writestr(inner, text)
    return path


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def install(wheel: Path, folder: Path) -> Installed:
    """Install a wheel into a folder with pip, from nowhere else."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--upgrade", "--target", str(folder), str(wheel)], check=True, cwd=folder.parent)
    return Installed(folder)


def points(module: str) -> str:
    """Return an entry_points.txt with one plug-in."""
    return f"[transferzoo.plugins]\nmine = {module}\n"
