"""One sequence of market data goes in by plain PUBLISH; everything that is found afterwards the system has made itself.

No test here publishes a signal, a decision, an order or a result that it then finds: what is published on those
channels is published to be refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from tests.e2e.market import Market
from tests.e2e.stack import Stack, eventually

LAYERS = [
    "data_quality",
    "position_limits",
    "daily_drawdown",
    "total_exposure",
    "circuit_breaker",
    "spread_check",
    "timeout_check",
]
EQUITY = Decimal(100_000)


@dataclass
class Trip:
    """One entry as it stands in PostgreSQL, from the signal to the last fill."""

    signal: dict[str, Any]
    decision: dict[str, Any]
    order: dict[str, Any]
    trades: list[dict[str, Any]]


def _enter(stack: Stack, market: Market, symbol: str) -> Trip:
    """Move a price up after some quiet minutes and wait for the entry that follows from it."""
    market.let_pass(4)
    market.move(symbol, "0.008")

    def found() -> Trip | None:
        signals = stack.rows("SELECT * FROM signals WHERE symbol = %s AND intent = 'entry'", symbol)
        for signal in signals:
            decisions = stack.events("risk_decisions", signal_id=signal["signal_id"])
            orders = stack.rows("SELECT * FROM orders WHERE signal_id = %s", signal["signal_id"])
            if decisions and orders and orders[0]["status"] == "filled":
                trades = stack.rows("SELECT * FROM trades WHERE order_id = %s", orders[0]["order_id"])
                return Trip(signal, decisions[0], orders[0], trades)
        return None

    return eventually(found, f"a filled entry of {symbol}", 60)


@pytest.fixture(scope="module")
def trip(stack: Stack, market: Market) -> Trip:
    """The price of BTCUSDT rises by 0.8 % within a minute: one entry, filled, still held."""
    trip = _enter(stack, market, "BTCUSDT")
    market.move("BTCUSDT", "0.002")  # goes on rising, so momentum holds the position for the next bar
    return trip


@pytest.mark.signal
def test_a_rising_price_becomes_a_signal(trip: Trip) -> None:
    """The strategy saw +0.8 % over one bar against its threshold of 0.4 %, and says so with its numbers."""
    assert trip.signal["signal_type"] == "buy"
    assert trip.signal["pct_change"] >= Decimal("0.004")
    assert Decimal(0) < trip.signal["confidence"] <= 1
    assert trip.signal["price"] == Decimal(50400)
    assert trip.signal["metadata"], "the numbers that produced the signal are kept"
    assert trip.signal["source"] == "cdb_core"


@pytest.mark.risk
def test_risk_decides_with_all_seven_layers(trip: Trip) -> None:
    """The decision is approved and shows each layer in its order with a code, and the portfolio that it saw."""
    layers = trip.decision["layers"]

    assert trip.decision["approved"] is True
    assert [layer["layer"] for layer in layers] == LAYERS
    assert {layer["status"] for layer in layers} == {"pass"}
    assert trip.decision["portfolio"]["equity"] == EQUITY
    assert trip.decision["portfolio"]["trading_state"] == "ACTIVE"


@pytest.mark.risk
def test_the_order_is_within_the_limits_and_on_the_grid(trip: Trip) -> None:
    """The order's worst value is at most 10 % of equity, its quantity on the lot grid, its price protects it."""
    order = trip.order

    assert order["decision_id"] == trip.decision["event_id"]
    assert order["side"] == "buy"
    assert order["purpose"] == "entry"
    assert order["size"] * order["price"] <= EQUITY * Decimal("0.10")
    assert order["size"] % Decimal("0.000001") == 0
    assert order["price"] > order["reference_price"]
    assert not order["reduce_only"]


def test_the_order_fills_on_paper_from_later_market_data(stack: Stack, trip: Trip) -> None:
    """Fills add up to the order, pay the taker fee, respect the protection price, and come after the latency."""
    assert sum(trade["size"] for trade in trip.trades) == trip.order["size"] == trip.order["filled_size"]
    order = next(event for event in stack.events("orders") if event["order_id"] == trip.order["order_id"])
    for trade in trip.trades:
        assert trade["execution_price"] <= trip.order["price"]
        assert trade["fees"] == pytest.approx(trade["size"] * trade["execution_price"] * Decimal("0.0005"))
        assert (trade["timestamp"] - trip.order["created_at"]).total_seconds() >= 0.250
        assert trade["slippage_bps"] > 0
        assert trade["metadata"], "the fill names its rule and numbers"
    assert order["type"] == "order"


