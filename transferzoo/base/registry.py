"""A registry: name → object, filled by a decorator in the files of one package, and by plug-ins.

Adding a technique, minimizer, architecture or data source is one file with one decorator: the registry
imports every sibling module of its package at the first look-up, so nothing has to be listed by hand.
Plug-ins are asked for names that these do not have, and where all names are wanted.
"""

from __future__ import annotations

import importlib
import pkgutil
from inspect import get_annotations
from typing import TYPE_CHECKING, Generic, TypeVar

from transferzoo.base import plugins
from transferzoo.base.errors import UnknownNameError, UsageError
from transferzoo.base.spec_strings import parse_terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transferzoo.base.plugins import Plugin, Revision

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one kind of thing.

    Args:
        kind: what is registered, as an error names it ("technique").
        package: the package whose modules register things, imported at the first look-up.
        base: what is registered is a class on it, which leaves out nothing that it demands; None for any
            object.
    """

    def __init__(self, kind: str, package: str, base: type | None = None) -> None:
        self.kind, self._base = kind, base
        self._package = package
        self._entries: dict[str, T] = {}
        self._modules: dict[str, str] = {}
        self._discovered = False

    def register(self, name: str, module: str = "") -> Callable[[T], T]:
        """Return a decorator that files its object under `name`.

        Args:
            name: as a spec string has it.
            module: that it belongs to; of a class or function its own.

        Raises:
            UsageError: the name is taken, or the class is not whole.
        """

        def decorate(entry: T) -> T:
            if self._base is not None:
                _check_class(f"{self.kind} '{name}'", entry, self._base)
            self._complete(name, entry)
            by = module or str(entry.__module__)
            if not plugins.is_built_in(by):
                self._discover()  # no plug-in takes the name of what is built in
            if name in self._entries:
                both = [plugins.owner(module) for module in (self._modules[name], by)]
                twice = " and by ".join(str(one or plugins.HERE) for one in both)
                raise UsageError(f"{self.kind} '{name}' is registered twice, by {twice}", hint="rename one")
            self._entries[name], self._modules[name] = entry, by
            if not plugins.is_built_in(by):
                plugins.registered(self._entries, name, by)
            return entry

        return decorate

    def _complete(self, name: str, entry: T) -> None:
        """Check what else has to be right, and give it what a registry knows, before it is filed.

        Raises:
            UsageError: it is not whole.
        """

    def __getitem__(self, name: str) -> T:
        """Return what `name` stands for.

        Raises:
            UnknownNameError: nothing of that name; near names are offered.
        """
        if name not in self:
            raise UnknownNameError(self.kind, name, self, others=plugins.NAMED)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._discover()
        if name not in self._entries:
            plugins.load_installed()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._discover()
        plugins.load_installed()
        return iter(self.registered)

    def __len__(self) -> int:
        return len(tuple(iter(self)))

    @property
    def registered(self) -> tuple[str, ...]:
        """The names so far, sorted, whatever installed plug-ins have that were not loaded yet."""
        self._discover()
        return tuple(sorted(self._entries))

    @property
    def built_in(self) -> tuple[str, ...]:
        """The names of this package, sorted."""
        return tuple(name for name in self.registered if plugins.is_built_in(self._modules[name]))

    def origin(self, name: str) -> Plugin | None:
        """Return the plug-in that a name comes from; None for what is built in, or no name of this kind."""
        return plugins.owner(self._modules[name]) if name in self else None

    def origins(self, spec: str) -> list[Plugin | Revision | None]:
        """Return what `plugins.used` tells of the names of a spec string.

        Raises:
            UsageError: it cannot be read.
        """
        return [self.origin(term.name) for term in parse_terms(spec)]

    def _discover(self) -> None:
        if self._discovered:
            return
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        self._discovered = True


def _check_class(what: str, entry: object, base: type) -> None:
    """Check that a class can be made and has all that its base class declares.

    Raises:
        UsageError: it is on another base class, or leaves something out.
    """
    if not (isinstance(entry, type) and issubclass(entry, base)):
        raise UsageError(f"{what} is none", expected=f"a class on {base.__name__}", got=f"{entry!r}")
    declared = {name for one in base.__mro__ for name in get_annotations(one)}
    abstract: frozenset[str] = getattr(entry, "__abstractmethods__", frozenset())
    if missing := abstract | {name for name in declared if not hasattr(entry, name)}:
        raise UsageError(
            f"{what} is not whole, on the base class {entry.__mro__[1].__name__}",
            expected=f"{' and '.join(f'`{name}`' for name in sorted(missing))} in its class",
        )
