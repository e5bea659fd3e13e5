"""The checks of entries on perpetuals at their boundaries, with the numbers and sentences that explain shows."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.cdb_risk.codes import MEANINGS, Code
from services.cdb_risk.layers.data_quality import check_book
from services.cdb_risk.layers.perpetual_limits import (
    MARK_FRESH_US,
    check_leverage,
    check_liquidation_distance,
    check_margin,
    check_mark,
)
from services.common.instruments import RiskTier

pytestmark = [pytest.mark.unit, pytest.mark.risk]

TIER = RiskTier(max_contracts=Decimal(100), maintenance_rate=Decimal("0.005"), max_leverage=20)


def test_a_mark_is_fresh_for_exactly_a_minute() -> None:
    """A minute old is fresh, a microsecond more is not; never marked is not."""
    assert check_mark(0, MARK_FRESH_US).detail == "mark fresh"
    for missing in (check_mark(0, MARK_FRESH_US + 1), check_mark(None, 0)):
        assert (missing.code, missing.detail) == (Code.MARK_MISSING, MEANINGS[Code.MARK_MISSING])


def test_leverage_may_be_that_of_the_tier() -> None:
    """20 of 20 passes, 21 does not, and beyond all tiers nothing does."""
    allowed, over = check_leverage(20, TIER), check_leverage(21, TIER)
    assert (allowed.code, allowed.headroom, allowed.detail) == (Code.OK, 0, "leverage 20 of 20 at this size")
    assert (over.code, over.value, over.limit, over.headroom) == (Code.LEVERAGE_LIMIT, 21, 20, -1)
    beyond = check_leverage(1, None)
    assert beyond.code is Code.LEVERAGE_LIMIT
    assert beyond.detail == "the position would be larger than the exchange's largest tier"


def test_liquidation_at_twice_the_stop_passes() -> None:
    """With a stop of 2 % a distance of 4 % is enough, and 3.99 % is not."""
    enough = check_liquidation_distance(Decimal("0.04"), Decimal("0.02"))
    assert (enough.code, enough.headroom) == (Code.OK, 0)
    close = check_liquidation_distance(Decimal("0.0399"), Decimal("0.02"))
    assert (close.code, close.limit, close.headroom) == (
        Code.LIQUIDATION_TOO_CLOSE,
        Decimal("0.04"),
        Decimal("-0.0001"),
    )
    assert close.detail == "liquidation 0.0399 away, at least 0.04 is needed"


def test_margin_may_take_all_that_is_free() -> None:
    """100 of 100 USDT passes, 100.01 does not; what is left is shown."""
    all_of_it = check_margin(Decimal(100), Decimal(100))
    assert (all_of_it.code, all_of_it.headroom) == (Code.OK, 0)
    short = check_margin(Decimal("100.01"), Decimal(100))
    assert (short.code, short.value, short.headroom) == (Code.INSUFFICIENT_MARGIN, Decimal("100.01"), Decimal("-0.01"))
    assert short.detail == "100.01 of margin and fee from 100"


def test_a_book_names_both_of_its_sides() -> None:
    """What is crossed shows by how much, so that a bad feed can be told from a fast one."""
    assert check_book(Decimal(99), Decimal(100)).detail == "bid 99 below ask 100"
    assert check_book(Decimal(101), Decimal(100)).detail == "bid 101 is not below ask 100"
