"""What a recipe.json may hold, as far as anything here reads it; what else it holds is left alone."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transferzoo.base.frozen_model import first_fault

_PART = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _Config(BaseModel):
    model_config = _PART

    dataset: str = ""
    architecture: str = ""
    minimizer: str = ""
    schedule: str = ""


class _Data(BaseModel):
    model_config = _PART

    n: int | None = Field(default=None, ge=0)
    sha256: str | None = None


class _Accuracy(BaseModel):
    model_config = _PART

    n: int = Field(ge=1)
    accuracy: float = Field(ge=0, le=1)


class _Recipe(BaseModel):
    model_config = _PART

    config: _Config = _Config()
    data: _Data = _Data()
    accuracy: _Accuracy | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    seconds: float = Field(default=0, ge=0)


def checked(content: Any) -> dict[str, Any]:
    """Return the content of a recipe.json, each part of the type that it is read as.

    Raises:
        ValueError: a part has another one.
    """
    try:
        _Recipe.model_validate(content)
    except ValidationError as error:
        raise first_fault(error, "it") from None
    return dict(content)
