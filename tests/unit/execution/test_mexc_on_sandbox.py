"""Client and streams against an exchange that speaks MEXC's protocol: place, ask, cancel, hear, and every fault."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from services.cdb_execution.adapters.keys import Keys, MexcAddresses
from services.cdb_execution.adapters.open_account import open_account
from services.cdb_execution.exchange import OrderReport, StreamState, Trade
from tests.unit.execution.mexc_desk import contract_order, order

sandbox = pytest.importorskip("services.cdb_sandbox.sandbox")
faults = pytest.importorskip("services.cdb_sandbox.faults")

pytestmark = pytest.mark.slow


@pytest.fixture
def mexc() -> Iterator[Any]:
    """An exchange whose quotes stand still: BTC at 60 000."""
    with sandbox.SandboxExchange() as running:
        yield running


def account(mexc: Any, venue: Any) -> Any:
    """Return client and stream of the sandbox's account."""
    addresses = MexcAddresses(
        MEXC_REST_URL=mexc.rest_url, MEXC_WS_URL=mexc.spot_ws_url, MEXC_PERPETUAL_REST_URL=mexc.rest_url,
        MEXC_PERPETUAL_WS_URL=mexc.perpetual_ws_url, MEXC_TIMEOUT_SEC=1,
    )  # fmt: skip
    return open_account(venue, Keys(mexc.api_key, mexc.api_secret), addresses)


def buy(venue: str, **changes: Any) -> Any:
    """Return a buy that fills at once."""
    make = order if venue == "mexc_spot" else contract_order
    return make(**{"price": Decimal(60_100), **changes})


def heard(told: queue.SimpleQueue[Any], enough: Callable[[list[Any]], bool]) -> list[Any]:
    """Collect what a stream tells until it is enough."""
    found: list[Any] = []
    while not enough(found):
        found.append(told.get(timeout=10))
    return found


@pytest.mark.parametrize("venue", ["mexc_spot", "mexc_perpetual"])
def test_an_order_is_placed_heard_of_asked_for_and_accounted_for(mexc: Any, venue: Any) -> None:
    """The stream and the questions tell the same fills under the same ids."""
    exchange, stream = account(mexc, venue)
    assert [spec.symbol for spec in exchange.instruments(["BTCUSDT"])] == ["BTCUSDT"]
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stream.start(told.put)
    assert told.get(timeout=10) == StreamState(connected=True)

    outcome = exchange.place(buy(venue))
    pushed = heard(told, lambda found: {Trade, OrderReport} <= {type(each) for each in found
                   if not isinstance(each, OrderReport) or each.status == "FILLED"})  # fmt: skip
    stream.stop()

    assert outcome.verdict == "accepted", outcome
    report = exchange.query("BTCUSDT", "cdb-1")
    assert report.status == "FILLED"
    assert report.exchange_order_id == outcome.exchange_order_id
    trades = exchange.trades("BTCUSDT", report.time - 60_000_000)
    assert sum(trade.quantity for trade in trades) == report.filled_quantity == Decimal("0.001")
    assert sum(trade.quantity * trade.price for trade in trades) == report.filled_notional
    assert {each.trade_id for each in pushed if isinstance(each, Trade)} == {trade.trade_id for trade in trades}
    assert exchange.open_orders(["BTCUSDT"]) == []
    assert exchange.balances()
    if venue == "mexc_perpetual":
        (position,) = exchange.positions()
        assert (position.quantity, position.leverage) == (Decimal("0.001"), 2)
        closed = exchange.place(
            buy(venue, side="SELL", reduce_only=True, client_order_id="cdb-2", price=Decimal(59_000))
        )
        assert closed.verdict == "accepted", closed
        assert exchange.positions() == []


@pytest.mark.parametrize("venue", ["mexc_spot", "mexc_perpetual"])
def test_a_working_order_is_cancelled_by_id_and_all_at_once(mexc: Any, venue: Any) -> None:
    """What is not known is none; what has ended stays ended."""
    exchange, _ = account(mexc, venue)
    resting = {"time_in_force": "GTC", "price": Decimal(50_000)}
    for name in ("cdb-1", "cdb-2"):
        assert exchange.place(buy(venue, client_order_id=name, **resting)).verdict == "accepted"

    assert {each.client_order_id for each in exchange.open_orders(["BTCUSDT"])} == {"cdb-1", "cdb-2"}
    assert exchange.cancel("BTCUSDT", "cdb-1").status == "CANCELED"
    assert exchange.cancel("BTCUSDT", "cdb-1").status == "CANCELED"
    assert exchange.cancel("BTCUSDT", "nobody") is None
    assert exchange.query("BTCUSDT", "nobody") is None
    exchange.cancel_all("BTCUSDT")
    assert exchange.open_orders(["BTCUSDT"]) == []


