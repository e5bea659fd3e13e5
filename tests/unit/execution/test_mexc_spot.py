"""The spot account: how orders are written, how answers are read."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import pytest

from services.cdb_execution.adapters import spot as spot_module
from services.cdb_execution.adapters.transport import TransportFailure
from services.cdb_execution.exchange import Balance, OrderReport, PlaceOutcome, Trade
from services.common.errors import (
    ExchangeAnswerInvalid,
    ExchangeHistoryTooLong,
    ExchangeRefused,
    ExchangeUnreachable,
)
from services.common.mexc.signing import spot_signature
from tests.unit.execution.mexc_desk import ACCESS, NOW_MS, SECRET, Script, answer, order, spot
from tests.unit.mexc.published import EXCHANGE_INFO

ACK = {
    "symbol": "BTCUSDT", "orderId": "C02__505979017439002624115", "orderListId": -1, "price": "50000",
    "origQty": "0.001", "type": "IMMEDIATE_OR_CANCEL", "side": "BUY", "transactTime": 1666676533741,
}  # fmt: skip
QUERIED = {
    "symbol": "BTCUSDT", "orderId": "C02__505979017439002624115", "orderListId": -1, "clientOrderId": "cdb-1",
    "price": "3.5121", "origQty": "1", "executedQty": "1", "cummulativeQuoteQty": "3.6962", "status": "FILLED",
    "timeInForce": None, "type": "MARKET", "side": "SELL", "stopPrice": None, "icebergQty": None,
    "time": 1736417034259, "updateTime": 1736417034281, "isWorking": True, "stpMode": "", "cancelReason": "",
}  # fmt: skip
TRADE = {
    "symbol": "BTCUSDT", "id": "505979017439002624X1", "orderId": "C02__505979017439002624115", "orderListId": -1,
    "price": "3.6962", "qty": "1", "quoteQty": "3.6962", "commission": "0.0018481", "commissionAsset": "MX",
    "time": 1736417034000, "isBuyer": False, "isMaker": False, "isBestMatch": True, "isSelfTrade": False,
    "clientOrderId": None,
}  # fmt: skip
ORDER = "GET /api/v3/order"


def test_an_order_is_sent_with_its_client_id_and_a_signature_over_what_is_sent() -> None:
    """IOC is a type; everything stands in the query, stamped with the exchange's time; the body is empty."""
    script = Script().on("POST /api/v3/order", answer(ACK))

    outcome = spot(script).place(order())

    assert outcome == PlaceOutcome(verdict="accepted", exchange_order_id="C02__505979017439002624115")
    (request,) = script.to("/api/v3/order")
    assert dict(parse_qsl(request.query)) == {
        "symbol": "BTCUSDT", "side": "BUY", "type": "IMMEDIATE_OR_CANCEL", "quantity": "0.001", "price": "50000",
        "newClientOrderId": "cdb-1", "recvWindow": "5000", "timestamp": str(NOW_MS),
        "signature": spot_signature(SECRET, request.query.rpartition("&signature=")[0]),
    }  # fmt: skip
    assert request.body == ""
    assert request.headers == {"Content-Type": "application/json", "X-MEXC-APIKEY": ACCESS}


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"time_in_force": "GTC"}, "LIMIT"),
        ({"time_in_force": "FOK"}, "FILL_OR_KILL"),
        ({"order_type": "MARKET", "price": None}, "MARKET"),
    ],
)
def test_time_in_force_is_a_type(changes: dict[str, Any], kind: str) -> None:
    """MEXC has no parameter for it; a MARKET order goes without a price."""
    script = Script().on("POST /api/v3/order", answer(ACK))

    spot(script).place(order(**changes))

    sent = dict(parse_qsl(script.to("/api/v3/order")[0].query))
    assert sent["type"] == kind
    assert ("price" in sent) == (kind != "MARKET")


def test_an_exit_as_risk_orders_it_is_sent() -> None:
    """Risk says reduce-only of every exit; on spot a sale is nothing else, and the exchange has no word for it."""
    script = Script().on("POST /api/v3/order", answer(ACK))

    outcome = spot(script).place(order(side="SELL", reduce_only=True))

    assert outcome.verdict == "accepted"
    assert "reduce" not in script.to("/api/v3/order")[0].query.lower()


