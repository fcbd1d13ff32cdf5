"""Frozen models: what configurations and the entries of YAML files are made of.

The fingerprint of one is the SHA-256 of its fields that are not at their default. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from transferzoo.base.errors import UsageError

Options = TypeVar("Options", bound="FrozenModel")


def canonical(content: object) -> str:
    """Return the one JSON text of what JSON can hold."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def fingerprint(content: object) -> str:
    """Return the SHA-256 of the canonical form, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()


class FrozenModel(BaseModel):
    """A pydantic model that is frozen and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def of(cls: type[Options], **values: object) -> Options:
        """Make one from options a user gave.

        Raises:
            UsageError: a value is unknown, of the wrong type or out of range.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise UsageError(
                f"option '{name}' is wrong" if name else "the options do not go together",
                expected=wanted(first["msg"]),
                got=f"{first.get('input')!r}" if name else "",
            ) from None

    def key(self) -> dict[str, Any]:
        """Return the fields that are not at their default, as JSON has them: a new field changes no key."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def fingerprint(self) -> str:
        """Return the SHA-256 of the canonical form of the key, 64 hexadecimal digits."""
        return fingerprint(self.key())


def first_fault(error: ValidationError, whole: str) -> ValueError:
    """Return the error of the first field that Pydantic found wrong; `whole` is what it calls all of them."""
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"])) or whole
    return ValueError(f"'{name}': expected {wanted(first['msg'])}")


def wanted(message: str) -> str:
    """Return what Pydantic says of a wrong value as the end of "expected …"."""
    message = message.removeprefix("Value error, ").removeprefix("Input should be ")
    return message[:1].lower() + message[1:]
