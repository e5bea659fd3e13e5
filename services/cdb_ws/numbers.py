"""Numbers and times as they stand in a recorded file."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

from services.common.decimals import quantise, wire_form
from services.common.errors import FeedInputInvalid
from services.common.timestamps import MS_US

__all__ = ["DECIMALS", "WHOLE_DIGITS", "milliseconds", "not_negative", "plain_number", "positive", "signed_fraction"]

WHOLE_DIGITS: Final = 12
DECIMALS: Final = 16
"""Together the 28 digits of a wire number. Many files carry tails of doubles (0.000051540000000000005): what is beyond
16 decimals is rounded away."""

_PLAIN: Final = re.compile(rf"[0-9]{{1,{WHOLE_DIGITS}}}(\.[0-9]{{1,{DECIMALS}}})?")
_EARLIEST_MS: Final = 100_000_000_000
_LATEST_MS: Final = 100_000_000_000_000


def milliseconds(name: str, text: str) -> int:
    """Return a time in microseconds from epoch milliseconds.

    Raises:
        FeedInputInvalid: not a whole number, or so small or large that another unit is meant.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise FeedInputInvalid(f"{name}={text!r}: whole milliseconds since 1970 are meant, as 1621249200000")
    value = int(text)
    if value < _EARLIEST_MS:
        raise FeedInputInvalid(f"{name}={text}: this looks like seconds; milliseconds are meant, as 1621249200000")
    if value >= _LATEST_MS:
        raise FeedInputInvalid(f"{name}={text}: this looks like micro- or nanoseconds; milliseconds are meant")
    return value * MS_US


def not_negative(name: str, text: str) -> Decimal:
    """Return a price or quantity with all its digits, at most 16 decimals of them.

    Raises:
        FeedInputInvalid: not a finite number from 0 with at most 12 whole digits.
    """
    value = plain_number(text)
    if value is not None:
        return value
    try:
        value = Decimal(text) if text.isascii() and "_" not in text else Decimal("NaN")
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value < 0:
        raise FeedInputInvalid(f"{name}={text!r}: a number from 0 is meant, as 50000.5")
    if value.adjusted() >= WHOLE_DIGITS:
        raise FeedInputInvalid(f"{name}={text!r}: at most {WHOLE_DIGITS} whole digits are meant")
    return wire_form(quantise(value, DECIMALS))


@lru_cache(maxsize=1 << 16)
def plain_number(text: str) -> Decimal | None:
    """Return what `not_negative` returns of a plain number, and None of everything else that it knows or refuses.

    Prices and sizes repeat, so most are known already.
    """
    return wire_form(Decimal(text)) if _PLAIN.fullmatch(text) else None


def positive(name: str, text: str) -> Decimal:
    """Return a price or quantity above 0.

    Raises:
        FeedInputInvalid: 0, or what `not_negative` refuses.
    """
    value = not_negative(name, text)
    if not value:
        raise FeedInputInvalid(f"{name}={text}: a number above 0 is meant")
    return value


def signed_fraction(name: str, text: str) -> Decimal:
    """Return a rate between -1 and 1, as a funding rate.

    Raises:
        FeedInputInvalid: outside of that, or what `not_negative` refuses of its digits.
    """
    value = not_negative(name, text.removeprefix("-"))
    if value > 1:
        raise FeedInputInvalid(f"{name}={text}: a fraction between -1 and 1 is meant, as 0.0001 for 0.01 %")
    return -value if text.startswith("-") else value
