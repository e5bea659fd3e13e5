"""Time on the wire and inside."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.common.timestamps import DAY_US, day_of, format_timestamp, parse_timestamp

pytestmark = pytest.mark.unit

NOON = 1_621_425_600_000_000  # 2021-05-19T12:00:00Z


@pytest.mark.parametrize(
    "given",
    [
        "2021-05-19T12:00:00Z",
        "2021-05-19T12:00:00.000000Z",
        "2021-05-19T14:00:00+02:00",
        1_621_425_600,
        1_621_425_600_000,
        1_621_425_600_000_000,
        Decimal("1621425600.0"),
    ],
)
def test_all_known_forms_give_microseconds(given: Any) -> None:
    """ISO 8601 with Z or offset, and epoch seconds, milliseconds or microseconds told apart by size."""
    assert parse_timestamp(given) == NOON


def test_fractions_are_kept() -> None:
    """Half a second is 500 000 microseconds."""
    assert parse_timestamp("2021-05-19T12:00:00.5Z") == NOON + 500_000
    assert parse_timestamp(Decimal("1621425600.123456")) == NOON + 123_456


@pytest.mark.parametrize(
    "given",
    ["", "yesterday", "2021-05-19", "2021-05-19T12:00:00", True, None, 1.5, [], -1, 10**30, Decimal("NaN"),
     Decimal("Infinity"), Decimal(-1)],
)  # fmt: skip
def test_everything_else_is_refused(given: Any) -> None:
    """No zone, no time, floats, truth values, negative, beyond the year 9999: a ValueError that names it."""
    with pytest.raises(ValueError, match=r".+"):
        parse_timestamp(given)


def test_format_is_utc_with_microseconds() -> None:
    """Always six digits and a Z."""
    assert format_timestamp(NOON) == "2021-05-19T12:00:00.000000Z"
    assert format_timestamp(NOON + 1) == "2021-05-19T12:00:00.000001Z"
    assert format_timestamp(0) == "1970-01-01T00:00:00.000000Z"


def test_days_are_utc_days() -> None:
    """Midnight belongs to the new day."""
    assert day_of(NOON) == 18_766
    assert day_of(18_766 * DAY_US) == 18_766
    assert day_of(18_766 * DAY_US - 1) == 18_765
