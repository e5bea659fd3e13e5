"""Where a figure has no value: what stands there instead."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest

from claire.statistics import StatisticsCollector, ratios
from claire.statistics.definitions import BY_NAME, DAYS_NEEDED
from services.common.timestamps import DAY_US, parse_timestamp
from tests.unit.writer.journal_story import Story

pytestmark = pytest.mark.unit

D = Decimal


def played(days: int, trips: int, *, gain: str = "0", quantity: str = "0.01") -> Story:
    """So many days with so many round trips on the first of them, each gaining so much a unit."""
    story = Story(now=parse_timestamp("2021-01-01T00:00:00Z"))
    story.begin()
    story.quote(D(40_000))
    for _ in range(trips):
        for side, price in (("BUY", D(40_000)), ("SELL", D(40_000) + D(gain))):
            order = story.order(D(quantity), price, side)
            story.tick()
            story.fill(order, D(quantity), price, fee=D(0))
    begins = story.now // DAY_US
    for hour in range(1, days * 24):
        story.now = begins * DAY_US + hour * DAY_US // 24
        story.tick(0)
    return story


def values_of(story: Story) -> tuple[dict[str, object], dict[str, str]]:
    """Return values and reasons."""
    collector = StatisticsCollector()
    for entry in story.entries:
        collector.observe(entry)
    found = collector.result()
    return dict(found.values), dict(found.not_shown)


def test_an_equity_that_never_changes_has_no_ratio() -> None:
    """30 days and 30 round trips that neither win nor lose: the reasons say what is missing, not too little data."""
    values, reasons = values_of(played(30, 30))

    assert reasons["sharpe"] == reasons["probabilistic_sharpe_pct"] == "the equity never changed from day to day"
    assert reasons["sortino"] == "no day has lost anything"
    assert reasons["calmar"] == "the equity never fell from a peak"
    assert reasons["profit_factor"] == "no round trip has lost anything"
    assert reasons["payoff"] == "no round trip has won"
    assert (values["win_rate_pct"], values["expectancy"], values["cagr_pct"], values["max_drawdown_pct"]) == (
        0,
        0,
        0,
        0,
    )
    assert values["max_drawdown_minutes"] == 0


def test_the_least_data_are_enough_and_one_less_is_not() -> None:
    """At 30 days and 30 round trips everything is shown that exists; at 29 of either it is not."""
    enough, _ = values_of(played(30, 30, gain="-10"))
    _, a_day_less = values_of(played(29, 30, gain="-10"))
    _, a_trip_less = values_of(played(30, 29, gain="-10"))

    assert enough["sharpe"] is not None
    assert a_day_less["sharpe"] == "needs 30 days (has 29) and 30 round trips (has 30)"
    assert a_trip_less["sharpe"] == "needs 30 days (has 30) and 30 round trips (has 29)"
    assert "win_rate_pct" not in a_day_less
    assert "volatility_pct" not in a_trip_less
    assert BY_NAME["sharpe"].days == DAYS_NEEDED == 30


def test_a_lost_account_has_no_returns() -> None:
    """Equity at or below zero: what is computed from returns says so, money is still money."""
    values, reasons = values_of(played(2, 1, gain="-39999", quantity="3"))

    assert values["net_pnl"] == -119_997
    assert reasons["return_pct"] == reasons["max_drawdown_pct"] == "the equity has fallen to zero or below"


def test_growth_beyond_every_number_is_not_shown() -> None:
    """A gain in a second, compounded for a year."""
    assert ratios.annual_growth(1.0, 2.0, 1e-6) == math.inf
    assert ratios.sharpe([0.1, 0.1]) is None
    assert ratios.sortino([0.1, 0.2]) is None
