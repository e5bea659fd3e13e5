"""The tables on perpetuals: positions with margin, funding and liquidation as facts, snapshots that balance."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.cdb_writer.rows import OrderRow, PositionRow, SnapshotRow, TradeRow
from services.common.errors import ContractViolation, IllegalTransition
from services.common.events import Order
from services.common.identity import client_order_id, derive_id, order_id
from services.common.instruments import PERPETUAL
from tests.unit.writer.journal_story import Story
from tests.unit.writer.test_writer_projection import Tables

pytestmark = pytest.mark.unit

D = Decimal


class PerpetualStory(Story):
    """A run on the BTC perpetual."""

    def mark(self, price: str) -> None:
        """Quote with a mark price."""
        self.quote(D(price), venue=PERPETUAL, mark_price=D(price))

    def enter(self, quantity: str, price: str, *, short: bool = False, leverage: int = 5) -> Order:
        """Append an entry order."""
        return self._order(quantity, price, "SELL" if short else "BUY", "entry", leverage)

    def leave(self, quantity: str, price: str, *, short: bool = False) -> Order:
        """Append a reduce-only order."""
        return self._order(quantity, price, "BUY" if short else "SELL", "exit", 1)

    def _order(self, quantity: str, price: str, side: Any, purpose: Any, leverage: int) -> Order:
        decided = derive_id(self.run_id, "decision", len(self.entries))
        order = Order(
            **self.common("cdb_risk"),
            order_id=order_id(decided),
            client_order_id=client_order_id(decided),
            signal_id=None,
            decision_id=decided,
            venue=PERPETUAL,
            symbol="BTCUSDT",
            side=side,
            order_type="LIMIT",
            quantity=D(quantity),
            price=D(price),
            reduce_only=purpose != "entry",
            leverage=leverage,
            purpose=purpose,
            reference_price=D(price),
        )
        self.add(order)
        return order

    def fact(self, action: str, **details: Any) -> None:
        """Append what the exchange did."""
        self.control("cdb_execution", action, details={"venue": PERPETUAL, "symbol": "BTCUSDT", **details})


@pytest.fixture
def story() -> PerpetualStory:
    """A run that has just begun."""
    story = PerpetualStory()
    story.begin()
    return story


def last(tables: Tables) -> tuple[PositionRow, SnapshotRow]:
    """Return the position and the newest snapshot, whose books balance."""
    (position,) = tables.fold().of(PositionRow)
    snapshot = tables.of(SnapshotRow)[-1]
    assert snapshot.total_equity == snapshot.cash + snapshot.total_margin + snapshot.total_unrealized_pnl
    made = snapshot.total_realized_pnl + snapshot.total_unrealized_pnl + snapshot.total_funding - snapshot.total_fees
    assert snapshot.total_equity == 100_000 + made
    return position, snapshot


def test_a_short_with_leverage(story: PerpetualStory) -> None:
    """Short 0.5 at 40000 with leverage 5: margin 4000, liquidation at 48000 / 1.0014; at 39000 it is 500 up."""
    tables = Tables(story)
    story.mark("40000")
    order = story.enter("0.5", "40000", short=True)
    story.tick()
    _, working = None, tables.fold()
    story.fill(order, D("0.5"), D(40_000), fee=D(16))
    story.mark("39000")
    story.tick(60)
    position, snapshot = last(tables)
    assert working.of(OrderRow)[0].leverage == 5
    assert (position.side, position.size, position.entry_price, position.margin) == ("short", D("0.5"), 40_000, 4_000)
    assert (position.unrealized_pnl, position.stop_loss_price) == (500, 40_800)
    assert position.liquidation_price == D("47932.893948472139")
    assert (snapshot.cash, snapshot.total_margin, snapshot.total_exposure) == (95_984, 4_000, 19_500)
    assert snapshot.total_equity == 100_484


def test_a_working_entry_reserves_its_margin(story: PerpetualStory) -> None:
    """Not its notional; long and short alike."""
    story.mark("40000")
    story.enter("0.5", "40000", short=True)
    story.tick(60)
    (_, snapshot) = Tables(story).fold().of(SnapshotRow)
    assert snapshot.available_balance == 96_000


def test_funding_changes_cash_and_no_trade(story: PerpetualStory) -> None:
    """2 USDT are paid: cash and equity fall by 2, the position shows them, and the trades stay as they are."""
    tables = Tables(story)
    story.mark("40000")
    story.fill(story.enter("0.5", "40000"), D("0.5"), D(40_000), fee=D(16))
    story.tick()
    story.fact("funding", amount=D(-2), rate=D("0.0001"))
    position, snapshot = last(tables)
    assert (position.funding, snapshot.total_funding, snapshot.cash) == (-2, -2, 95_982)
    assert len(tables.of(TradeRow)) == 1


def test_a_liquidation_closes_the_position_and_loses_its_margin(story: PerpetualStory) -> None:
    """Position flat, realised -4000, cash as before; no trade is made up for it."""
    tables = Tables(story)
    story.mark("40000")
    story.fill(story.enter("0.5", "40000"), D("0.5"), D(40_000), fee=D(16))
    story.mark("32000")
    story.tick()
    story.fact("liquidation")
    position, snapshot = last(tables)
    assert (position.side, position.size, position.margin, position.realized_pnl) == ("none", 0, 0, -4_000)
    assert position.closed_at is not None
    assert position.liquidation_price is None
    assert (snapshot.total_equity, snapshot.open_positions, snapshot.total_margin) == (95_984, 0, 0)
    assert len(tables.of(TradeRow)) == 1


def test_a_partial_close_gives_back_its_share(story: PerpetualStory) -> None:
    """Half of a short is bought back 1000 lower: 250 realised, half the margin is free."""
    tables = Tables(story)
    story.mark("40000")
    story.fill(story.enter("0.5", "40000", short=True), D("0.5"), D(40_000), fee=D(0))
    story.mark("39000")
    story.tick()
    story.fill(story.leave("0.25", "39000", short=True), D("0.25"), D(39_000), fee=D(0))
    position, _ = last(tables)
    assert (position.size, position.margin, position.realized_pnl) == (D("0.25"), 2_000, 250)
    assert tables.of(TradeRow)[-1].realized_pnl == 250


@pytest.mark.parametrize(
    ("action", "details", "error"),
    [
        ("funding", {"amount": "2"}, "amount='2' is no number"),
        ("funding", {"amount": D(1), "venue": "mexc_spot"}, "is no perpetual"),
        ("liquidation", {"symbol": 7}, "is no perpetual"),
    ],
)
def test_facts_that_do_not_say_what_they_must_are_faults(
    story: PerpetualStory, action: str, details: dict[str, Any], error: str
) -> None:
    """Never booked, never passed over."""
    story.fact(action, **details)
    with pytest.raises(ContractViolation, match=error):
        Tables(story).fold()


def test_facts_about_nothing_are_faults(story: PerpetualStory) -> None:
    """Nothing was traded; and before risk said what the account holds there are no books."""
    story.fact("liquidation")
    with pytest.raises(IllegalTransition):
        Tables(story).fold()
    unopened = PerpetualStory()
    unopened.control("cdb_ws", "started", service="cdb_ws", run_id="run-1")
    unopened.fact("funding", amount=D(1))
    with pytest.raises(ContractViolation, match="before any books were opened"):
        Tables(unopened).fold()


def test_others_cannot_say_it(story: PerpetualStory) -> None:
    """Only cdb_execution speaks for the exchange."""
    story.control("operator", "liquidation", details={"venue": PERPETUAL, "symbol": "BTCUSDT"})
    Tables(story).fold()
