"""Whole-number arithmetic of the estimators: returns in units of 10^-12, traded value in units of 10^-8 USDT.

Running sums over a window must not drift, whatever enters and leaves them. Whole numbers are exact at any size and
need no rounding context; a number is rounded once, when it becomes one, and never again.
"""

from __future__ import annotations

from decimal import Decimal

from services.common.decimals import FIXED, MAX_DECIMALS, ONE, divide, quantise

__all__ = [
    "CHANGE_LIMIT",
    "VALUE_LIMIT_USDT",
    "change_e12",
    "from_e8",
    "from_e12",
    "to_e6",
    "to_e8",
    "to_e12",
    "value_e8",
    "wire_price",
]

CHANGE_LIMIT = 1_000
"""A price ratio beyond this counts as this: it is a fault of the data, and must not leave the 28 digits of money."""

VALUE_LIMIT_USDT = Decimal(10) ** 12
"""Traded value of one minute beyond this counts as this (a trillion USDT is a fault of the data)."""

_LARGEST = Decimal(10) ** 28 - 1


def change_e12(price: Decimal, before: Decimal) -> int:
    """Return price / before - 1 in units of 10^-12, rounded half-even; both prices in quote currency, above 0."""
    if price >= before * CHANGE_LIMIT:
        return (CHANGE_LIMIT - 1) * 10**12
    return to_e12(divide(price, before) - ONE)


def value_e8(value: Decimal) -> int:
    """Return a traded value in units of 10^-8 quote currency, cut toward zero and limited to VALUE_LIMIT_USDT."""
    return to_e8(min(value, VALUE_LIMIT_USDT))


def to_e6(value: Decimal) -> int:
    """Return `value` in units of 10^-6, cut toward zero."""
    return int(FIXED.scaleb(value, 6))


def to_e8(value: Decimal) -> int:
    """Return `value` in units of 10^-8, cut toward zero."""
    return int(FIXED.scaleb(value, 8))


def to_e12(value: Decimal) -> int:
    """Return `value` in units of 10^-12, cut toward zero."""
    return int(FIXED.scaleb(value, 12))


def from_e6(units: int) -> Decimal:
    """Return units of 10^-6 as a Decimal (of at most 28 digits)."""
    return FIXED.scaleb(Decimal(units), -6)


def from_e8(units: int) -> Decimal:
    """Return units of 10^-8 as a Decimal (of at most 28 digits)."""
    return FIXED.scaleb(Decimal(units), -8)


def from_e12(units: int) -> Decimal:
    """Return units of 10^-12 as a Decimal (of at most 28 digits)."""
    return FIXED.scaleb(Decimal(units), -12)


def wire_price(price: Decimal) -> Decimal:
    """Return a price, however large or fine, rounded so that it may stand on the wire (28 digits, 18 decimals)."""
    price = FIXED.plus(min(price, _LARGEST))
    exponent = price.as_tuple().exponent
    assert isinstance(exponent, int), "prices are finite"
    return price if exponent >= -MAX_DECIMALS else quantise(price, MAX_DECIMALS)
