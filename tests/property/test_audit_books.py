"""Two ledgers that were written apart agree: the pipeline's, in decimals, and the auditor's, in fractions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claire.audit.books import Books
from services.common.events import Control, Event, Order, OrderResult
from services.common.instruments import PERPETUAL, instrument_key
from services.common.journal.entry import Entry, JournalId
from services.common.perpetual_facts import book_fact
from services.common.portfolio import Portfolio

pytestmark = pytest.mark.unit

CASH = Decimal(100_000)
PRICES = st.decimals(min_value=Decimal("0.5"), max_value=Decimal(90_000), places=4)
QUANTITIES = st.decimals(min_value=Decimal("0.001"), max_value=Decimal(50), places=3)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["mexc_spot", PERPETUAL]), st.sampled_from(["BUY", "SELL"]), QUANTITIES, PRICES,
        st.sampled_from([1, 3, 7]), st.sampled_from(["fill", "fill", "fill", "funding", "liquidation", "base fee"]),
    ),
    max_size=30,
)  # fmt: skip


class Both:
    """The two ledgers."""

    def __init__(self) -> None:
        self.books, self.portfolio = Books(), Portfolio.with_cash(CASH)
        self.n = 0
        self.say(Control(**self.common("cdb_ws"), action="started", service="cdb_ws", run_id="r"))
        details = {"settings": {"ACCOUNT_EQUITY": CASH}, "settings_hash": "x", "code_version": "x"}
        self.say(Control(**self.common("cdb_risk"), action="config", service="cdb_risk", details=details))

    def common(self, producer: str) -> dict[str, Any]:
        """What every event has."""
        return {"event_id": f"e{self.n}", "timestamp": self.n, "producer": producer}

    def say(self, event: Event) -> None:
        """Let the auditor book an event."""
        self.n += 1
        entry = Entry.of(JournalId(1, self.n), event.producer, "1", event)
        assert self.books.check(entry, None) is None

    def fill(self, venue: str, side: str, quantity: Decimal, price: Decimal, leverage: int, *, base: bool) -> None:
        """Fill one order in whole."""
        order: dict[str, Any] = {
            "order_id": f"o{self.n}", "client_order_id": f"c{self.n}", "venue": venue, "symbol": "BTCUSDT",
            "side": side, "quantity": quantity,
        }  # fmt: skip
        ordered = Order(
            **self.common("cdb_risk"), **order, signal_id=None, decision_id="d", order_type="MARKET", price=None,
            reduce_only=False, leverage=leverage, purpose="entry", reference_price=None,
        )  # fmt: skip
        result = OrderResult(
            **self.common("cdb_execution"), **order, status="FILLED", filled_quantity=quantity, average_price=price,
            last_quantity=quantity, last_price=price, fee=Decimal("0.0001") if base else price * Decimal("0.0005"),
            fee_currency="BTC" if base else "USDT",
        )  # fmt: skip
        self.say(ordered)
        self.portfolio.book(result, leverage)
        self.say(result)

    def fact(self, action: str, amount: Decimal) -> None:
        """Let the exchange pay, take, or liquidate."""
        details = {"venue": PERPETUAL, "symbol": "BTCUSDT", "amount": amount}
        event = Control(**self.common("cdb_execution"), action=action, service="cdb_execution", details=details)  # type: ignore[arg-type]
        book_fact(self.portfolio, event)
        self.say(event)


@given(steps=STEPS)
def test_both_ledgers_agree(steps: list[tuple[str, str, Decimal, Decimal, int, str]]) -> None:
    """After any fills, funding and liquidations: the same cash to 9 decimals, the same positions."""
    both = Both()
    key = instrument_key(PERPETUAL, "BTCUSDT")
    for venue, side, quantity, price, leverage, kind in steps:
        held = both.portfolio.position(venue, "BTCUSDT").quantity
        if kind == "funding" and key in both.portfolio.positions:
            both.fact("funding", price - 40_000)
        elif kind == "liquidation" and both.portfolio.position(PERPETUAL, "BTCUSDT").quantity:
            both.fact("liquidation", Decimal(0))
        elif kind in {"fill", "base fee"}:
            sold = venue == "mexc_spot" and side == "SELL"
            against = held * (1 if side == "BUY" else -1) < 0
            traded = min(quantity, abs(held)) if sold or against else quantity
            if traded > 0:
                base = kind == "base fee" and venue == "mexc_spot" and side == "BUY"
                both.fill(venue, side, traded, price, leverage, base=base)
        positions = {name: position.quantity for name, position in both.portfolio.positions.items()}
        assert both.books.differences_from(both.portfolio.cash, positions) == []


def test_a_wrong_ledger_is_noticed() -> None:
    """Another cash, and a position that nobody filled."""
    both = Both()
    both.fill("mexc_spot", "BUY", Decimal(1), Decimal(100), 1, base=False)
    found = both.books.differences_from(both.portfolio.cash + 1, {"mexc_spot:BTCUSDT": Decimal(1), "x": Decimal(2)})
    assert [name for name, _, _ in found] == ["cash", "x"]
    assert both.books.held == {"mexc_spot:BTCUSDT": 1}
