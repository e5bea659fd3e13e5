"""Reading fields out of what MEXC sends: exact numbers, and an error that names field and value for what cannot be.

Fields that nobody asks for are ignored: the exchange adds some without notice. Numbers come as JSON numbers on
perpetuals and as text on spot, ids as either; both are read alike and no number ever goes through a float.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from services.common.decimals import FIXED, MAX_DECIMALS, MAX_SIGNIFICANT_DIGITS
from services.common.errors import ExchangeAnswerInvalid

__all__ = [
    "Row",
    "as_row",
    "as_rows",
    "flag",
    "identifier",
    "integer",
    "milliseconds",
    "number",
    "optional_identifier",
    "optional_number",
    "positive",
    "text",
]

Row = Mapping[str, Any]

_NUMBER: Final = re.compile(r"-?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,2})?", re.ASCII)
_FINEST: Final = Decimal((0, (1,), -MAX_DECIMALS))
_LATEST_MS: Final = 253_402_300_799_999


def _invalid(field: str, value: Any, meant: str) -> ExchangeAnswerInvalid:
    return ExchangeAnswerInvalid(f"{field}={value!r:.80}: {meant} is meant")


def _untold(row: Row, field: str) -> bool:
    value = row.get(field)
    return value is None or value == ""


def as_row(value: Any, what: str) -> Row:
    """Return an object of an answer.

    Raises:
        ExchangeAnswerInvalid: it is none.
    """
    if not isinstance(value, Mapping):
        raise _invalid(what, value, "an object")
    return value


def as_rows(value: Any, what: str) -> list[Row]:
    """Return a list of objects of an answer.

    Raises:
        ExchangeAnswerInvalid: it is none.
    """
    if not isinstance(value, list | tuple):
        raise _invalid(what, value, "a list")
    return [as_row(row, what) for row in value]


def number(row: Row, field: str) -> Decimal:
    """Return a number with all its digits, as far as the wire carries them (28 digits, 18 decimals).

    Raises:
        ExchangeAnswerInvalid: it is missing, not finite, or greater than any amount.
    """
    value = row.get(field)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _invalid(field, value, "a number")
    exact = Decimal(value)
    if not exact.is_finite() or exact.adjusted() >= MAX_SIGNIFICANT_DIGITS:
        raise _invalid(field, value, "a number within 28 digits")
    exact = FIXED.plus(exact)
    return FIXED.quantize(exact, _FINEST) if int(exact.as_tuple().exponent) < -MAX_DECIMALS else exact


def optional_number(row: Row, field: str) -> Decimal | None:
    """Return a number, or None where it is not told (missing, null, empty text).

    Raises:
        ExchangeAnswerInvalid: something else stands there.
    """
    return None if _untold(row, field) else number(row, field)


def positive(row: Row, field: str) -> Decimal:
    """Return a number above 0.

    Raises:
        ExchangeAnswerInvalid: it is none.
    """
    value = number(row, field)
    if value <= 0:
        raise _invalid(field, value, "a number above 0")
    return value


def integer(row: Row, field: str) -> int:
    """Return a whole number, also one written `3.0` or as text.

    Raises:
        ExchangeAnswerInvalid: it is none.
    """
    value = number(row, field)
    if value != value.to_integral_value():
        raise _invalid(field, value, "a whole number")
    return int(value)


def milliseconds(row: Row, field: str) -> int:
    """Return a point in time, given in milliseconds since the epoch, in microseconds.

    Raises:
        ExchangeAnswerInvalid: it is none.
    """
    value = integer(row, field)
    if not 0 < value <= _LATEST_MS:
        raise _invalid(field, value, "milliseconds since the epoch")
    return value * 1_000


def text(row: Row, field: str) -> str:
    """Return a text that is not empty.

    Raises:
        ExchangeAnswerInvalid: it is none.
    """
    value = row.get(field)
    if not isinstance(value, str) or not value:
        raise _invalid(field, value, "a text")
    return value


def identifier(row: Row, field: str) -> str:
    """Return an id: a text as it is, or the digits of a whole number.

    Raises:
        ExchangeAnswerInvalid: it is none.
    """
    value = row.get(field)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else text(row, field)


def optional_identifier(row: Row, field: str) -> str | None:
    """Return an id, or None where there is none (missing, null, empty text).

    Raises:
        ExchangeAnswerInvalid: something else stands there.
    """
    return None if _untold(row, field) else identifier(row, field)


def flag(row: Row, field: str) -> bool:
    """Return a boolean.

    Raises:
        ExchangeAnswerInvalid: it is none.
    """
    value = row.get(field)
    if not isinstance(value, bool):
        raise _invalid(field, value, "true or false")
    return value
