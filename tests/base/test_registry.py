"""The registry, and the sentences of errors."""

from __future__ import annotations

import pytest

from transferzoo.base.errors import TransferZooError, UnknownNameError, UsageError
from transferzoo.base.registry import Registry
from transferzoo.models.architectures import ARCHITECTURES


def test_registry() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown architecture 'small_vg'.*did you mean small_vgg"):
        ARCHITECTURES["small_vg"]
    empty: Registry[int] = Registry("thing", "transferzoo.attacks.techniques")
    empty.register("one", __name__)(1)
    with pytest.raises(UsageError, match="'one' is registered twice"):
        empty.register("one", __name__)(2)


def test_sentence() -> None:
    error = TransferZooError("it broke", expected="a whole one", got="two halves", hint="glue it")
    assert str(error) == "it broke: expected a whole one, got two halves; glue it."
    assert str(TransferZooError("it broke", got="x", hint="why?")) == "it broke: got x; why?"
    assert str(UnknownNameError("option of minimizer 'sgd'", "rho", [])) == (
        "unknown option 'rho' of minimizer 'sgd': expected none."
    )