def test_one_chain_leads_from_the_fill_back_to_the_feed(stack: Stack, trip: Trip) -> None:
    """Each event names its direct cause; walking back from a fill ends at cdb_ws or core's admission of the quote.

    All of them carry the id of the market data that began the chain, a quote of the same symbol.
    """
    by_id = {event["event_id"]: event for event in _all_events(stack)}
    results = stack.events("order_results", order_id=trip.order["order_id"])

    path = []
    event_id: str | None = results[-1]["event_id"]
    while event_id is not None:
        event = by_id[event_id]
        path.append(event["type"])
        event_id = event["causation_id"]
        assert event_id is None or by_id[event_id]["seq"] < event["seq"], "a cause comes before what follows from it"

    order = next(event for event in stack.events("orders") if event["order_id"] == trip.order["order_id"])
    began = by_id[order["correlation_id"]]
    assert [result["status"] for result in results] == ["NEW", "FILLED"]
    assert path[-1] in {"market_data", "control"}
    assert (began["type"], began["symbol"]) == ("market_data", "BTCUSDT")
    for event in (trip.decision, order, *results):
        assert event["correlation_id"] == began["event_id"]
    assert trip.signal["correlation_id"] == began["event_id"]


def _all_events(stack: Stack) -> list[dict[str, Any]]:
    rows = stack.rows("SELECT seq, data FROM event_store.events ORDER BY seq")
    return [{"seq": row["seq"], **json.loads(bytes(row["data"]), parse_float=Decimal)} for row in rows]


def test_position_and_portfolio_are_booked(stack: Stack, trip: Trip) -> None:
    """The position is what was bought; equity is cash plus the position at its price; fees are what was paid."""

    def booked() -> dict[str, Any] | None:
        positions = stack.rows("SELECT * FROM positions WHERE symbol = 'BTCUSDT' AND opened_at IS NOT NULL")
        return positions[0] if positions else None

    bought = sum(trade["size"] for trade in trip.trades)
    position = eventually(booked, "a position of BTCUSDT", 30)
    snapshots = stack.rows("SELECT * FROM portfolio_snapshots WHERE open_positions = 1 ORDER BY timestamp")
    fees = sum(trade["fees"] for trade in stack.rows("SELECT fees FROM trades"))

    assert position["size"] == bought
    assert position["side"] == "long"
    assert snapshots
    for snapshot in snapshots:
        books = EQUITY + snapshot["total_realized_pnl"] + snapshot["total_unrealized_pnl"] - snapshot["total_fees"]
        assert abs(snapshot["total_equity"] - books) < Decimal("0.000001")
    assert snapshots[-1]["total_fees"] <= fees


def test_a_wide_spread_is_refused_and_the_refusal_is_explained(stack: Stack, market: Market, trip: Trip) -> None:
    """The same rise with a spread of 1 % makes a signal, a refusal by spread_check with value and limit, no order."""
    market.quotes["ETHUSDT"].spread_pct = Decimal("0.01")
    market.let_pass(3)
    market.move("ETHUSDT", "0.009")

    def refused() -> dict[str, Any] | None:
        found = [
            decision
            for decision in stack.events("risk_decisions", symbol="ETHUSDT", purpose="entry")
            if decision["signal_id"] is not None
        ]
        return found[0] if found else None

    decision = eventually(refused, "a decision on ETHUSDT", 60)
    spread = next(layer for layer in decision["layers"] if layer["layer"] == "spread_check")
    market.quotes["ETHUSDT"].spread_pct = Decimal("0.0001")

    assert decision["approved"] is False
    assert "spread_check" in decision["reason"]
    assert spread["status"] == "fail"
    assert spread["value"] > spread["limit"] == Decimal("0.005")
    assert stack.rows("SELECT * FROM orders WHERE signal_id = %s", decision["signal_id"]) == []
    assert decision["sizing"]["approved"] == 0


def test_what_was_bought_is_sold_when_momentum_ends(stack: Stack, market: Market, trip: Trip) -> None:
    """The price stands still, so the strategy wants out: everything held is sold by reduce-only orders."""

    def flat() -> dict[str, Any] | None:
        rows = stack.rows("SELECT * FROM positions WHERE symbol = 'BTCUSDT' AND size = 0 AND closed_at IS NOT NULL")
        return rows[0] if rows else None

    eventually(flat, "BTCUSDT is flat", 60)
    sides = {
        side: stack.rows("SELECT * FROM trades WHERE symbol = 'BTCUSDT' AND side = %s", side)
        for side in ("buy", "sell")
    }

    assert sum(trade["size"] for trade in sides["sell"]) == sum(trade["size"] for trade in sides["buy"])
    assert {trade["purpose"] for trade in sides["sell"]} == {"exit"}
    assert all(order["reduce_only"] for order in stack.rows("SELECT * FROM orders WHERE side = 'sell'"))


