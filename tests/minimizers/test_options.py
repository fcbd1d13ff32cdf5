"""Specs of minimizers: canonical forms, and a sentence for what cannot be."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal, get_origin, get_type_hints

import pytest

from helpers.minimizers import NAMES, SPECS
from transferzoo.base.errors import UsageError
from transferzoo.base.train_config import TrainConfig
from transferzoo.minimizers import MINIMIZERS, read_rule, show_rule

NAN, INF = float("nan"), float("inf")
OUT_OF_RANGE: dict[str, tuple[float, ...]] = {
    "rho": (-0.1, NAN, INF),
    "rho_max": (0.0, -0.1, NAN, INF),
    "sigma": (-0.1, NAN, INF),
    "lmbda": (-0.1, 1.0, NAN),
    "eta": (-1.0, NAN, INF),
    "alpha": (-0.4, NAN, INF),
    "k": (0, -1),
    "start": (-0.1, 1.0, 2.0, NAN),
    "per_epoch": (0, -1),
    "rate": (-0.1, NAN, INF),
}


def options_of(name: str) -> dict[str, object]:
    """Return the options of a minimizer and their types."""
    hints = get_type_hints(MINIMIZERS[name])
    return {field.name: hints[field.name] for field in dataclasses.fields(MINIMIZERS[name])}


CASES = [
    (name, option, value)
    for name in NAMES
    for option in options_of(name)
    for value in OUT_OF_RANGE.get(option, ())
]


@pytest.mark.parametrize("spec", SPECS)
def test_canonical_form_means_the_same(spec: str) -> None:
    assert read_rule(show_rule(spec)) == read_rule(spec)
    assert show_rule(show_rule(spec)) == show_rule(spec)


@pytest.mark.parametrize(
    ("spec", "form"),
    [
        ("sgd", "sgd"),
        ("adamw", "adamw"),
        ("sam", "sam:rho=0.05,base=sgd"),
        ("sam:base=adamw,rho=1/5", "sam:rho=0.2,base=adamw"),
        ("asam", "asam:rho=0.5,eta=0.01,convention=official,base=sgd"),
        ("sam-on", "sam-on:rho=0.5,base=sgd"),
        ("f-sam", "f-sam:rho=0.05,sigma=1,lmbda=0.9,base=sgd"),
        ("le-sam:rho-max=9", "le-sam:sigma=0.35,rho_max=9,base=sgd"),
        ("gsam", "gsam:rho=0.04,alpha=0.01,base=sgd"),
        ("agsam", "agsam:rho=2,alpha=0.4,convention=repository,base=sgd"),
        ("looksam", "looksam:rho=0.1,k=5,alpha=0.7,base=sgd"),
        ("swa:per-epoch=2", "swa:start=0.75,per_epoch=2,rate=0,base=sgd"),
        ("wasam", "wasam:rho=0.05,start=0.75,per_epoch=1,rate=0,base=sgd"),
    ],
)
def test_canonical_form_fills_every_option_in(spec: str, form: str) -> None:
    assert show_rule(spec) == form


def test_every_minimizer_says_what_it_is() -> None:
    for name in NAMES:
        rule = read_rule(name)
        assert re.search(r"\d{4}", rule.paper), name
        assert rule.passes >= 1
        assert rule.base in ("sgd", "adamw")
        assert (
            TrainConfig(dataset="any", architecture="any", **rule.schedule).key().keys()
            >= rule.schedule.keys()
        )
        averaging = rule.averaging
        assert (averaging is not None) == hasattr(rule, "start"), name
        if averaging:
            assert (averaging.start, averaging.per_epoch, averaging.rate) == (0.75, 1, 0.0)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("sma", r"unknown minimizer 'sma': expected one of .*; did you mean swa or sam or gsam\."),
        ("sam:roh=1", r"unknown option 'roh' .* 'sam': expected one of base, rho; did you mean rho\."),
        ("sam:base=lion", r"unknown value 'lion' of option 'base' .*: expected one of adamw, sgd\."),
        ("sgd:rho=0.1", r"unknown option 'rho' of minimizer 'sgd'.*"),
        ("asam:convention=paper", r"unknown value 'paper' of option 'convention' .* one of all, official\."),
        ("agsam:convention=al", r"unknown value 'al' of option 'convention' .* one of paper, repository\."),
        ("sam:rho=-0.1", r"option 'rho' of 'sam' is out of range: expected at least 0, got -0\.1\."),
        ("sam:rho=nan", r"cannot read option 'rho' of minimizer 'sam': expected a number, got 'nan'\."),
        ("sam:rho=inf", r"cannot read option 'rho' of minimizer 'sam': expected a number, got 'inf'\."),
        ("looksam:k=0", r"option 'k' of 'looksam' is out of range: expected at least 1, got 0\."),
        ("looksam:k=2.5", r"cannot read option 'k' .*: expected a whole number, got '2\.5'\."),
        ("gsam:alpha=-1", r"option 'alpha' of 'gsam' is out of range: expected at least 0, got -1\.0\."),
        (
            "swa:start=1",
            r"option 'start' of 'swa' is a fraction of the training: expected at least 0, below 1, .*",
        ),
        ("swa:per-epoch=0", r"option 'per_epoch' of 'swa' is out of range: expected at least 1, got 0\."),
        ("sam+sgd", r"cannot read the minimizer: expected one name, as in sam:rho=0\.05, got 'sam\+sgd'\."),
        ("", r"cannot read the minimizer: expected one name.*"),
    ],
)
def test_what_cannot_be_is_a_sentence(spec: str, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        read_rule(spec)
    assert re.fullmatch(sentence, str(error.value))


@pytest.mark.parametrize(("name", "option", "value"), CASES)
def test_library_callers_are_told_too(name: str, option: str, value: float) -> None:
    with pytest.raises(UsageError) as error:
        MINIMIZERS[name](**{option: value})
    pattern = rf"option '{option}' of '{name}' is [a-z ]+: expected [^.:;]+, got {re.escape(str(value))}\."
    assert re.fullmatch(pattern, str(error.value))


def test_every_number_has_a_range() -> None:
    """An option that is no number out of range here is a word."""
    for name in NAMES:
        for option, kind in options_of(name).items():
            assert option in OUT_OF_RANGE or get_origin(kind) is Literal, f"{name}: {option}"