def test_an_order_off_the_grid_is_not_sent_once_the_grid_is_known() -> None:
    """Nothing is rounded for anybody: it is refused here, and the exchange sees nothing."""
    script = Script()
    exchange = spot(script)
    exchange.instruments(["BTCUSDT"])

    assert exchange.place(order(price=Decimal("50000.001"))).code == "off_tick"
    assert exchange.place(order(quantity=Decimal("0.000000001"))).code == "off_lot"
    assert exchange.place(order(venue="mexc_perpetual")).code == "not_spot"
    assert exchange.place(order(reduce_only=True)).code == "not_spot"
    assert script.to("/api/v3/order") == []


def test_without_the_exchanges_time_nothing_is_sent() -> None:
    """A stamp that may be wrong is worse than no order."""
    script = Script().on("GET /api/v3/time", TransportFailure("timeout"))

    outcome = spot(script).place(order())

    assert (outcome.verdict, outcome.code) == ("not_sent", "no_server_time")
    assert script.to("/api/v3/order") == []


def test_an_order_that_has_become_too_old_is_not_sent() -> None:
    """The last look at the clock is just before it leaves."""
    script = Script()

    assert spot(script).place(order(not_after=1)) == PlaceOutcome(verdict="not_sent", code="too_late")
    assert spot(script).place(order(wanted=lambda: False)) == PlaceOutcome(verdict="not_sent", code="too_late")
    assert script.to("/api/v3/order") == []


def test_the_test_endpoint_validates_without_placing() -> None:
    """An empty object is success; an error code is told as for a real order."""
    script = Script().on(
        "POST /api/v3/order/test", answer({}), answer({"code": 30002, "msg": "cannot be less than:1USDT"}, 400)
    )
    exchange = spot(script)

    assert exchange.test(order()) == PlaceOutcome(verdict="accepted")
    assert exchange.test(order()) == PlaceOutcome(verdict="refused", code="30002", detail="cannot be less than:1USDT")
    assert script.to("/api/v3/order") == []


def test_an_order_is_asked_for_by_its_client_id() -> None:
    """In our words."""
    script = Script().on(ORDER, answer(QUERIED))

    assert spot(script).query("BTCUSDT", "cdb-1") == OrderReport(
        venue="mexc_spot", symbol="BTCUSDT", side="SELL", client_order_id="cdb-1",
        exchange_order_id="C02__505979017439002624115", status="FILLED", quantity=Decimal(1),
        filled_quantity=Decimal(1), filled_notional=Decimal("3.6962"), time=1736417034281000,
    )  # fmt: skip
    assert "origClientOrderId=cdb-1" in script.to("/api/v3/order")[0].query


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"status": "NEW", "executedQty": "0"}, "NEW"),
        ({"status": "NEW", "executedQty": "0.5", "updateTime": None}, "PARTIALLY_FILLED"),
        ({"status": "PARTIALLY_CANCELED", "executedQty": "0.5"}, "CANCELED"),
        ({"status": "EXPIRED", "executedQty": "0"}, "CANCELED"),
        ({"status": "REJECTED", "executedQty": "0"}, "REJECTED"),
    ],
)
def test_each_status_has_one_meaning(changes: dict[str, Any], status: str) -> None:
    """Also those that only other clients have seen."""
    report = spot(Script().on(ORDER, answer({**QUERIED, **changes}))).query("BTCUSDT", "cdb-1")

    assert report is not None
    assert report.status == status


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"status": "ODD"}, "status='ODD'"),
        ({"side": "HOLD"}, "side='HOLD'"),
        ({"symbol": "?"}, "symbol: symbol '?'"),
        ({"executedQty": None}, "executedQty=None"),
        ({"clientOrderId": "another"}, "clientOrderId='another'"),
    ],
)
def test_an_answer_that_cannot_be_is_named_and_not_asked_for_again(changes: dict[str, Any], named: str) -> None:
    """Also the answer about another order."""
    script = Script().on(ORDER, answer({**QUERIED, **changes}))

    with pytest.raises(ExchangeAnswerInvalid, match=re.escape(named)):
        spot(script).query("BTCUSDT", "cdb-1")
    assert len(script.to("/api/v3/order")) == 1


