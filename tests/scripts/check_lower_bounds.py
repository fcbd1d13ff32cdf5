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
TESTS = (
    "models/test_timm_folders.py",
    "models/test_image_sizes.py",
    "models/test_pack_files.py",
    "hub",
    "sync",
)
KNOWN = """
import timm
from transferzoo.zoo.reader import load_zoo
tags = [str(m.source)[9:] for m in load_zoo().models.values() if str(m.source).startswith("hub:timm/")]
missing = [tag for tag in tags if not timm.is_model_pretrained(tag)]
print(f"timm {timm.__version__} knows {len(tags) - len(missing)} of {len(tags)} entries", *missing)
raise SystemExit(bool(missing))
"""
"""Whether timm has every network of its that the zoo lists."""


def oldest() -> list[str]:
    """Return the requirements of the oldest versions, "timm==1.0.21"."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = dict(re.findall(r"([\w-]+)>=([\w.]+)", " ".join(project["dependencies"])))
    return [f"{name}=={bounds[name]}" for name in PACKAGES]


def main() -> int:
    """Install and test; return what pytest returns."""
    wanted = oldest()
    with tempfile.TemporaryDirectory() as folder:
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--target", folder)
        timm, hub = wanted
        subprocess.run([*pip, hub], check=True)  # with what it needs: versions differ in that
        subprocess.run([*pip, "--no-deps", timm], check=True)  # it needs PyTorch
        print("with", *wanted, flush=True)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([folder, str(ROOT)])}
        subprocess.run([sys.executable, "-c", KNOWN], env=environment, check=True)
        tests = [str(ROOT / "tests" / name) for name in TESTS]
        old = ("FutureWarning", "ResourceWarning", "pytest.PytestUnraisableExceptionWarning")
        aged = [part for name in old for part in ("-W", f"ignore::{name}")]  # theirs, mended since
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", *aged, *tests]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
