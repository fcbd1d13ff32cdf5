"""Ranges that options of several techniques have."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Count = Annotated[int, Field(ge=1, le=1000)]
"""Copies, points or steps, each of which costs a gradient."""
Few = Annotated[int, Field(ge=1, le=16)]
Factor = Annotated[float, Field(ge=0, le=1, description="a factor")]
Weight = Annotated[float, Field(ge=0, le=1, description="a weight")]
Dropped = Annotated[float, Field(ge=0, lt=1, description="a probability")]
"""How probable it is that a value is dropped; what is left is divided by 1 minus it."""
