"""Perpetuals in the statistics: shorts, funding and liquidations balance like everything else."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from claire.statistics import Statistics, StatisticsCollector
from services.common.events import Order
from tests.unit.writer.journal_story import CASH, Story

pytestmark = pytest.mark.unit

D = Decimal
PERPETUAL: Any = "mexc_perpetual"


def begun() -> Story:
    """A story in which the perpetual is marked at 40000."""
    story = Story()
    story.begin()
    story.tick()
    mark(story, "40000")
    return story


def mark(story: Story, price: str) -> None:
    """Mark the perpetual."""
    story.tick()
    story.quote(D(price), venue=PERPETUAL, mark_price=D(price), funding_rate=D("0.0001"))


def trade(story: Story, side: str, quantity: str, price: str, purpose: str, *, mid: str | None = None) -> None:
    """Order and fill a perpetual with leverage 2."""
    order = story.order(D(quantity), D(mid or price), side).model_copy(
        update={"venue": PERPETUAL, "purpose": purpose, "leverage": 2}
    )
    story.entries.pop()
    story.add(order)
    assert isinstance(order, Order)
    story.tick()
    story.fill(order, D(quantity), D(price))


def fact(story: Story, action: str, **details: Any) -> None:
    """Let execution tell of funding or a liquidation."""
    story.control(
        "cdb_execution", action, service="cdb_execution", details={"venue": PERPETUAL, "symbol": "BTCUSDT", **details}
    )


def of(story: Story) -> Statistics:
    """Return the statistics of a story; they balance."""
    collector = StatisticsCollector()
    for entry in story.entries:
        collector.observe(entry)
    found = collector.result()
    assert found.values["net_pnl"] == sum(found.pnl_split.values()) == found.portfolio["equity"] - CASH
    return found


def test_a_short_wins_when_the_price_falls_and_receives_funding() -> None:
    """Sold at 40000 (mid 40010), bought back at 39000, 12.5 of funding received: 1000 gross, 10 of slippage."""
    story = begun()
    trade(story, "SELL", "1", "40000", "entry", mid="40010")
    fact(story, "funding", amount=D("12.5"))
    mark(story, "41000")
    trade(story, "BUY", "1", "39000", "exit")

    found = of(story)

    (trip,) = found.round_trips
    assert (trip.direction, trip.gross, trip.funding, trip.slippage) == ("short", D(1000), D("12.5"), D(10))
    assert trip.net == D(1000) - D("39.5") + D("12.5") == found.values["net_pnl"]
    assert (trip.adverse, trip.favourable) == (D(-1000), D(1000))
    assert found.pnl_split == {"price": D(1010), "slippage": D(-10), "fees": D("-39.5"), "funding": D("12.5")}


def test_an_open_short_is_part_of_the_net() -> None:
    """Before it is closed, its value at mark, its funding and its fee are in the net, and no round trip is."""
    story = begun()
    trade(story, "SELL", "2", "40000", "entry")
    fact(story, "funding", amount=D(-3))
    mark(story, "40100")

    found = of(story)

    assert found.values["net_pnl"] == -200 - 40 - 3
    assert found.round_trips == ()
    assert found.values["exposure_max_pct"] == pytest.approx(D(80_200) / D(99_757), abs=D("1e-6"))


@pytest.mark.parametrize(("side", "price"), [("BUY", "20100"), ("SELL", "59900")])
def test_a_liquidation_loses_the_margin(side: str, price: str) -> None:
    """Leverage 2: half of 40000 is lost, the round trip ends with it, and the books balance."""
    story = begun()
    trade(story, side, "1", "40000", "entry")
    mark(story, price)
    fact(story, "liquidation")

    found = of(story)

    (trip,) = found.round_trips
    assert trip.exit_purpose == "liquidation"
    assert trip.gross == -20_000
    assert trip.exit_price == (20_000 if side == "BUY" else 60_000)
    assert found.values["net_pnl"] == -20_000 - 20


def test_partial_closes_share_their_margin_exactly() -> None:
    """Three thirds of a position whose margin cannot be divided evenly leave nothing behind."""
    story = begun()
    trade(story, "BUY", "0.0003", "40000.1", "entry")
    for _ in range(3):
        trade(story, "SELL", "0.0001", "40001.3", "exit")

    found = of(story)

    assert found.round_trips[0].gross == D("0.0003") * D("1.2")
    assert found.portfolio["positions"] == []