def test_an_order_that_the_exchange_does_not_know_is_none_and_other_errors_are_raised() -> None:
    """Only the codes that say so mean it."""
    script = Script().on(
        ORDER, answer({"code": -2013, "msg": "Order does not exist."}, 400), answer({"code": 700002, "msg": "bad"}, 400)
    )
    exchange = spot(script)

    assert exchange.query("BTCUSDT", "cdb-1") is None
    with pytest.raises(ExchangeRefused, match="700002: bad"):
        exchange.query("BTCUSDT", "cdb-1")


@pytest.mark.parametrize("reply", [{"status": "NEW"}, {"code": -2011, "msg": "Unknown order sent."}])
def test_what_became_of_a_cancelled_order_is_asked_for(reply: dict[str, Any]) -> None:
    """The answer to the cancel is not to be relied on, and an order that has ended is called unknown."""
    script = (
        Script().on("DELETE /api/v3/order", answer(reply, 400 if "code" in reply else 200)).on(ORDER, answer(QUERIED))
    )

    report = spot(script).cancel("BTCUSDT", "cdb-1")

    assert report is not None
    assert report.status == "FILLED"


def test_a_refused_cancel_is_raised_and_never_repeated() -> None:
    """A DELETE goes out once, whatever comes back."""
    script = Script().on("DELETE /api/v3/order", answer({"code": 700007, "msg": "no permission"}, 400))
    script.on("DELETE /api/v3/openOrders", answer([]), answer({"code": -2011}, 400), TransportFailure("timeout"))
    exchange = spot(script)

    with pytest.raises(ExchangeRefused, match="700007"):
        exchange.cancel("BTCUSDT", "cdb-1")
    exchange.cancel_all("BTCUSDT")
    exchange.cancel_all("BTCUSDT")
    with pytest.raises(ExchangeUnreachable, match="DELETE /api/v3/openOrders: timeout"):
        exchange.cancel_all("BTCUSDT")
    assert [request.path for request in script.sent if request.method == "DELETE"] == ["/api/v3/order"] + [
        "/api/v3/openOrders"
    ] * 3
    script.on("DELETE /api/v3/openOrders", answer({"code": 700007}, 400))
    with pytest.raises(ExchangeRefused, match="700007"):
        exchange.cancel_all("BTCUSDT")


def test_open_orders_are_asked_for_by_symbol() -> None:
    """One question each."""
    script = Script().on("GET /api/v3/openOrders", answer([QUERIED]), answer([]))

    assert [report.client_order_id for report in spot(script).open_orders(["BTCUSDT", "ETHUSDT"])] == ["cdb-1"]


def test_fills_keep_the_coin_of_their_fee_and_come_oldest_first() -> None:
    """A fee in MX stays a fee in MX; what is older than asked for is left out."""
    later = {**TRADE, "id": "2", "time": 1736417035000, "isBuyer": True, "isMaker": True, "clientOrderId": "cdb-1"}
    old = {**TRADE, "id": "0", "time": 1736417030000}
    script = Script().on("GET /api/v3/myTrades", answer([later, TRADE, old]))

    first, second = spot(script).trades("BTCUSDT", 1736417034000000)

    assert first == Trade(
        venue="mexc_spot", symbol="BTCUSDT", side="SELL", trade_id="505979017439002624X1",
        exchange_order_id="C02__505979017439002624115", client_order_id=None, quantity=Decimal(1),
        price=Decimal("3.6962"), fee=Decimal("0.0018481"), fee_currency="MX", liquidity="taker", time=1736417034000000,
    )  # fmt: skip
    assert (second.side, second.liquidity, second.client_order_id) == ("BUY", "maker", "cdb-1")


class Archive(Script):
    """Answers myTrades with at most 100 of what lies in the asked time, the newest first."""

    def __init__(self, times_ms: list[int]) -> None:
        super().__init__()
        self.times_ms = times_ms

    def send(self, request: Any, timeout_sec: float) -> Any:
        """Answer from what lies in the asked time."""
        if request.path != "/api/v3/myTrades":
            return super().send(request, timeout_sec)
        self.sent.append(request)
        asked = dict(parse_qsl(request.query))
        inside = [
            (number, time)
            for number, time in enumerate(self.times_ms)
            if int(asked["startTime"]) <= time < int(asked["endTime"])
        ]
        return answer([{**TRADE, "id": str(number), "time": time} for number, time in inside[::-1][:100]])


