"""Time on the wire is ISO 8601 in UTC with microseconds; inside it is an integer number of microseconds.

Nothing here reads a clock.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

__all__ = [
    "DAY_US",
    "HOUR_US",
    "MINUTE_US",
    "MS_US",
    "SECOND_US",
    "day_of",
    "format_timestamp",
    "parse_timestamp",
]

MS_US = 1_000
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

_LATEST_US = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z, the last that ISO 8601 with four-digit years names
_MILLISECONDS_FROM = 100_000_000_000  # as seconds this would be the year 5138: a larger epoch number is milliseconds
_MICROSECONDS_FROM = 100_000_000_000_000


def format_timestamp(timestamp_us: int) -> str:
    """Return microseconds since the epoch as `2021-05-19T13:05:00.000000Z`."""
    seconds, micros = divmod(timestamp_us, SECOND_US)
    return f"{_second_text(seconds)}.{micros:06d}Z"


@lru_cache(maxsize=4096)
def _second_text(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def parse_timestamp(value: Any) -> int:
    """Return microseconds since the epoch of what an event carries.

    Accepts ISO 8601 with `Z` or an offset, and, from old payloads, epoch seconds, milliseconds or microseconds as a
    number (told apart by size).

    Raises:
        ValueError: anything else; the text names the value.
    """
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value!r} is not ISO 8601; write it as 2021-05-19T13:05:00.000000Z") from None
        if moment.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; write UTC with a trailing Z")
        delta = moment - _EPOCH
        timestamp_us = (delta.days * 86_400 + delta.seconds) * SECOND_US + delta.microseconds
        if not 0 <= timestamp_us <= _LATEST_US:
            raise ValueError(f"{value!r} is outside the years 1970 to 9999")
        return timestamp_us
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError(f"{value!r} is no timestamp; write it as 2021-05-19T13:05:00.000000Z")
    if isinstance(value, Decimal) and not value.is_finite():
        raise ValueError(f"{value!r} is no timestamp; write it as 2021-05-19T13:05:00.000000Z")
    if not 0 <= value <= _LATEST_US:
        raise ValueError(f"{value} is outside the years 1970 to 9999")
    if value < _MILLISECONDS_FROM:
        return int(value * SECOND_US)
    if value < _MICROSECONDS_FROM:
        return int(value * MS_US)
    return int(value)


def day_of(timestamp_us: int) -> int:
    """Return the number of the UTC day (days since 1970-01-01) that contains the timestamp."""
    return timestamp_us // DAY_US


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
