"""Whatever is traded, the parts of the net PnL and the round trips add up to what equity gained, to the last digit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claire.statistics import StatisticsCollector
from services.common.decimals import ZERO
from services.common.timestamps import MINUTE_US
from tests.unit.writer.journal_story import CASH, Story

pytestmark = pytest.mark.unit

PERPETUAL: Any = "mexc_perpetual"
Step = tuple[str, int, int, int]

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "open", "close", "close all", "mark", "mark", "fund", "liquidate", "wait"]),
        st.integers(1, 400),
        st.integers(3_990_000, 4_010_000),
        st.integers(-500, 500),
    ),
    max_size=40,
)


class Desk:
    """Trades one instrument in a story, never flipping and never selling more than is held on spot."""

    def __init__(self, venue: Any, leverage: int) -> None:
        self.story = Story()
        self.story.begin()
        self.venue, self.leverage = venue, leverage
        self.held = ZERO
        self.mark(4_000_000)

    def mark(self, cents: int) -> None:
        """Mark and quote around a price."""
        self.story.tick()
        price = Decimal(cents) / 100
        self.story.quote(price, venue=self.venue, mark_price=price if self.venue == PERPETUAL else None)

    def trade(self, signed: Decimal, cents: int, away: int, purpose: str) -> None:
        """Fill at a price so many cents from the mid at decision."""
        order = self.story.order(abs(signed), Decimal(cents) / 100, "BUY" if signed > 0 else "SELL")
        self.story.entries.pop()
        order = order.model_copy(update={"venue": self.venue, "purpose": purpose, "leverage": self.leverage})
        self.story.add(order)
        self.story.fill(order, abs(signed), Decimal(cents + away) / 100)
        self.held += signed

    def step(self, step: Step, *, short: bool) -> None:
        """Do one step, if it is possible now."""
        what, size, cents, away = step
        quantity = Decimal(size) / 1_000
        if what == "open":
            direction = (1 if self.held > 0 else -1) if self.held else -1 if short else 1
            self.trade(direction * quantity, cents, away, "entry")
        elif what.startswith("close") and self.held:
            part = abs(self.held) if what == "close all" else min(quantity, abs(self.held))
            self.trade(-part if self.held > 0 else part, cents, away, "exit")
        elif what == "mark":
            self.mark(cents)
        elif what == "wait":
            self.story.now += size * MINUTE_US
            self.story.tick()
        elif self.venue == PERPETUAL and self.held:
            details = {"venue": PERPETUAL, "symbol": "BTCUSDT", "amount": Decimal(away) / 100}
            action = "funding" if what == "fund" else "liquidation"
            self.story.control("cdb_execution", action, service="cdb_execution", details=details)
            self.held = self.held if what == "fund" else ZERO


@pytest.mark.parametrize(("venue", "short"), [("mexc_spot", False), (PERPETUAL, False), (PERPETUAL, True)])
@given(steps=STEPS, leverage=st.sampled_from([1, 3, 7]))
def test_parts_and_round_trips_add_up(venue: Any, short: bool, steps: list[Step], leverage: int) -> None:
    """Net PnL is the sum of its parts and the growth of equity; once flat it is the sum of the round trips."""
    desk = Desk(venue, leverage)
    for step in steps:
        desk.step(step, short=short)
    collector = StatisticsCollector()
    for entry in desk.story.entries:
        collector.observe(entry)
    found = collector.result()

    gained = found.portfolio["equity"] - CASH
    assert found.values["net_pnl"] == sum(found.pnl_split.values(), ZERO) == gained
    if not desk.held:
        assert sum((trip.net for trip in found.round_trips), ZERO) == gained
    for trip in found.round_trips:
        assert trip.adverse <= trip.gross <= trip.favourable
        assert trip.opened_at <= trip.closed_at
    assert list(found.curve.times) == sorted(set(found.curve.times))
