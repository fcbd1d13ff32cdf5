"""The recipe.json of a checkpoint: read, and checked as far as anything here reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transferzoo.base.atomic import write_json
from transferzoo.base.errors import ModelError
from transferzoo.base.foreign_files import read_json
from transferzoo.base.frozen_model import first_fault
from transferzoo.models.checkpoint import RECIPE

if TYPE_CHECKING:
    from pathlib import Path

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


def read_recipe(folder: Path) -> dict[str, Any] | None:
    """Return what a finished training run wrote into recipe.json, None where there is none.

    Raises:
        ModelError: the file is not a JSON object.
    """
    path = folder / RECIPE
    if not path.is_file():
        return None
    try:
        return checked(read_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"cannot read {path}",
            expected="what `transferzoo train` wrote",
            got=str(error),
            hint="delete it or choose another folder",
        ) from None


def note_images(folder: Path, name: str) -> dict[str, Any]:
    """Note in recipe.json that the training images were a folder of the user's, and return what it holds.

    Args:
        folder: a finished checkpoint.
        name: of the folder or file of the images.

    Raises:
        ModelError: see `read_recipe`.
    """
    recipe = {**(read_recipe(folder) or {}), "images": name}
    write_json(folder / RECIPE, recipe)
    return recipe


def checked(content: Any) -> dict[str, Any]:
    """Return the content of a recipe.json, each part of the type that it is read as; others are left alone.

    Raises:
        ValueError: a part has another one.
    """
    try:
        _Recipe.model_validate(content)
    except ValidationError as error:
        raise first_fault(error, "it") from None
    return dict(content)
