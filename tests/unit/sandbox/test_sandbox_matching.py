"""How orders trade in the sandbox exchange: price-time priority against the recorded market, fees, filters."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.cdb_sandbox.faults import Fault, FaultKind
from tests.unit.sandbox.sandbox_desk import SandboxDesk

pytestmark = pytest.mark.unit


@pytest.fixture
def desk() -> SandboxDesk:
    """A fresh exchange."""
    return SandboxDesk()


def test_a_marketable_limit_order_fills_at_the_offers_price_and_pays_its_fee_in_base_coin(desk: SandboxDesk) -> None:
    """A buy above the ask fills at the ask; the fee is taken from the coin bought; the surplus is unlocked."""
    placed = desk.limit("BUY", "0.5", "60100", newClientOrderId="bot-1")

    order, trade = desk.order(placed), desk.spot("GET", "myTrades", symbol="BTCUSDT")[0]
    assert (order["status"], order["executedQty"], order["cummulativeQuoteQty"]) == ("FILLED", "0.5", "30000.005")
    assert (trade["commission"], trade["commissionAsset"], trade["isMaker"]) == ("0.00025", "BTC", False)
    assert desk.free("BTC") == Decimal("1.49975")
    assert desk.free("USDT") == Decimal(100_000) - Decimal("30000.005")
    assert desk.house.exchange.wallets["claire"].locked["USDT"] == 0


def test_the_rest_of_a_limit_order_waits_behind_the_queue_and_fills_when_it_is_consumed(desk: SandboxDesk) -> None:
    """At its own price an order fills only with what recorded trades leave after the queue ahead of it."""
    placed = desk.limit("BUY", "0.4", "60000")

    desk.trade("60000", "0.9", "SELL")
    before = desk.order(placed)
    desk.trade("60000", "0.3", "SELL")
    after = desk.order(placed)

    assert before["executedQty"] == "0"
    assert (after["status"], after["executedQty"]) == ("PARTIALLY_FILLED", "0.2")


def test_a_trade_through_the_price_fills_an_order_whole_at_its_own_price(desk: SandboxDesk) -> None:
    """Nobody sells lower while a better bid waits: the order was filled before."""
    placed = desk.limit("BUY", "0.4", "59990")

    desk.trade("59989.99", "0.001", "SELL")

    order = desk.order(placed)
    assert (order["status"], order["cummulativeQuoteQty"]) == ("FILLED", "23996")
    assert desk.spot("GET", "myTrades", symbol="BTCUSDT")[0]["isMaker"] is True


def test_a_quote_that_crosses_a_resting_order_fills_it_with_what_it_offers(desk: SandboxDesk) -> None:
    """A recorded ask at or below our bid trades with it, at our price, as far as it goes."""
    placed = desk.limit("BUY", "0.4", "59990")

    desk.quote("59980", "1", "59985", "0.1")

    assert desk.order(placed)["executedQty"] == "0.1"
    assert desk.order(placed)["cummulativeQuoteQty"] == "5999"


def test_own_orders_trade_in_order_of_time(desk: SandboxDesk) -> None:
    """Of two own bids at a price the earlier one fills first."""
    first, second = desk.limit("BUY", "0.1", "60000"), desk.limit("BUY", "0.1", "60000")

    desk.trade("60000", "1.15", "SELL")

    assert [desk.order(o)["executedQty"] for o in (first, second)] == ["0.1", "0.05"]


def test_taken_liquidity_comes_back_only_with_another_quote(desk: SandboxDesk) -> None:
    """Two orders cannot take the same recorded offer."""
    desk.limit("BUY", "0.6", "60000.01", "IMMEDIATE_OR_CANCEL")
    second = desk.limit("BUY", "0.6", "60000.01", "IMMEDIATE_OR_CANCEL")
    desk.quote("60000", "1", "60000.01", "2")
    third = desk.limit("BUY", "0.6", "60000.01", "IMMEDIATE_OR_CANCEL")

    assert (desk.order(second)["status"], desk.order(second)["executedQty"]) == ("PARTIALLY_CANCELED", "0.4")
    assert desk.order(third)["status"] == "FILLED"


@pytest.mark.parametrize(
    ("kind", "quantity", "price", "status"),
    [
        ("FILL_OR_KILL", "1.1", "60000.01", "CANCELED"),
        ("FILL_OR_KILL", "1", "60000.01", "FILLED"),
        ("IMMEDIATE_OR_CANCEL", "1", "59999", "CANCELED"),
        ("LIMIT_MAKER", "0.1", "60000.01", "CANCELED"),
        ("LIMIT_MAKER", "0.1", "60000", "NEW"),
    ],
)
def test_each_type_keeps_its_time_in_force(
    desk: SandboxDesk, kind: str, quantity: str, price: str, status: str
) -> None:
    """FOK is all or nothing, IOC leaves nothing behind, post-only never takes."""
    assert desk.order(desk.limit("BUY", quantity, price, kind))["status"] == status


def test_a_market_buy_spends_a_quote_amount(desk: SandboxDesk) -> None:
    """QuoteOrderQty buys as many lots as it pays for."""
    placed = desk.spot("POST", "order", symbol="BTCUSDT", side="BUY", type="MARKET", quoteOrderQty="30000")

    assert desk.order(placed)["executedQty"] == "0.499999"


def test_a_cancelled_order_gives_back_what_it_had_locked(desk: SandboxDesk) -> None:
    """Cancelling twice is refused as unknown, as MEXC does."""
    placed = desk.limit("SELL", "0.5", "61000")
    cancelled = desk.spot("DELETE", "order", symbol="BTCUSDT", orderId=placed["orderId"])
    again = desk.spot("DELETE", "order", symbol="BTCUSDT", orderId=placed["orderId"])

    assert (cancelled["status"], again["code"]) == ("CANCELED", -2011)
    assert desk.free("BTC") == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"symbol": "NOPEUSDT"}, -1121),
        ({"quantity": "0.00001"}, 30002),
        ({"quantity": "100"}, 30003),
        ({"quantity": "5"}, 30004),
        ({"quantity": "0.0000001"}, 10096),
        ({"quantity": "0"}, 10102),
        ({"price": "60000.001"}, 33333),
        ({"newClientOrderId": "ä"}, 700008),
        ({"side": "HOLD"}, 33333),
        ({"price": ""}, -1128),
    ],
)
def test_what_exchange_info_forbids_is_refused_with_its_code(
    desk: SandboxDesk, change: dict[str, str], code: int
) -> None:
    """Grids, minimums, maximums and balances are checked, and nothing is placed."""
    fields = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "quantity": "0.1", "price": "60000"}

    assert desk.spot("POST", "order", **(fields | change))["code"] == code
    assert desk.house.exchange.records.orders == {}


def test_a_partial_fill_on_request_takes_a_share_and_leaves_the_rest(desk: SandboxDesk) -> None:
    """The fault fills half at once; the rest of the liquidity is gone to others."""
    fault = Fault(kind=FaultKind.PARTIAL_FILL, share=Decimal("0.5"))
    fields = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "60000.01"}

    placed = desk.spot("POST", "order", fault=fault, **fields)

    assert desk.order(placed)["status"] == "PARTIALLY_FILLED"
    assert desk.order(placed)["executedQty"] == "0.5"
