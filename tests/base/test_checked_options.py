"""Options of terms: what is accepted, and the sentence for what is not."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
from dataclasses import FrozenInstanceError, dataclass, replace
from fractions import Fraction
from typing import Annotated, Literal

import numpy as np
import pytest
import torch
from pydantic import Field

from transferzoo.attacks.techniques import TECHNIQUES
from transferzoo.base.errors import UsageError
from transferzoo.base.options import ODD, Options, Terms, added
from transferzoo.defences import DEFENCES
from transferzoo.minimizers import MINIMIZERS

THINGS: Terms[Options] = Terms("thing", "transferzoo.base", Options, "blur:p=0.5")


@THINGS.register("blur")
@dataclass(frozen=True)
class Blur(Options):
    p: Annotated[float, Field(ge=0, le=1, description="a probability")] = 0.5
    side: Annotated[int, Field(ge=3, le=9, description="an odd number of pixels"), ODD] = 3
    length: Annotated[float, Field(gt=0)] = 1.0
    free: float = 0.0
    edge: Literal["black", "mirror"] = "black"
    layer: str = "last"
    new: int = added(2)


def test_numbers_of_numpy_are_written_as_numbers() -> None:
    """What seeds draws and names results; a tensor is no number here."""
    wanted = Blur(p=0.25, length=5.0).spec
    for number in (np.float64(0.25), np.float32(0.25), Fraction(1, 4)):
        assert Blur(p=number, length=np.int64(5)).spec == wanted  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="cannot read option 'p' of thing 'blur'"):
        Blur(p=torch.tensor(0.25))  # type: ignore[arg-type]


def test_what_is_refused_is_not_registered() -> None:
    """So that a mended class can be, in the same program."""

    class Bare(Options):
        pass

    with pytest.raises(UsageError, match="thing 'bare' is no dataclass"):
        THINGS.register("bare")(Bare)
    assert "bare" not in THINGS
    assert THINGS.register("bare")(dataclass(frozen=True)(Bare)) is THINGS["bare"]


@pytest.mark.parametrize(
    ("spec", "options", "form"),
    [
        ("blur", Blur(), "blur:p=0.5,side=3,length=1,free=0,edge=black,layer=last"),
        ("blur:p=1/4", Blur(p=0.25), "blur:p=0.25,side=3,length=1,free=0,edge=black,layer=last"),
        ("blur:new=3", Blur(new=3), "blur:p=0.5,side=3,length=1,free=0,edge=black,layer=last,new=3"),
        (
            "blur:side=9,edge=mirror,layer=a.0,p=1",
            Blur(1, 9, edge="mirror", layer="a.0"),
            "blur:p=1,side=9,length=1,free=0,edge=mirror,layer=a.0",
        ),
    ],
)
def test_what_is_written_and_what_is_shown(spec: str, options: Blur, form: str) -> None:
    assert THINGS.read(spec) == options
    assert options.spec == form
    assert THINGS.read(form) == options


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"pp": 0.5}, r"unknown option 'pp' of thing 'blur': expected one of edge, .*; did you mean p\."),
        ({"edge": "red"}, r"unknown value 'red' of option 'edge' of thing 'blur': expected one of black, .*"),
        ({"edge": True}, r"unknown value 'True' of option 'edge' of thing 'blur': expected one of black, .*"),
        ({"p": 1.5}, r"option 'p' of 'blur' is a probability: expected 0 to 1, got 1\.5\."),
        ({"p": math.nan}, r"option 'p' of 'blur' is a probability: expected 0 to 1, got nan\."),
        ({"p": True}, r"cannot read option 'p' of thing 'blur': expected a number, got True\."),
        ({"p": "0.5"}, r"cannot read option 'p' of thing 'blur': expected a number, got '0\.5'\."),
        ({"free": math.inf}, r"option 'free' of 'blur' is out of range: expected a finite number, got inf\."),
        ({"length": 0}, r"option 'length' of 'blur' is out of range: expected above 0, got 0\."),
        ({"side": 4}, r"option 'side' of 'blur' is an odd number of pixels: expected 3 to 9, got 4\."),
        ({"side": 11}, r"option 'side' of 'blur' is an odd number of pixels: expected 3 to 9, got 11\."),
        ({"side": 3.0}, r"cannot read option 'side' of thing 'blur': expected a whole number, got 3\.0\."),
        ({"side": True}, r"cannot read option 'side' of thing 'blur': expected a whole number, got True\."),
        ({"layer": 3}, r"cannot read option 'layer' of thing 'blur': expected a word, got 3\."),
    ],
)
def test_what_a_program_gives_is_checked(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=f"^{sentence}$"):
        Blur(**options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"^{sentence}$"):
        replace(Blur(), **options)  # type: ignore[arg-type]


def test_positions_are_checked_too() -> None:
    with pytest.raises(UsageError, match="'p' of 'blur' is a probability"):
        Blur(2.0)


def test_options_are_frozen_values() -> None:
    one = Blur(p=0.25)
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    assert hash(one) == hash(Blur(p=0.25))
    with pytest.raises(FrozenInstanceError):
        one.p = 0.5  # type: ignore[misc]
    assert [*inspect.signature(Blur).parameters][:2] == ["p", "side"]


@pytest.mark.parametrize("registry", [TECHNIQUES, MINIMIZERS, DEFENCES], ids=lambda registry: registry.kind)
def test_a_misspelt_option_of_anything_registered(registry: Terms[Options]) -> None:
    for name in registry:
        with pytest.raises(UsageError, match=rf"unknown option 'rhoo' of {registry.kind} '{name}'"):
            registry.read(f"{name}:rhoo=1")
        with pytest.raises(UsageError, match=rf"unknown option 'rhoo' of {registry.kind} '{name}'"):
            registry[name](rhoo=1)