@pytest.mark.risk
def test_a_fall_through_the_stop_sells_at_once(stack: Stack, market: Market, trip: Trip) -> None:
    """SOLUSDT is bought and then falls by 3 %: the stop loss of 2 % sells it all, at a loss that the books show."""
    entry = _enter(stack, market, "SOLUSDT")
    market.move("SOLUSDT", "-0.03")

    def flat() -> dict[str, Any] | None:
        rows = stack.rows("SELECT * FROM positions WHERE symbol = 'SOLUSDT' AND size = 0 AND closed_at IS NOT NULL")
        return rows[0] if rows else None

    position = eventually(flat, "SOLUSDT is flat", 60)
    sold = stack.rows("SELECT * FROM trades WHERE symbol = 'SOLUSDT' AND side = 'sell'")
    stop = next(event for event in stack.events("risk_decisions", symbol="SOLUSDT", purpose="stop_loss"))

    assert sum(trade["size"] for trade in sold) == sum(trade["size"] for trade in entry.trades)
    assert "stop_loss" in {trade["purpose"] for trade in sold}
    assert position["realized_pnl"] < 0
    assert stop["approved"] is True
    assert stop["signal_id"] is None


@pytest.mark.security
def test_an_order_from_outside_is_never_executed(stack: Stack, trip: Trip) -> None:
    """An order by PUBLISH goes to the dead letters with a CRITICAL alert; no result, no trade, no event comes of it."""
    forged = {
        "type": "order",
        "order_id": "ord-forged",
        "client_order_id": "cdb-forged",
        "decision_id": trip.decision["event_id"],
        "symbol": "BTCUSDT",
        "side": "BUY",
        "order_type": "MARKET",
        "quantity": 1.0,
        "purpose": "entry",
    }
    with stack.redis("service") as client:
        client.publish("orders", json.dumps(forged))

        def buried() -> bool:
            return any(b"ord-forged" in b"".join(fields.values()) for _, fields in client.xrange("dead_letter"))

        eventually(buried, "the forged order among the dead letters", 30)
    alert = eventually(
        lambda: [alert for alert in stack.events("alerts", level="CRITICAL") if alert["producer"] == "cdb_execution"],
        "a CRITICAL alert of cdb_execution",
        30,
    )

    assert alert
    assert stack.rows("SELECT * FROM orders WHERE order_id = 'ord-forged'") == []
    assert stack.events("order_results", order_id="ord-forged") == []


@pytest.mark.security
def test_nonsense_on_market_data_is_quarantined_and_harms_nobody(stack: Stack, market: Market, trip: Trip) -> None:
    """NaN, missing prices, wrong types and text are kept as dead letters with a reason; the services stay healthy."""
    nonsense = [
        '{"type":"market_data","symbol":"BTCUSDT","price":NaN,"nonsense":1}',
        '{"type":"market_data","symbol":"BTCUSDT","volume":1.0,"nonsense":2}',
        '{"type":"market_data","symbol":"BTCUSDT","price":-5.0,"volume":1.0,"nonsense":3}',
        '{"type":"market_data","symbol":"?","price":5.0,"nonsense":4}',
        "nonsense 5 {",
    ]
    with stack.redis("operator") as client:
        before = client.xlen("dead_letter")
        for message in nonsense:
            client.publish("market_data", message)

        eventually(lambda: client.xlen("dead_letter") >= before + len(nonsense), "five dead letters", 30)
        letters = [fields for _, fields in client.xrevrange("dead_letter", count=50)]

    reasons = {fields[b"reason"] for fields in letters if b"nonsense" in b"".join(fields.values())}
    assert len(reasons) >= 4
    stack.await_healthy()


@pytest.mark.risk
def test_halt_by_publish_stops_entries(stack: Stack, market: Market, trip: Trip) -> None:
    """`control: halt` by PUBLISH is admitted by the writer; the next rise is refused by the circuit breaker layer."""
    with stack.redis("operator") as client:
        client.publish(
            "control",
            json.dumps({"type": "control", "action": "halt", "by": "e2e", "reason": "test of the kill switch"}),
        )
    eventually(lambda: stack.events("control", action="halt"), "the halt in the event store", 30)
    before = len(stack.events("risk_decisions", symbol="ETHUSDT", purpose="entry"))
    market.let_pass(3)
    market.move("ETHUSDT", "0.009")

    def refused() -> dict[str, Any] | None:
        found = stack.events("risk_decisions", symbol="ETHUSDT", purpose="entry")
        return found[-1] if len(found) > before else None

    decision = eventually(refused, "another decision on ETHUSDT", 60)

    assert decision["approved"] is False
    assert "circuit_breaker" in decision["reason"]
    assert decision["portfolio"]["trading_state"] == "HALTED"