def test_all_fills_are_found_however_many_there_are() -> None:
    """An answer that is full is asked for again in halves until none is; nothing is counted twice."""
    script = Archive([NOW_MS - 100_000 + 7 * number for number in range(450)])

    found = spot(script).trades("BTCUSDT", (NOW_MS - 200_000) * 1_000)

    assert [int(trade.trade_id) for trade in found] == list(range(450))


def test_more_fills_in_an_instant_than_an_answer_holds_are_not_passed_over() -> None:
    """What cannot be shown whole is an error, not a shorter list."""
    script = Archive([NOW_MS - 5] * 101)

    with pytest.raises(ExchangeHistoryTooLong, match="100 trades within 2 ms"):
        spot(script).trades("BTCUSDT", (NOW_MS - 1_000) * 1_000)


def test_fills_without_end_are_not_asked_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that is named: what cannot be told within it is an error, not a shorter list."""
    monkeypatch.setattr(spot_module, "_MOST_WINDOWS", 4)
    script = Archive([NOW_MS - 100_000 + 7 * number for number in range(450)])

    with pytest.raises(ExchangeHistoryTooLong, match="myTrades of BTCUSDT: not all in 4 answers of 100"):
        spot(script).trades("BTCUSDT", (NOW_MS - 200_000) * 1_000)
    assert len(script.to("/api/v3/myTrades")) == 4


def test_balances_of_nothing_are_left_out() -> None:
    """Free and locked as they are told."""
    rows = [
        {"asset": "USDT", "free": "302.185", "locked": "4.99", "available": "302.185"},
        {"asset": "MX", "free": "0", "locked": "0"},
    ]
    script = Script().on("GET /api/v3/account", answer({"balances": rows}))
    exchange = spot(script)

    assert exchange.balances() == [
        Balance(venue="mexc_spot", currency="USDT", free=Decimal("302.185"), locked=Decimal("4.99"))
    ]
    assert exchange.positions() == []
    assert exchange.funding("BTCUSDT", 0) == []


def test_one_that_is_not_listed_hides_no_other() -> None:
    """The question about all is refused for one: then each is asked for, and what is there has its rules."""
    unknown = answer({"code": -1121, "msg": "Invalid symbol."}, 400)
    script = Script().on("GET /api/v3/exchangeInfo", unknown, answer(EXCHANGE_INFO), unknown)

    assert [rules.symbol for rules in spot(script).rules(["BTCUSDT", "GONEUSDT"])] == ["BTCUSDT"]


def test_fills_of_one_that_is_listed_are_never_said_to_be_none() -> None:
    """A refusal although it is listed, and any other refusal, is raised."""
    unknown = answer({"code": -1121, "msg": "Invalid symbol."}, 400)
    script = Script().on("GET /api/v3/myTrades", unknown).on("GET /api/v3/openOrders", unknown)
    exchange = spot(script)
    for ask in (lambda: exchange.trades("BTCUSDT", 0), lambda: exchange.open_orders(["BTCUSDT"])):
        with pytest.raises(ExchangeRefused, match="-1121"):
            ask()

    script.on("GET /api/v3/myTrades", answer({"code": 700002, "msg": "no"}, 400))
    with pytest.raises(ExchangeRefused, match="700002"):
        exchange.trades("BTCUSDT", 0)
    script.on("GET /api/v3/exchangeInfo", answer({"code": 700002, "msg": "no"}, 400))
    with pytest.raises(ExchangeRefused, match="700002"):
        exchange.rules(["BTCUSDT"])


def test_instruments_that_cannot_be_traded_are_left_out() -> None:
    """Several are asked for at once; what is paused is no instrument to trade."""
    script = Script()
    exchange = spot(script)

    assert [spec.symbol for spec in exchange.instruments(["BTCUSDT", "ETHUSDT"])] == ["BTCUSDT"]
    assert script.sent[0].query == "symbols=BTCUSDT%2CETHUSDT"
    script.on("GET /api/v3/exchangeInfo", answer({"symbols": [{"symbol": "BTCUSDT"}]}))
    with pytest.raises(ExchangeAnswerInvalid, match="BTCUSDT: baseAssetPrecision=None"):
        exchange.instruments(["BTCUSDT"])
