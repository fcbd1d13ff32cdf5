"""Run the tests that lean on timm and huggingface-hub with the oldest versions that pyproject.toml allows.

    python tests/scripts/check_lower_bounds.py

Those versions are installed by pip into a folder of their own, in front of what is installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("timm", "huggingface-hub")
TESTS = ("zoo/test_packs.py", "models/test_timm_folders.py", "models/test_image_sizes.py", "hub", "sync")


def oldest() -> list[str]:
    """Return the requirements of the oldest versions, "timm==1.0.16"."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = dict(re.findall(r"([\w-]+)>=([\w.]+)", " ".join(project["dependencies"])))
    return [f"{name}=={bounds[name]}" for name in PACKAGES]


def main() -> int:
    """Install and test; return what pytest returns."""
    wanted = oldest()
    with tempfile.TemporaryDirectory() as folder:
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder)
        subprocess.run([*pip, *wanted], check=True)
        print("with", *wanted, flush=True)
        places = os.pathsep.join([folder, str(ROOT)])
        tests = [str(ROOT / "tests" / name) for name in TESTS]
        aged = ("-W", "ignore::FutureWarning")  # of a PyTorch that is newer than they are
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", *aged, *tests]
        return subprocess.run(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": places}, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
