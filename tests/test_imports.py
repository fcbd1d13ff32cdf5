"""The command line answers without the heavy packages; that imports go one way is for `lint-imports`."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

IMPORTED_AS = {"open_clip_torch": "open_clip", "scikit-image": "skimage"}
"""Packages whose name is not that of their module."""


def extras() -> list[str]:
    """Return the modules that the extras for users install."""
    declared = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    found = declared["project"]["optional-dependencies"]
    packages = [
        re.split("[><=]", one)[0] for name in found.keys() - {"test", "bench", "dev"} for one in found[name]
    ]
    return sorted(IMPORTED_AS.get(package, package) for package in packages)


def test_the_command_line_stays_light() -> None:
    light = ["torch", "timm", "torchvision", "numpy", "scipy", "pyarrow", "httpx", "httpx2", "safetensors"]
    light += extras()
    assert {"keras", "open_clip", "skimage", "transformers"} <= set(light)
    program = (
        "import sys, transferzoo.cli.app\n"
        f"print(sorted(name for name in {light} if name in sys.modules))\n"
        "from transferzoo.cli.app import main\n"
        "kinds = 'models surrogates targets datasets attacks minimizers architectures'.split()\n"
        "kinds += ['defences', 'recipes', 'sources']\n"
        "commands = [['--help'], ['attack', '--help'], ['train', '--help'], ['sharpness', '--help']]\n"
        "commands += [['list'], *(['list', kind] for kind in kinds)]\n"
        "commands += [['show', 'bim'], ['show', 'small_vgg']]\n"
        "for command in commands:\n"
        "    sys.argv = ['transferzoo', *command]\n"
        "    try: main()\n"
        "    except SystemExit as stop: assert not stop.code, command\n"
        "refused = [['compare', 'momentun'], ['compare', 'strong'], ['search', 'momentun']]\n"
        "for option in ('--surrogate', '--validator'):\n"
        "    refused += [['compare', 'di', '--alone', option, 'nobody'], ['search', option, 'nobody']]\n"
        "for command in refused:\n"
        "    sys.argv = ['transferzoo', *command]\n"
        "    try: main()\n"
        "    except SystemExit as stop: assert stop.code == 2, command\n"
        f"print(sorted(name for name in {light} if name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "[]"
    assert done.stdout.splitlines()[-1] == "[]"
