"""The command line answers without the heavy packages; that imports go one way is for `lint-imports`."""

from __future__ import annotations

import subprocess
import sys


def test_the_command_line_stays_light() -> None:
    light = ["torch", "timm", "torchvision", "numpy", "scipy", "pyarrow", "httpx", "httpx2", "safetensors"]
    program = (
        "import sys, transferzoo.cli.app\n"
        f"print(sorted(name for name in {light} if name in sys.modules))\n"
        "from transferzoo.cli.app import main\n"
        "kinds = 'models surrogates targets datasets attacks minimizers architectures'.split()\n"
        "kinds += ['defences', 'recipes']\n"
        "commands = [['--help'], ['attack', '--help'], ['train', '--help'], ['sharpness', '--help']]\n"
        "commands += [['list', kind] for kind in kinds] + [['show', 'bim'], ['show', 'small_vgg']]\n"
        "for command in commands:\n"
        "    sys.argv = ['transferzoo', *command]\n"
        "    try: main()\n"
        "    except SystemExit as stop: assert not stop.code, command\n"
        f"print(sorted(name for name in {light} if name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "[]"
    assert done.stdout.splitlines()[-1] == "[]"
