"""Statistics of money that is not only configured: what a live account holds, transfers, and grids of the exchange."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.common import channels
from services.common.instruments import InstrumentSpec
from services.common.market_facts import instrument_details
from tests.unit.statistics.story_statistics import of
from tests.unit.writer.journal_story import Story

pytestmark = pytest.mark.unit

D = Decimal


def begun(mode: str, **settings: Any) -> Story:
    """A run in a mode, of which risk has said its settings."""
    story = Story()
    story.control(channels.WS, "started", run_id=story.run_id)
    story.tick()
    given = {"ACCOUNT_EQUITY": D(100_000), "TRADING_MODE": mode, "LIVE_CAPITAL_USDT": D(1_000), **settings}
    story.control(channels.RISK, "config", service=channels.RISK, details={"settings": given})
    return story


def round_trip(story: Story, bought: str, sold: str, *, symbol: str = "BTCUSDT", left: str = "0") -> None:
    """Buy 0.01, and sell it (but for what is left) a minute later, without a fee."""
    for side, price, quantity in (("BUY", D(bought), D("0.01")), ("SELL", D(sold), D("0.01") - D(left))):
        story.quote(price, symbol)
        order = story.order(quantity, price, side, symbol)
        story.fill(order, quantity, price, fee=D(0), fee_currency="USDT")
        story.quote(price, symbol)
        story.tick(60)


def test_shadow_begins_with_the_smaller_of_equity_and_live_capital() -> None:
    """As risk does: 1 % of the 1000 USDT that may be risked is 10 USDT, not a hundredth of that."""
    story = begun("shadow")
    round_trip(story, "40000", "41000")
    found = of(story)
    assert found.portfolio["initial_cash"] == 1_000
    assert found.values["net_pnl"] == 10
    assert found.values["return_pct"] == D("0.01")


def test_live_begins_with_what_the_exchange_holds() -> None:
    """Nothing is known of the account before execution has compared it; what is configured is no money."""
    story = begun("live")
    assert of(story).portfolio == {}
    story.control(channels.EXECUTION, "reconciliation", details={"verdict": "opened", "capital": D(500)})
    round_trip(story, "40000", "41000")
    found = of(story)
    assert found.portfolio["initial_cash"] == 500
    assert found.values["return_pct"] == D("0.02")


def adjusted(story: Story, cash: str, change: str = "", price: str = "40000") -> None:
    """An operator accepts that the exchange holds something else."""
    moved = [{"symbol": "BTCUSDT", "change": D(change), "price": D(price)}] if change else []
    details = {"venue": "mexc_spot", "accepted": ["cash"], "cash": D(cash), "positions": moved}
    story.control(channels.EXECUTION, "adjustment", service=channels.EXECUTION, details=details)


@pytest.mark.parametrize("cash", ["300", "-300"])
def test_a_transfer_is_neither_profit_nor_loss(cash: str) -> None:
    """Money that came or went changes what the account holds, and no result, return or drawdown."""
    story = begun("shadow")
    round_trip(story, "40000", "41000")
    adjusted(story, cash)
    story.tick(60)
    found = of(story)
    assert found.portfolio["equity"] == D(1_010) + D(cash)
    assert found.values["net_pnl"] == sum(found.pnl_split.values()) == 10
    assert found.values["return_pct"] == D("0.01")
    assert found.values["max_drawdown_pct"] == 0


def test_what_was_taken_away_by_hand_ends_its_round_trip_at_the_mark() -> None:
    """Bought at 40000, gone at 41000: what was gained until then is a result, what went is none."""
    story = begun("shadow")
    story.quote(D(40_000))
    order = story.order(D("0.01"), D(40_000))
    story.fill(order, D("0.01"), D(40_000), fee=D(0), fee_currency="USDT")
    story.quote(D(41_000))
    story.tick(60)
    adjusted(story, "0", "-0.01")
    story.quote(D(50_000))
    story.tick(60)
    found = of(story)
    (trip,) = found.round_trips
    assert (trip.exit_purpose, trip.net) == ("adjustment", 10)
    assert found.values["net_pnl"] == sum(found.pnl_split.values()) == 10
    assert found.portfolio["positions"] == []


def test_what_came_without_a_trade_is_held_without_a_round_trip() -> None:
    """A coin that was sent gains and loses from its coming on; it was never bought."""
    story = begun("shadow")
    story.quote(D(40_000))
    adjusted(story, "0", "0.01")
    story.tick(60)
    story.quote(D(41_000))
    story.tick(60)
    found = of(story)
    assert found.round_trips == ()
    assert found.portfolio["equity"] == 1_410
    assert found.values["return_pct"] == D("0.01")


def test_dust_is_what_the_grid_of_the_exchange_says() -> None:
    """Of an instrument that only the exchange's own list knows: less than its smallest order ends a round trip."""
    story = begun("paper")
    doge = InstrumentSpec(
        venue="mexc_spot", symbol="DOGEUSDT", base="DOGE", tick_size=D("0.00001"), lot_size=D("0.001"),
        min_quantity=D("0.001"),
    )  # fmt: skip
    story.control(channels.WS, "instruments", service=channels.WS, details=instrument_details([doge]))
    round_trip(story, "100", "110", symbol="DOGEUSDT", left="0.0001")
    (trip,) = of(story).round_trips
    assert trip.net == D("0.1")
