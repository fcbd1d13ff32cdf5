"""Numbers and spec strings as people write them."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from transferzoo.attacks.composition import compose
from transferzoo.attacks.configure import expand
from transferzoo.base.errors import UsageError
from transferzoo.base.spec_strings import (
    parse_epsilon,
    parse_fraction,
    parse_step,
    parse_terms,
    show_fraction,
    show_step,
)
from transferzoo.minimizers import read_rule, show_rule
from transferzoo.zoo.reader import load_zoo

EPSILON = Fraction(8, 255)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8/255", EPSILON),
        (" 8/255 ", EPSILON),
        ("0.03", Fraction(3, 100)),
        ("4", Fraction(4)),
        ("3e-2", Fraction(3, 100)),
        ("1e-300", Fraction(1, 10**300)),
        ("+1/3", Fraction(1, 3)),
    ],
)
def test_fraction(text: str, value: Fraction) -> None:
    assert parse_fraction(text, "epsilon") == value


@pytest.mark.parametrize(
    "text", ["", "-1", "-8/255", "0", "0/3", "nan", "inf", "-inf", "1/0", "8/", "8 255", "0x1", "1e301", "٨ "]
)
def test_no_fraction(text: str) -> None:
    if text.strip() == "٨":  # a digit all the same
        assert parse_fraction(text, "epsilon") == 8
        return
    with pytest.raises(UsageError, match="epsilon"):
        parse_fraction(text, "epsilon")


def test_huge_exponent_is_refused_at_once() -> None:
    for text in ("1e999999999", "1e-999999999", "1" * 400):
        with pytest.raises(UsageError):
            parse_fraction(text, "epsilon")


def test_epsilon_in_pixel_units() -> None:
    for text in ("4", "16", "1.5"):
        with pytest.raises(UsageError, match=rf"did you mean {text}/255\?$"):
            parse_epsilon(text, "linf")
    assert parse_epsilon("4", "l2") == 4
    assert parse_epsilon("1", "linf") == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("eps", EPSILON),
        ("eps/10", EPSILON / 10),
        ("epsilon / 4", EPSILON / 4),
        ("eps*1.5", EPSILON * 3 / 2),
        ("2/255", Fraction(2, 255)),
        ("eps/0.5", 2 * EPSILON),
    ],
)
def test_step(text: str, value: Fraction) -> None:
    assert parse_step(text, EPSILON) == value


@pytest.mark.parametrize("text", ["eps/0", "eps*0", "eps/-1", "eps+1", "eps/", "ep", "eps/nan", "/10", ""])
def test_no_step(text: str) -> None:
    with pytest.raises(UsageError, match="step size"):
        parse_step(text, EPSILON)


def test_what_is_shown_is_read_back() -> None:
    draws = random.Random(0)
    values = [Fraction(draws.randint(1, 10**k), draws.randint(1, 10**k)) for k in range(1, 16)] * 20
    values += [Fraction(n, 255) for n in range(1, 256)] + [Fraction(n, 10**13) for n in (1, 12345678901234)]
    for value in values:
        assert parse_fraction(show_fraction(value), "x") == value
        assert parse_step(show_step(value, EPSILON), EPSILON) == value
    assert [show_fraction(Fraction(t)) for t in ("8/255", "0.5", "1", "1/7", "2")] == [
        "8/255",
        "0.5",
        "1",
        "1/7",
        "2",
    ]
    assert show_step(EPSILON / 10, EPSILON) == "eps/10"
    assert show_step(EPSILON, EPSILON) == "eps"


def test_terms() -> None:
    assert parse_terms("") == parse_terms("  ") == ()
    first, second = parse_terms("mi + di:p=0.7,low=0.9")
    assert (first.name, dict(first.options)) == ("mi", {})
    assert (second.name, dict(second.options)) == ("di", {"p": "0.7", "low": "0.9"})


@pytest.mark.parametrize(
    "spec",
    [
        "+",
        "mi+",
        "+mi",
        "mi++di",
        "mi:",
        ":",
        "mi:p",
        "mi:p=",
        "mi:=1",
        "mi:p=1,",
        "mi:p=1,p=2",
        "1mi",
        "mi di",
        "mi;di",
        "mi:p=1:q=2,",
        "mi,di",
        "mi\n+di:",
        "m\u0456",
        "mi:p =1",
    ],
)
def test_malformed_terms(spec: str) -> None:
    with pytest.raises(UsageError):
        expand(spec, load_zoo())


def test_only_usage_errors_escape_from_random_specs() -> None:
    draws = random.Random(0)
    pieces = [
        "mi",
        "di",
        "ti",
        "rs",
        "pgd",
        "fgsm",
        "bim",
        "paper",
        "sgd",
        "sam",
        "adamw",
        "+",
        "+",
        ":",
        ",",
        "=",
        "p",
        "decay",
        "kernel",
        "sigma",
        "rho",
        "base",
        "0.7",
        "5",
        "-1",
        "nan",
        "1e999",
        "1e9999999",
        "1/0",
        " ",
        "é",
        "\x00",
        "%",
        "'",
        '"',
        "_",
        "-",
        "/",
        "9" * 5000,
        "ε",
        "\n",
    ]
    refused = 0
    for number in range(2000):
        if number % 4:
            spec = "".join(draws.choices(pieces, k=draws.randint(1, 9)))
        else:
            spec = "".join(chr(draws.randrange(1, 0x250)) for _ in range(draws.randint(1, 12)))
        for read in (lambda s: expand(s, load_zoo()), show_rule):
            try:
                read(spec)
            except UsageError as error:
                refused += 1
                assert str(error)
    assert refused > 2000


@pytest.mark.parametrize("spec", ["ti+mi+di", "di:p=0.30+mi:decay=1", "rs+ti:kernel=5+di"])
def test_canonical_spec_reads_back_as_itself(spec: str) -> None:
    once = compose(spec).canonical
    assert compose(once).canonical == once


def test_order_across_stages_does_not_matter() -> None:
    assert compose("ti+mi+di").canonical == compose("mi+di+ti").canonical


@pytest.mark.parametrize("spec", ["sgd", "sam", "sam:rho=0.2", "sam:rho=1/4", "sam:rho=1e30", "sam:rho=1e-9"])
def test_minimizer_reads_back_as_itself(spec: str) -> None:
    assert show_rule(show_rule(spec)) == show_rule(spec)
    assert read_rule(show_rule(spec)) == read_rule(spec)
