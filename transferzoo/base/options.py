"""Options of techniques, minimizers and defences: frozen dataclasses whose values pydantic checks.

An option's annotation says what it may be, `p: Annotated[float, Field(ge=0, le=1)] = 0.5`. It is read when an
option is first set: to read those of all techniques takes as long as a short command. No torch here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from inspect import get_annotations
from numbers import Integral, Real
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    Protocol,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from transferzoo.base.errors import UnknownNameError, UsageError
from transferzoo.base.plugins import Plugin, Revision
from transferzoo.base.registry import Registry
from transferzoo.base.spec_strings import is_name, parse_number, parse_terms

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from transferzoo.base.spec_strings import Term

T = TypeVar("T", bound="Options")

LARGEST = 10_000
"""Copies, steps and pixels that an option may ask for: more take memory and time without end."""
_ADDED = "added"
_CONFIG = ConfigDict(strict=True, allow_inf_nan=False)  # strict: True is no number, and 2.0 no whole number
_KINDS = {int: "a whole number", float: "a number", str: "a word"}
_BOUNDS = {
    "multipleOf": "a multiple of",
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}
"""Keys of a JSON schema, and how an error says them."""


def _check_odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError
    return value


NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
ODD = AfterValidator(_check_odd)
"""In an annotation after a `Field` that says so in its description."""


@dataclass(frozen=True)
class Options:
    """What can be set of a technique, minimizer or defence; each is a subclass, a frozen dataclass too.

    Attributes:
        kind: what it is, as an error names it: "minimizer"; its registry's.
        name: what it is registered under: "sam".
        revision: raised when the same options come to give other bytes: a formula, a draw, a default. Keys
            have it from 2 on, so that what an earlier one computed is not used again, and only that.

    Raises:
        UnknownNameError: made with an option that it does not have, or with none of an option's words.
        UsageError: made with a value of the wrong type, not finite or out of range.
    """

    kind: ClassVar[str] = "term"
    name: ClassVar[str] = ""
    revision: ClassVar[int] = 1

    def __new__(cls, *args: object, **given: object) -> Self:
        """Check what is given; defaults are taken as they are."""
        if args or given:
            given |= zip(cls._options(), args, strict=False)
            for key, value in given.items():
                cls._option(key).check(value)
        return super().__new__(cls)

    @classmethod
    def of(cls, term: Term) -> Self:
        """Make what a term of a spec string stands for.

        Raises:
            UnknownNameError: no such option, or none of its words.
            UsageError: a value is of the wrong type or out of range.
        """
        values: dict[str, Any] = {key: cls._option(key).read(text) for key, text in term.options.items()}
        return cls(**values)

    @property
    def spec(self) -> str:
        """The term with every option filled in, `added` ones unless at their default: "sam:rho=0.05"."""
        return self._written(
            field
            for field in dataclasses.fields(self)
            if not (field.metadata.get(_ADDED) and getattr(self, field.name) == field.default)
        )

    @property
    def whole_spec(self) -> str:
        """The term with every option filled in, for people."""
        return self._written(dataclasses.fields(self))

    def _written(self, fields: Iterable[dataclasses.Field[Any]]) -> str:
        pairs = ",".join(f"{field.name}={_show(getattr(self, field.name))}" for field in fields)
        return f"{self.name}:{pairs}" if pairs else self.name

    @classmethod
    @cache
    def _options(cls) -> dict[str, Option]:
        hints = get_type_hints(cls, include_extras=True)
        return {field.name: Option(cls, field.name, hints[field.name]) for field in dataclasses.fields(cls)}

    @classmethod
    def _option(cls, key: str) -> Option:
        options = cls._options()
        if key not in options:
            raise UnknownNameError(f"option of {cls.kind} '{cls.name}'", key, options)
        return options[key]


def added(default: Any) -> Any:
    """Return a field for an option that a term did not have from the beginning.

    `Options.spec` leaves it out at its default: it changes no key, no row and no seeded draw there was.
    """
    return dataclasses.field(default=default, metadata={_ADDED: True})


def _show(value: object) -> str:
    if isinstance(value, Integral) or not isinstance(value, Real):
        return str(value)
    text = repr(float(value))  # NumPy's show themselves as NumPy's
    return text.removesuffix(".0").replace("e+", "e")  # a + would begin another term


class Named(Protocol):
    """What has options."""

    @property
    def kind(self) -> str:
        """What it is: "minimizer"."""
        ...

    @property
    def name(self) -> str:
        """What it is registered under: "sam"."""
        ...


class Option:
    """An option: how its values are read and checked.

    Args:
        owner: whose it is.
        key: name of the option.
        hint: its annotation, of int, float, str or a `Literal`.
    """

    def __init__(self, owner: Named, key: str, hint: Any) -> None:
        self._name, self._of = f"option '{key}' of", owner
        self._kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        self._checks = TypeAdapter(hint, config=_CONFIG)

    def read(self, text: str) -> object:
        """Return the value that a text stands for; a word is itself.

        Raises:
            UsageError: it is no number.
        """
        if self._kind not in (int, float):
            return text
        try:
            return parse_number(text) if self._kind is float else int(text)
        except (ValueError, ZeroDivisionError, OverflowError):
            raise self._unreadable(f"'{text}'") from None

    def check(self, value: object) -> None:
        """Check a value.

        Raises:
            UnknownNameError: none of the words.
            UsageError: of the wrong type, not finite or out of range.
        """
        if not isinstance(value, Real | str):  # a tensor counts as a number for pydantic
            raise self._unreadable(repr(value))
        try:
            self._checks.validate_python(value)
        except ValidationError as error:
            if get_origin(self._kind) is Literal:
                what = f"value of {self._name} {self._of.kind} '{self._of.name}'"
                raise UnknownNameError(what, str(value), get_args(self._kind)) from None
            if error.errors()[0]["type"].endswith("_type"):
                raise self._unreadable(repr(value)) from None
            schema = self._checks.json_schema()
            what = f"{self._name} '{self._of.name}' is {schema.get('description', 'out of range')}"
            raise UsageError(what, expected=_range(schema), got=str(value)) from None
        if isinstance(value, int) and value > LARGEST:
            what = f"{self._name} '{self._of.name}' is out of range"
            raise UsageError(what, expected=f"at most {LARGEST:,}", got=f"{value:,}")

    def _unreadable(self, got: str) -> UsageError:
        what = f"cannot read {self._name} {self._of.kind} '{self._of.name}'"
        return UsageError(what, expected=_KINDS.get(self._kind, "another value"), got=got)


def _range(schema: dict[str, Any]) -> str:
    """Return the bounds in a JSON schema, in words."""
    if {"minimum", "maximum"} <= schema.keys():
        return f"{schema['minimum']} to {schema['maximum']}"
    return (
        ", ".join(f"{word} {schema[key]}" for key, word in _BOUNDS.items() if key in schema)
        or "a finite number"
    )


# ---------------------------------------------------------------- registries


def _unannotated(cls: type) -> str | None:
    """Return a public value of a class that no annotation makes an option, and no base class knows."""
    known = {name for base in cls.__mro__[1:] for name in vars(base)} | {*get_annotations(cls)}
    values = ((name, value) for name, value in vars(cls).items() if not name.startswith("_"))
    return next(
        (n for n, v in values if n not in known and not callable(v) and not hasattr(v, "__get__")), None
    )


class Terms(Registry[type[T]]):
    """Names that terms of spec strings have, each of a class of options.

    Args:
        kind: what is registered, as an error names it ("technique").
        package: the package whose modules register things, imported at the first look-up.
        base: of the classes.
        example: a term, for errors.
    """

    def __init__(self, kind: str, package: str, base: type, example: str) -> None:
        super().__init__(kind, package, base)
        self._example = example

    def _complete(self, name: str, entry: type[T]) -> None:
        """See `Registry`: the name is one that a spec string can have, every option has type and default."""
        if not is_name(name):
            expected = "lower-case letters, digits and hyphens, a letter first"
            raise UsageError(f"'{name}' cannot name a {self.kind}", expected=expected)
        entry.kind, entry.name = self.kind, name
        if "__dataclass_params__" not in vars(entry):
            raise UsageError(f"{self.kind} '{name}' is no dataclass", expected="@dataclass(frozen=True)")
        for option in dataclasses.fields(entry):
            if option.default is dataclasses.MISSING:
                raise UsageError(f"option '{option.name}' of {self.kind} '{name}' has no default")
        if bare := _unannotated(entry):
            raise UsageError(
                f"'{bare}' of {self.kind} '{name}' has no annotation",
                expected=f"'{bare}: TYPE = …', or ClassVar where it is no option",
            )

    def origins(self, spec: str) -> list[Plugin | Revision | None]:
        """Return what `plugins.used` tells of the names of a spec string: plug-ins and revisions.

        Raises:
            UsageError: it cannot be read.
        """
        terms = [self[term.name] for term in parse_terms(spec) if term.name in self]
        revised = [Revision(f"{one.kind} {one.name}", one.revision) for one in terms if one.revision > 1]
        return [*super().origins(spec), *revised]

    def read(self, spec: str) -> T:
        """Return what a single term stands for.

        Raises:
            UnknownNameError: no such name, or no such option.
            UsageError: it cannot be read, or an option is of the wrong type or out of range.
        """
        terms = parse_terms(spec)
        if len(terms) != 1:
            wanted = f"one name, as in {self._example}"
            raise UsageError(f"cannot read the {self.kind}", expected=wanted, got=f"'{spec}'")
        return self[terms[0].name].of(terms[0])
