"""Numbers and spec strings as people write them.

A spec string is `name[:key=value[,key=value…]]` joined by `+`, for example `mi+di:p=0.7+ti:kernel=5`; it
needs no shell quoting. Numbers stay exact fractions until they meet a tensor. Nothing here imports torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from transferzoo.base.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

SLIP = Fraction(1, 10**6)
"""Largest relative error of a decimal that stands for a whole number of levels: single precision has 6e-8."""
_NAME = re.compile(r"^[a-z][a-z0-9_-]*$")


# ---------------------------------------------------------------- numbers


def parse_fraction(text: str | float | Fraction, what: str) -> Fraction:
    """Read "8/255", "0.03" or "4" exactly.

    Args:
        text: the number as written, or a number.
        what: what it is, for the error ("epsilon").

    Raises:
        UsageError: not a finite number greater than zero.
    """
    text = str(text)
    try:
        value = _exact(text)
    except (ValueError, ZeroDivisionError):
        raise UsageError(
            f"cannot read {what}", expected="a positive number such as 8/255 or 0.03", got=f"'{text}'"
        ) from None
    if value <= 0:
        raise UsageError(f"{what} must be greater than zero", expected="for example 8/255", got=f"'{text}'")
    return value


def _exact(text: str) -> Fraction:
    """Read a number, unless writing it out would take more than a few hundred digits."""
    exponent = re.search(r"[eE]([+-]?[0-9_]+)\s*$", text)
    if len(text) > 300 or (exponent and abs(int(exponent[1])) > 300):
        raise ValueError("out of range")
    return Fraction(text)


def parse_number(text: str) -> float:
    """Read "0.03", "1e-3" or "1/20".

    Raises:
        ValueError: no finite number.
        ZeroDivisionError: the divisor is 0.
        OverflowError: too large for a float.
    """
    return float(_exact(text))


def parse_epsilon(text: str | float | Fraction, norm: str) -> Fraction:
    """Read a budget in [0, 1] pixels; in L∞ anything above 1 is taken for a slip of units.

    A decimal within a millionth of a whole number of levels is that number: 8 / 255 as Python prints it,
    0.03137254901960784, or in single precision, is 8 levels and not 7.999….

    Raises:
        UsageError: unreadable, not positive, or greater than 1 in L∞.
    """
    value = parse_fraction(text, "epsilon")
    if norm == "linf" and value > 1:
        raise UsageError(
            "epsilon is in [0, 1] pixels",
            expected="at most 1 in L∞",
            got=f"'{text}'",
            hint=f"did you mean {str(text).strip()}/255?",
        )
    return _in_levels(value)


def _in_levels(value: Fraction) -> Fraction:
    """Return the whole number of levels that a decimal stands for, or the decimal itself if for none."""
    levels = round(value * 255)
    return Fraction(levels, 255) if abs(value * 255 - levels) <= levels * SLIP else value


def parse_step(text: str | float | Fraction, epsilon: Fraction) -> Fraction:
    """Read a step size: a number as `parse_epsilon` reads it, or relative as "eps", "eps/10", "eps*1.5".

    Raises:
        UsageError: unreadable or not positive.
    """
    relative = re.fullmatch(r"\s*eps(?:ilon)?\s*(?:([*/])\s*(\S+))?\s*", str(text))
    if relative is None:
        return _in_levels(parse_fraction(text, "step size"))
    operator, number = relative.groups()
    if operator is None:
        return epsilon
    factor = parse_fraction(number, "step size")
    return epsilon / factor if operator == "/" else epsilon * factor


def show_fraction(value: Fraction) -> str:
    """Write a number in the shortest exact form people use: "8/255", "0.5", "1", "1/7"."""
    if (value * 255).denominator == 1 and value < 1:
        return f"{value * 255}/255"
    decimal = format(float(value), ".12g")
    return decimal if Fraction(decimal) == value else str(value)


def show_step(step: Fraction, epsilon: Fraction) -> str:
    """Write a step size as `parse_step` reads it, relative to the budget where that is short: "eps/10"."""
    ratio = step / epsilon
    if ratio == 1:
        return "eps"
    return f"eps/{ratio.denominator}" if ratio.numerator == 1 else show_fraction(step)


# ---------------------------------------------------------------- spec strings


@dataclass(frozen=True)
class Term:
    """One `name:key=value,…` of a spec string; the name without capitals."""

    name: str
    options: Mapping[str, str]


def parse_terms(spec: str) -> tuple[Term, ...]:
    """Split a spec string into terms; the empty string has none.

    Raises:
        UsageError: not of the form `name[:key=value,…]` joined by `+`.
    """
    if not spec.strip():
        return ()
    return tuple(_parse_term(part.strip(), spec) for part in spec.split("+"))


def is_name(text: str) -> bool:
    """Return whether a text can be the name of a term."""
    return _NAME.match(text) is not None


def _parse_term(part: str, spec: str) -> Term:
    name, colon, rest = part.partition(":")
    name = name.lower()
    if not _NAME.match(name) or (colon and not rest):
        raise UsageError(
            f"cannot read '{part}' in '{spec}'", expected="name[:key=value,…] joined by +, as in mi+di:p=0.7"
        )
    options: dict[str, str] = {}
    for pair in rest.split(",") if rest else ():
        key, equals, value = pair.partition("=")
        key = key.replace("-", "_")
        if not equals or not _NAME.match(key) or not value:
            raise UsageError(f"cannot read '{pair}' in '{spec}'", expected="key=value")
        if key in options:
            raise UsageError(f"option '{key}' of '{name}' is given twice in '{spec}'")
        options[key] = value
    return Term(name, options)


def require(condition: bool, what: str, *, expected: str, got: object) -> None:
    """Check a hyper-parameter.

    Raises:
        UsageError: the condition does not hold.
    """
    if not condition:
        raise UsageError(what, expected=expected, got=str(got))
