"""Whether the package that the tests import is this checkout, or a copy of it as it stands."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent.parent


def files(package: Path) -> dict[str, Path]:
    """Return the files of a package by their paths in it, without what Python and editors keep there."""
    found = (path for path in package.rglob("*") if path.suffix != ".pyc" and path.is_file())
    named = {path.relative_to(package).as_posix(): path for path in found}
    return {name: path for name, path in named.items() if not any(p[0] == "." for p in name.split("/"))}


def difference(checkout: Path, installed: Path) -> str:
    """Return the first file in which an installed package differs from a checkout; empty if in none.

    Args:
        checkout: folder of pyproject.toml.
        installed: folder of the package that is imported.
    """
    package = checkout / "transferzoo"
    if installed.samefile(package):
        return ""
    ours = files(package) | {"zoo.yaml": checkout / "zoo.yaml"}  # which is outside of the package there
    theirs = files(installed)
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs or ours[name].read_bytes() != theirs[name].read_bytes():
            return name
    return ""


def require_checkout() -> None:
    """Check that the tests test this checkout, before any of it is imported.

    Raises:
        SystemExit: they would test another copy; pytest's conftest has no quieter way to end.
    """
    spec = find_spec("transferzoo")
    again = "`pip install -e '.[dev]'`, once, lets tests use your edits"
    if spec is None or spec.origin is None:
        raise SystemExit(f"Error: transferzoo is not installed; {again}.")
    installed = Path(spec.origin).parent
    if name := difference(CHECKOUT, installed):
        raise SystemExit(
            f"Error: the tests would not test this checkout but the copy in {installed}, "
            f"in which transferzoo/{name} is another; {again}."
        )