@pytest.mark.parametrize("venue", ["mexc_spot", "mexc_perpetual"])
@pytest.mark.parametrize(
    ("fault", "verdicts", "there"),
    [
        ("TIMEOUT_AFTER", {"unknown"}, True),
        ("TIMEOUT_BEFORE", {"unknown"}, False),
        ("CUT_AFTER", {"unknown"}, True),
        ("CUT_BEFORE", {"unknown"}, False),
        ("SERVER_ERROR_AFTER", {"unknown"}, True),
        ("SERVER_ERROR_BEFORE", {"unknown"}, False),
    ],
)
def test_what_faults_leave_behind_is_unknown_and_then_asked_for(
    mexc: Any, venue: Any, fault: str, verdicts: set[str], there: bool
) -> None:
    """Never said refused when it may be there; the question tells."""
    exchange, _ = account(mexc, venue)
    exchange.instruments(["BTCUSDT"])
    exchange.balances()
    path = "/api/v3/order" if venue == "mexc_spot" else "/api/v1/private/order/create"
    mexc.inject(faults.Fault(kind=faults.FaultKind[fault], where=f"POST {path}", delay_ms=1_500))

    outcome = exchange.place(buy(venue))

    assert outcome.verdict in verdicts
    assert (exchange.query("BTCUSDT", "cdb-1") is not None) == there


def test_an_order_that_the_exchange_refuses_is_refused(mexc: Any) -> None:
    """By code; and the test endpoint says the same without placing."""
    exchange, _ = account(mexc, "mexc_spot")
    small = buy("mexc_spot", quantity=Decimal("0.000001"))

    assert exchange.test(buy("mexc_spot")).verdict == "accepted"
    assert exchange.test(small).verdict == exchange.place(small).verdict == "refused"
    assert exchange.query("BTCUSDT", "cdb-1") is None


@pytest.mark.parametrize(
    ("kind", "details", "verdict"),
    [
        ("RATE_LIMIT", {"retry_after": 1}, "unknown"),
        ("BAN", {"retry_after": 1}, "unknown"),
        ("CLOCK_SKEW", {"skew_ms": 60_000}, "refused"),
        ("REJECT", {"code": 30004, "message": "Insufficient"}, "refused"),
        ("SLOW", {"delay_ms": 100}, "accepted"),
        ("PARTIAL_FILL", {"share": Decimal("0.5")}, "accepted"),
    ],
)
def test_each_other_fault_of_sending_has_its_verdict(
    mexc: Any, kind: str, details: dict[str, Any], verdict: str
) -> None:
    """What was refused for a listed code is not there; what was accepted is, whole or in part."""
    exchange, _ = account(mexc, "mexc_spot")
    exchange.balances()
    mexc.inject(faults.Fault(kind=faults.FaultKind[kind], where="POST /api/v3/order", **details))

    outcome = exchange.place(buy("mexc_spot"))

    assert outcome.verdict == verdict, outcome
    report = exchange.query("BTCUSDT", "cdb-1")
    assert (report is not None) == (verdict == "accepted")
    if kind == "PARTIAL_FILL":
        assert (report.status, report.filled_quantity) == ("CANCELED", Decimal("0.0005"))


@pytest.mark.parametrize(
    ("venue", "kind", "where"),
    [
        ("mexc_spot", "DISCONNECT", "spot@private.deals.v3.api.pb"),
        ("mexc_perpetual", "DISCONNECT", "push.personal.order.deal"),
        ("mexc_spot", "BLOCKED", "spot@private.orders.v3.api.pb"),
        ("mexc_spot", "INVALID_LISTEN_KEY", "*"),
    ],
)
def test_a_stream_that_is_interrupted_says_so_and_comes_back(mexc: Any, venue: Any, kind: str, where: str) -> None:
    """What was missed is found by asking: the interruption is told before the new beginning."""
    exchange, stream = account(mexc, venue)
    exchange.instruments(["BTCUSDT"])
    mexc.inject(faults.Fault(kind=faults.FaultKind[kind], where=where))
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stream.start(told.put)
    if kind == "DISCONNECT":
        assert told.get(timeout=10) == StreamState(connected=True)
        assert exchange.place(buy(venue)).verdict == "accepted"

    found = heard(told, lambda each: StreamState(connected=True) in each)
    stream.stop()

    assert [each.connected for each in found if isinstance(each, StreamState)] == [False, True]
    if kind == "DISCONNECT":
        assert len(exchange.trades("BTCUSDT", 0)) == 1


@pytest.mark.parametrize(("venue", "kind"), [("mexc_spot", "DUPLICATE"), ("mexc_perpetual", "GZIP")])
def test_repeated_and_compressed_pushes_are_passed_on_with_their_ids(mexc: Any, venue: Any, kind: str) -> None:
    """Whoever counts by id counts each fill once."""
    exchange, stream = account(mexc, venue)
    exchange.instruments(["BTCUSDT"])
    mexc.inject(faults.Fault(kind=faults.FaultKind[kind], where="*deal*", count=None))
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stream.start(told.put)
    assert told.get(timeout=10) == StreamState(connected=True)

    assert exchange.place(buy(venue)).verdict == "accepted"
    times = 2 if kind == "DUPLICATE" else 1
    found = heard(told, lambda each: sum(isinstance(one, Trade) for one in each) == times)
    stream.stop()

    assert len({each.trade_id for each in found if isinstance(each, Trade)}) == 1
