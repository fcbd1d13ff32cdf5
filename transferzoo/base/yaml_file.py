"""YAML files read into frozen models, with errors that name the file, the line and the key."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from transferzoo.base.errors import UnknownNameError, UsageError, refusal
from transferzoo.base.foreign_files import MOST_DEPTH, read_text
from transferzoo.base.frozen_model import wanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

M = TypeVar("M", bound=BaseModel)
Key = tuple[str | int, ...]
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MOST_CHARACTERS = 2**22
"""Characters of a file, and of its keys and values where what aliases stand for is written out."""
NODE = 20
"""Characters that each key and value counts for, besides its own."""


@dataclass(frozen=True)
class YamlFile:
    """A parsed YAML file that knows on which line each key stands.

    Attributes:
        path: where it was read.
        data: what it holds.
        lines: path of keys → line number, from 1.
    """

    path: Path
    data: dict[str, Any]
    lines: Mapping[Key, int]

    def error(self, key: Key, what: str, expected: str = "", got: str = "") -> UsageError:
        """Make an error that points at a key."""
        return UsageError(f"{self._place(key)}: {what}", expected=expected, got=got)

    def unknown(self, key: Key, kind: str, name: str, known: Iterable[str]) -> UsageError:
        """Make an error for a reference to something that does not exist."""
        return UsageError(f"{self._place(key)}: {str(UnknownNameError(kind, name, known)).removesuffix('.')}")

    def validated(self, model: type[M]) -> M:
        """Validate the whole file.

        Raises:
            UsageError: naming file, line and key of the first thing that is wrong, or of all keys that are
                missing.
        """
        try:
            return model.model_validate_json(json.dumps(self.data), strict=True)
        except ValidationError as error:
            found = error.errors()
            # a mistyped key is both unknown and missing: unknown says more
            first = min(found, key=lambda e: e["type"] != "extra_forbidden")
            if first["type"] == "missing":
                raise self._missing([e["loc"] for e in found if e["type"] == "missing"]) from None
            raise self._explain(first["loc"], first["type"], first["msg"], first["input"], model) from None
        except TypeError as error:
            raise self.error(
                (), f"holds a value YAML reads as something else than text or number ({error})"
            ) from None

    def _explain(
        self, key: Key, kind: str, message: str, value: object, model: type[BaseModel]
    ) -> UsageError:
        if kind == "extra_forbidden":
            return self.unknown(key, "key", str(key[-1]), _fields(model, key[:-1]))
        return self.error(key, "wrong value", expected=wanted(message), got=_brief(value))

    def _missing(self, keys: Iterable[Key]) -> UsageError:
        """Make one error for all keys that are missing."""
        absent: dict[Key, list[str]] = {}
        for *entry, name in keys:
            absent.setdefault(tuple(entry), []).append(f"'{name}'")
        sentences = [
            f"{self._place(entry)}: "
            + (f"keys {', '.join(names)} are" if names[1:] else f"key {names[0]} is")
            for entry, names in absent.items()
        ]
        first, *others = (f"{sentence} missing" for sentence in sentences)
        return UsageError("; ".join([first, *(other.removeprefix(f"{self.path}, ") for other in others)]))

    def _place(self, key: Key) -> str:
        known = key
        while known and known not in self.lines:
            known = known[:-1]
        line = f", line {self.lines[known]}" if known in self.lines else ""
        return f"{self.path}{line}" + (f", key '{'.'.join(map(str, key))}'" if key else "")


def read_yaml(path: Path, kind: str = "zoo file", hint: str = "check --zoo or TRANSFERZOO_ZOO") -> YamlFile:
    """Read a YAML file that holds a mapping.

    Args:
        path: where it is.
        kind: what it is, for the error.
        hint: the next step where it cannot be read.

    Raises:
        UsageError: absent, unreadable, not YAML, a key twice, or not a mapping.
    """
    try:
        text = read_text(path, MOST_CHARACTERS)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the {kind} {path}: {_reason(error)}", hint=hint) from None
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            lines = _lines(node, path)
            data = loader.construct_document(node) if node is not None else {}
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"{path}{line}: not valid YAML ({getattr(error, 'problem', error)})") from None
    except (ValueError, LookupError, AttributeError) as error:  # a date, number or truth value that is none
        raise UsageError(f"{path}: not valid YAML ({error})") from None
    if not isinstance(data, dict):
        raise UsageError(f"{path}: wrong content", expected="a mapping of sections", got=type(data).__name__)
    return YamlFile(path, data, lines)


def _lines(root: yaml.Node | None, path: Path) -> dict[Key, int]:
    """Return on which line each key stands, what an alias stands for like what is written out.

    Raises:
        UsageError: a key stands twice, or aliases stand for too much or for what they lie in.
    """
    lines: dict[Key, int] = {}
    left = MOST_CHARACTERS

    def walk(node: yaml.Node | None, key: Key) -> None:
        nonlocal left
        left -= NODE + (len(node.value) if isinstance(node, yaml.ScalarNode) else 0)
        if left < 0:
            raise UsageError(
                f"{path} is too large",
                expected=f"at most {MOST_CHARACTERS // NODE:,} keys and values, with what aliases stand for",
            )
        if len(key) > MOST_DEPTH:
            raise UsageError(f"{path}: wrong content", expected=f"{MOST_DEPTH} levels, and no key in itself")
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                inner = (*key, str(name.value))
                line = name.start_mark.line + 1
                if inner in lines and name.tag != "tag:yaml.org,2002:merge":
                    raise UsageError(
                        f"{path}, line {line}: key '{name.value}' stands twice (first on line {lines[inner]})"
                    )
                lines[inner] = line
                walk(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                lines[(*key, index)] = value.start_mark.line + 1
                walk(value, (*key, index))

    walk(root, ())
    return lines


def _fields(model: type[BaseModel], key: Key) -> list[str]:
    """Follow a path of keys through nested frozen models and return the field names at its end."""
    kind: Any = model
    for part in key:
        if _is_frozen_model(kind):
            kind = _frozen_model_of(kind.model_fields[str(part)].annotation)
        else:
            held = [each for each in get_args(kind) if each is not Ellipsis]
            kind = _frozen_model_of(held[-1]) if held else kind
    return list(kind.model_fields) if _is_frozen_model(kind) else []


def _frozen_model_of(kind: Any) -> Any:
    """Return the frozen model of a union such as `X | None`, any other type as it is."""
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else ()
    return next((each for each in members if _is_frozen_model(each)), kind)


def _is_frozen_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _reason(error: Exception) -> str:
    return refusal(error) if isinstance(error, OSError) else "it is not UTF-8 text"
