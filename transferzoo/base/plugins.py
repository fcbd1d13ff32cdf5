"""Plug-ins: code outside this package that registers techniques, minimizers, architectures and the like.

A plug-in is an installed distribution with entry points of the group `transferzoo.plugins`, each a module, or
one file that the user names. Installed ones are loaded when a name is asked for that is not built in, or all
names are: what is built in never waits for them and never depends on them. A distribution that lies in the
working folder itself is none, as nobody has installed what a downloaded folder holds.

Code that registers something without being loaded here, as a script does, counts like a plug-in: it is known
by its module and that module's file. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from transferzoo.base.digests import digest_of
from transferzoo.base.errors import TransferZooError, UsageError, reason, refusal
from transferzoo.base.foreign_files import read_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from importlib.metadata import Distribution

GROUP = "transferzoo.plugins"
"""The group of entry points."""
NAMED = "one that --plugin FILE brings"
"""What an unknown name may be besides those that are registered."""
_WITHOUT_FILE = uuid4().hex
"""Stands for the digest of code typed into this process: no other process has the same for sure."""


@dataclass(frozen=True)
class Plugin:
    """Where something that is not built in comes from.

    Attributes:
        name: of the distribution, the file or the module.
        version: of the distribution; empty for others.
        sha256: of the file, or of all files of the distribution's packages that the entry points are in.
    """

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        """Return name and version."""
        return f"{self.name} {self.version}".rstrip()


@dataclass(frozen=True)
class Revision:
    """A term that came to compute something else than its first version does.

    Attributes:
        term: kind and name: "minimizer gsam".
        number: from 2 on.
    """

    term: str
    number: int


class PluginWarning(UserWarning):
    """An installed plug-in cannot be loaded; nothing of it is there."""


HERE = "transferzoo"
"""The package of what is built in."""
_owners: dict[str, Plugin] = {}
"""Top-most module → the plug-in that it, and all below it, belongs to."""
_registered: list[tuple[dict[str, Any], str, str]] = []
"""What is not built in: the entries of a registry, the name among them, and the module that registered it."""
_files: dict[str, Path] = {}
_searched = False


def used(*origins: Plugin | Revision | None) -> dict[str, Any]:
    """Return what a key says of what a result depends on: nothing where all is built in, as it ever was."""
    plugins, revised = dict[str, Any](), dict[str, int]()
    for one in origins:
        if isinstance(one, Revision):
            revised[one.term] = one.number
        elif one:
            plugins[one.name] = {"version": one.version, "sha256": one.sha256}
    return {**({"plugins": plugins} if plugins else {}), **({"revisions": revised} if revised else {})}


def is_built_in(module: str) -> bool:
    """Return whether a module is one of this package."""
    return module.partition(".")[0] == HERE


def owner(module: str) -> Plugin | None:
    """Return the plug-in that a module belongs to, None for this package."""
    if is_built_in(module):
        return None
    if _known_owner(module) is None:
        load_installed()  # it may be one's that a script has imported
    if known := _known_owner(module):
        return known
    file = getattr(sys.modules.get(module), "__file__", None)
    digest = digest_of(Path(file), 64) if file else _WITHOUT_FILE
    return _owners.setdefault(module, Plugin(module, "", digest))


def _known_owner(module: str) -> Plugin | None:
    parts = module.split(".")
    names = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
    return next((_owners[name] for name in names if name in _owners), None)


def registered(entries: dict[str, Any], name: str, module: str) -> None:
    """Keep in mind what a registry took from another package, so that a plug-in that fails leaves nothing."""
    _registered.append((entries, name, module))


# ---------------------------------------------------------------- one file


def load_file(path: Path) -> None:
    """Run a Python file for what it registers; a file that was run is not run again.

    Raises:
        UsageError: there is no such file, or another plug-in has its name.
        TransferZooError: it fails, or registers nothing.
    """
    path, name = path.expanduser().resolve(), path.name
    if _files.get(name) == path:
        return
    try:
        content = read_bytes(path)
    except OSError as error:
        raise UsageError(
            f"cannot read the plug-in {path}",
            expected="a Python file",
            got=refusal(error),
            hint="check --plugin",
        ) from None
    if name in _owners:
        raise UsageError(
            f"two plug-ins are called {name}", expected="names that differ", hint="rename one of them"
        )
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # where dataclasses look for the types of their fields

    def run() -> None:
        exec(compile(content, str(path), "exec", dont_inherit=True), module.__dict__)

    plugin = Plugin(name, "", hashlib.sha256(content).hexdigest())
    try:
        _load(plugin, [name], run, f"`python {path}` shows where")
    except TransferZooError:
        del sys.modules[name]
        raise
    _files[name] = path


def files() -> tuple[Path, ...]:
    """Return the files that were run, for other processes to run too."""
    return tuple(_files.values())


# ---------------------------------------------------------------- installed ones


def load_installed() -> None:
    """Load the installed plug-ins, once in a process; one that cannot be loaded is a `PluginWarning`."""
    global _searched
    if _searched:
        return
    _searched = True
    for found in _distributions():
        try:
            _load_distribution(found)
        except TransferZooError as error:
            warnings.warn(str(error), PluginWarning, stacklevel=2)


def _distributions() -> Iterator[Distribution]:
    """Yield the distributions outside the working folder that have a plug-in, the first of each name."""
    from importlib.metadata import distributions

    here, seen = Path.cwd(), set()
    places = [entry for entry in sys.path if not (Path(entry).exists() and Path(entry).samefile(here))]
    for found in distributions(path=places):
        if GROUP in (found.read_text("entry_points.txt") or ""):
            name = found.metadata["Name"]
            if name not in seen:
                seen.add(name)
                yield found


def _load_distribution(found: Distribution) -> None:
    """Load what the entry points of a distribution name.

    Raises:
        TransferZooError: it fails, or registers nothing.
    """
    modules = [point.module for point in found.entry_points.select(group=GROUP)]
    name, version = found.metadata["Name"], found.version
    try:
        packages = dict(_package(module) for module in modules)
        digest = _digest(packages)
    except (ImportError, ValueError, OSError) as error:
        raise TransferZooError(
            f"the plug-in {name} {version} cannot be loaded: {reason(error)}", hint=f"install {name} again"
        ) from error

    def run() -> None:
        for module in modules:
            import_module(module)

    shows = f"`python -c 'import {', '.join(modules)}'` shows where"
    _load(Plugin(name, version, digest), packages, run, shows)


def _package(module: str) -> tuple[str, Path]:
    """Return the top-most package that a module is in, namespaces aside, and its file; it is not run."""
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}".removeprefix(".")
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            return name, Path(spec.origin)
    raise ModuleNotFoundError(f"No module named '{module}'")


def _digest(packages: Mapping[str, Path]) -> str:
    """Return the SHA-256 of the names and contents of all files of packages."""
    state = hashlib.sha256()
    for package, file in sorted(packages.items()):
        places = sorted(file.parent.rglob("*")) if file.name == "__init__.py" else [file]
        for path in places:
            if path.is_file() and "__pycache__" not in path.parts:
                name = path.relative_to(file.parent).as_posix()
                state.update(f"{package}\0{name}\0{digest_of(path, 64)}\n".encode())
    return state.hexdigest()


# ---------------------------------------------------------------- both


def _load(plugin: Plugin, packages: Iterable[str], run: Callable[[], None], shows: str) -> None:
    """Run the code of a plug-in; where it fails, nothing that it registered stays.

    Args:
        plugin: what it is.
        packages: its top-most modules.
        run: its code.
        shows: the hint where it fails.

    Raises:
        TransferZooError: it fails, or registers nothing.
    """
    begun = len(_registered)
    _owners.update(dict.fromkeys(packages, plugin))
    try:
        with redirect_stdout(sys.stderr):
            run()
    except (Exception, SystemExit) as error:
        _forget(plugin)
        why = str(error).removesuffix(".") if isinstance(error, TransferZooError) else reason(error)
        raise TransferZooError(f"the plug-in {plugin} cannot be loaded: {why}", hint=shows) from error
    if len(_registered) == begun and not any(_known_owner(module) == plugin for *_, module in _registered):
        _forget(plugin)
        raise TransferZooError(
            f"the plug-in {plugin} registers nothing",
            expected="a decorator in it, as @TECHNIQUES.register(NAME)",
        )


def _forget(plugin: Plugin) -> None:
    for entry in [entry for entry in _registered if _known_owner(entry[2]) == plugin]:
        entries, name, _ = entry
        del entries[name]
        _registered.remove(entry)
    for package in [package for package, whose in _owners.items() if whose == plugin]:
        del _owners[package]
