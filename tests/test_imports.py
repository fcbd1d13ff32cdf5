"""Imports go one way, and the command line answers without the heavy packages."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import transferzoo

ROOT = Path(transferzoo.__file__).parent
LAYERS = [
    {"errors", "table"},
    {"extras", "registry", "parallel", "threads"},
    {"notation", "atomic", "statistics"},
    {"config", "schedules"},
    {"yaml_file", "specs"},
    {"defences", "unlisted"},
    {"zoo"},
    {"hub", "records"},
    {"norms"},
    {"architectures", "techniques", "minimizers", "datasets"},
    {"findings", "runs", "card"},
    {"report"},
    {"export"},
    {"building", "composition", "weights"},
    {"assembly", "presets", "checkpoint", "augment", "timm_hook", "pipeline", "visibility"},
    {"conversion"},
    {"classifier", "feeds", "state", "pulling"},
    {"exported", "functions"},
    {"loading", "pushing", "stock"},
    {"deliveries"},
    {"engine", "evaluation", "finetuning", "preparation", "stream"},
    {"candidates", "jobs", "loop", "selection", "recipes", "finetuned"},
    {"api", "choosing"},
    {"transfer"},
    {"sharpness"},
    {"trainer"},
    {"tuning"},
    {"studies"},
    {"page"},
    {"cli"},
]


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _imported(tree: ast.AST) -> set[str]:
    """Return the parts of the package that a module imports, here or in its functions."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if _is_type_checking(node):
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "transferzoo":
            inner = (node.module or "").split(".")[1:2]
            found |= set(inner) or {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names = (alias.name.split(".") for alias in node.names)
            found |= {name[1] for name in names if name[0] == "transferzoo" and len(name) > 1}
        found |= _imported(node)
    return found


def _part(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


MODULES = sorted(path for path in ROOT.rglob("*.py") if _part(path) not in ("__init__", "__main__"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_module_imports_only_from_above(path: Path) -> None:
    part = _part(path)
    places = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}
    for imported in _imported(ast.parse(path.read_text(encoding="utf-8"))) - {part}:
        allowed = places[imported] < places[part]
        assert allowed, f"{path.name} imports {imported}, which stands beside or below it"


def test_top_packages_stay_out_of_each_other() -> None:
    """No technique imports another technique's file, and so on: adding one touches one file."""
    for package in ("techniques", "minimizers", "defences"):
        names = {path.stem for path in (ROOT / package).glob("[a-z]*.py")}
        for path in (ROOT / package).glob("[a-z]*.py"):
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            imported = {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module}
            shared = {"checks", "layers", "neighbourhood", "oracles", "strips", "unit"}
            assert not imported & {f"transferzoo.{package}.{name}" for name in names - shared}


def test_the_command_line_stays_light() -> None:
    light = ["torch", "timm", "torchvision", "numpy", "scipy", "pyarrow", "huggingface_hub", "safetensors"]
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
