"""The perpetual account: contracts, sides, pages, and validation without a test endpoint."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import pytest

from services.cdb_execution.adapters import perpetual as perpetual_module
from services.cdb_execution.adapters.transport import TransportFailure
from services.cdb_execution.exchange import Balance, FundingPayment, OrderReport, PlaceOutcome, PositionReport
from services.common.codec import decode
from services.common.errors import (
    ExchangeAnswerInvalid,
    ExchangeHistoryTooLong,
    ExchangeRefused,
    ExchangeUnreachable,
)
from services.common.mexc.signing import perpetual_signature
from tests.unit.execution.mexc_desk import (
    ACCESS,
    NOW_MS,
    SECRET,
    Script,
    answer,
    contract_order,
    data,
    error,
    order,
    perpetual,
)
from tests.unit.mexc.published import contract_row

CREATE = "POST /api/v1/private/order/create"
EXTERNAL = "GET /api/v1/private/order/external/BTC_USDT/cdb-1"
DEALS = "GET /api/v1/private/order/list/order_deals"
QUERIED: dict[str, Any] = {
    "orderId": "739106551624717312", "symbol": "BTC_USDT", "positionId": 1109973831, "price": 109777.5,
    "vol": 5, "leverage": 2, "side": 1, "category": 1, "orderType": 5, "dealAvgPrice": 109777.5,
    "dealAvgPriceStr": "109777.500000000000000000", "dealVol": 5, "state": 3, "externalOid": "cdb-1", "errorCode": 0,
    "createTime": 1761887134000, "updateTime": 1761887134000, "feeCurrency": "USDT",
}  # fmt: skip
FILL: dict[str, Any] = {
    "id": "159274416", "symbol": "BTC_USDT", "side": 2, "vol": 10, "price": 45000.5, "feeCurrency": "USDT",
    "fee": 0.0072501, "timestamp": 1609992674000, "profit": 0, "category": 1, "orderId": 102015012431820288,
    "taker": True,
}  # fmt: skip


def test_an_order_is_sent_in_contracts_with_exact_numbers_and_signed_over_its_body() -> None:
    """0.001 BTC are 10 contracts of 0.0001; the body that is signed is the body that is sent."""
    script = Script().on(CREATE, data({"orderId": "739113577038255616", "ts": 1761888808839}))

    outcome = perpetual(script).place(contract_order())

    assert outcome == PlaceOutcome(verdict="accepted", exchange_order_id="739113577038255616")
    request = script.sent[-1]
    assert request.body == (
        '{"symbol":"BTC_USDT","vol":10,"price":50000,"side":1,"type":3,"openType":1,"leverage":2,'
        '"externalOid":"cdb-1","positionMode":2,"reduceOnly":false}'
    )
    assert request.query == ""
    assert request.headers["Signature"] == perpetual_signature(SECRET, ACCESS, str(NOW_MS), request.body)
    assert (request.headers["ApiKey"], request.headers["Request-Time"]) == (ACCESS, str(NOW_MS))


@pytest.mark.parametrize(
    ("changes", "side", "kind"),
    [
        ({"side": "SELL", "time_in_force": "GTC"}, 3, 1),
        ({"side": "SELL", "reduce_only": True, "time_in_force": "FOK"}, 4, 4),
        ({"side": "BUY", "reduce_only": True, "order_type": "MARKET", "price": None}, 2, 5),
    ],
)
def test_closing_is_a_side_of_its_own(changes: dict[str, Any], side: int, kind: int) -> None:
    """A sell that reduces closes a long (4), a buy that reduces closes a short (2); a MARKET order has no price."""
    script = Script().on(CREATE, data("102057569836905984"))

    outcome = perpetual(script).place(contract_order(**changes))

    body = decode(script.sent[-1].body)
    assert (body["side"], body["type"], body["reduceOnly"]) == (side, kind, changes.get("reduce_only", False))
    assert ("price" in body) == (kind != 5)
    assert outcome.exchange_order_id == "102057569836905984"


def test_what_is_no_whole_number_of_contracts_is_not_sent() -> None:
    """Rounding up would buy more than was decided, rounding down leaves a rest: neither is done."""
    script = Script()
    exchange = perpetual(script)

    assert exchange.place(contract_order(quantity=Decimal("0.00015"))).code == "off_lot"
    assert exchange.place(contract_order(symbol="ETHUSDT")).code == "unknown_contract"
    assert exchange.place(order()).code == "not_perpetual"
    assert exchange.place(contract_order(price=None)).code == "price"
    script.on("GET /api/v1/contract/ping", TransportFailure("timeout"))
    assert exchange.place(contract_order()).code == "no_server_time"
    assert exchange.place(contract_order(not_after=1)).verdict == "not_sent"
    assert all(request.method == "GET" for request in script.sent)


def test_a_contract_that_takes_long_to_learn_makes_the_order_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size is known for the next one; this one has waited too long."""
    exchange = perpetual(Script().on(CREATE, data("7")), ask=False)
    ticks = iter([0.0, 9.0])
    monkeypatch.setattr(perpetual_module, "monotonic", lambda: next(ticks))

    assert exchange.place(contract_order()).code == "unknown_contract"
    assert exchange.place(contract_order()).verdict == "accepted"


def test_a_lot_that_is_no_whole_number_of_contracts_cannot_slip_through() -> None:
    """Should the exchange ever publish a volume unit below one contract, the count is still whole."""
    row = contract_row(volUnit="0.5")
    script = Script().on("GET /api/v1/contract/detail", data(str(_json(row))))

    assert perpetual(script).place(contract_order(quantity=Decimal("0.00005"))).code == "off_lot"


def _json(row: dict[str, Any]) -> str:
    return json.dumps(row, default=str)


TICKER = "GET /api/v1/contract/ticker"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, None),
        ({"order_type": "MARKET", "price": None}, None),
        ({"side": "SELL", "price": Decimal(60_000)}, None),
        ({"price": Decimal(60_001)}, "2003"),
        ({"side": "SELL", "price": Decimal(40_000)}, "2004"),
        ({"quantity": Decimal("40.0001")}, "max_quantity"),
        ({"price": Decimal("0.1"), "quantity": Decimal("0.0001")}, "min_notional"),
        ({"quantity": Decimal(40), "price": Decimal(150_000)}, "max_notional"),
        ({"quantity": Decimal("0.00001")}, "off_lot"),
        ({"symbol": "ETHUSDT"}, "unknown_contract"),
    ],
)
def test_without_a_test_endpoint_the_published_rules_judge(changes: dict[str, Any], code: str | None) -> None:
    """Grids, bounds and the price limits of now; nothing is placed."""
    script = Script().on(TICKER, data({"maxBidPrice": 60_000, "minAskPrice": 45_000}))

    outcome = perpetual(script).test(contract_order(**changes))

    assert outcome.code == code
    assert outcome.verdict == ("accepted" if code is None else "refused")
    assert all(request.method == "GET" for request in script.sent)


@pytest.mark.parametrize(
    ("changes", "request_changes", "code"),
    [
        ({"state": 4}, {}, "closed"),
        ({"minVol": 20}, {}, "min_quantity"),
        ({}, {"quantity": Decimal("1e25")}, "off_lot"),
    ],
)
def test_a_contract_that_is_closed_or_an_order_too_small_is_refused(
    changes: dict[str, Any], request_changes: dict[str, Any], code: str
) -> None:
    """The rules are asked for anew each time; a number beyond all grids is off them."""
    script = Script().on("GET /api/v1/contract/detail", data(_json(contract_row(**changes))))

    assert perpetual(script).test(contract_order(**request_changes)).code == code


def test_validation_without_an_answer_is_unknown() -> None:
    """Nothing is approved that could not be judged."""
    script = Script()
    exchange = perpetual(script)
    script.on("GET /api/v1/contract/detail", answer({"success": False, "code": 602, "message": "no"}))

    assert exchange.test(contract_order()).verdict == "unknown"


def test_a_contract_that_is_no_more_is_no_contract() -> None:
    """The exchange refuses the question itself: nothing is listed, and an order of it is refused."""
    script = Script()
    exchange = perpetual(script)
    script.on("GET /api/v1/contract/detail", error(1001))

    assert exchange.rules(["BTCUSDT"]) == []
    assert exchange.test(contract_order()).code == "unknown_contract"


def test_an_order_is_asked_for_by_its_client_id() -> None:
    """Contracts become base units, the exact text of the average goes before the number."""
    assert perpetual(Script().on(EXTERNAL, data(QUERIED))).query("BTCUSDT", "cdb-1") == OrderReport(
        venue="mexc_perpetual", symbol="BTCUSDT", side="BUY", client_order_id="cdb-1",
        exchange_order_id="739106551624717312", status="FILLED", quantity=Decimal("0.0005"),
        filled_quantity=Decimal("0.0005"), filled_notional=Decimal("54.88875"), time=1761887134000000,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"state": 1, "dealVol": 0}, "NEW"),
        ({"state": 2, "dealVol": 3, "updateTime": 0, "dealAvgPriceStr": ""}, "PARTIALLY_FILLED"),
        ({"state": 4, "dealVol": 3}, "CANCELED"),
        ({"state": 5, "dealVol": 0, "errorCode": 2}, "REJECTED"),
        ({"state": 5, "dealVol": 1}, "CANCELED"),
    ],
)
def test_each_state_has_one_meaning(changes: dict[str, Any], status: str) -> None:
    """An invalid order that has filled is no rejection."""
    report = perpetual(Script().on(EXTERNAL, data({**QUERIED, **changes}))).query("BTCUSDT", "cdb-1")

    assert report is not None
    assert report.status == status
    assert report.error_code == ("2" if status == "REJECTED" else None)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"state": 9}, "state=9"),
        ({"side": 5}, "side=5"),
        ({"externalOid": "_m_95bc"}, "externalOid=None"),
        ({"symbol": "ETH_USDT"}, "symbol='ETHUSDT'"),
    ],
)
def test_an_answer_that_cannot_be_is_named(changes: dict[str, Any], named: str) -> None:
    """Also the one about an order without a client id of ours, and a contract that nobody lists."""
    with pytest.raises(ExchangeAnswerInvalid, match=re.escape(named)):
        perpetual(Script().on(EXTERNAL, data({**QUERIED, **changes}))).query("BTCUSDT", "cdb-1")


def test_an_order_that_the_exchange_does_not_know_is_none() -> None:
    """By code or by empty data; other errors are raised."""
    exchange = perpetual(Script().on(EXTERNAL, error(2040), data("null"), error(602, f"bad {SECRET}")))

    assert exchange.query("BTCUSDT", "cdb-1") is None
    assert exchange.query("BTCUSDT", "cdb-1") is None
    with pytest.raises(ExchangeRefused, match=r"602: bad \*+$"):
        exchange.query("BTCUSDT", "cdb-1")


def test_an_order_is_cancelled_by_the_exchanges_id() -> None:
    """Ask, cancel, ask again; one that has ended or is not known is not cancelled."""
    working = {**QUERIED, "state": 2, "dealVol": 0}
    script = Script().on(EXTERNAL, data(working), data({**working, "state": 4}))
    script.on("POST /api/v1/private/order/cancel", data([{"orderId": 7391, "errorCode": 0, "errorMsg": "success"}]))
    exchange = perpetual(script)

    report = exchange.cancel("BTCUSDT", "cdb-1")

    assert report is not None
    assert report.status == "CANCELED"
    assert [request.body for request in script.sent if request.method == "POST"] == ['["739106551624717312"]']
    assert exchange.cancel("BTCUSDT", "cdb-1") is not None
    script.on(EXTERNAL, error(2040))
    assert exchange.cancel("BTCUSDT", "cdb-1") is None
    assert len(script.to("/api/v1/private/order/cancel")) == 1


def test_a_refused_cancel_is_raised() -> None:
    """The envelope says success; the row tells."""
    script = Script().on(EXTERNAL, data({**QUERIED, "state": 2, "dealVol": 0}))
    script.on("POST /api/v1/private/order/cancel", data([{"orderId": 1, "errorCode": 2037, "errorMsg": "often"}]))
    script.on("POST /api/v1/private/order/cancel_all", data("null"))
    exchange = perpetual(script)

    with pytest.raises(ExchangeRefused, match="2037: often"):
        exchange.cancel("BTCUSDT", "cdb-1")
    exchange.cancel_all("BTCUSDT")
    assert script.sent[-1].body == '{"symbol":"BTC_USDT"}'


def test_pages_are_read_until_one_is_not_full() -> None:
    """Open orders of other symbols are left out."""
    rows = [{**QUERIED, "orderId": str(number), "state": 2} for number in range(101)]
    script = Script().on(
        "GET /api/v1/private/order/list/open_orders", data(rows[:100]), data({"resultList": rows[100:]})
    )
    exchange = perpetual(script)

    assert len(exchange.open_orders(["BTCUSDT"])) == 101
    assert [dict(parse_qsl(request.query))["page_num"] for request in script.sent[-2:]] == ["1", "2"]
    assert exchange.open_orders(["ETHUSDT"]) == []


def test_fills_are_read_back_to_the_asked_time_and_no_further() -> None:
    """Newest first: a page that reaches back far enough is the last; a repeated id is one fill."""
    page = [{**FILL, "id": str(number), "timestamp": 1609992674000 - number} for number in range(100)]
    script = Script().on(DEALS, data([page[0], *page[:99]]), data(page), data([]))

    found = perpetual(script).trades("BTCUSDT", (1609992674000 - 98) * 1_000)

    assert [int(trade.trade_id) for trade in found] == list(range(98, -1, -1))
    assert len(script.to("/api/v1/private/order/list/order_deals")) == 2
    assert found[0].quantity == Decimal("0.001")
    assert (found[0].side, found[0].exchange_order_id, found[0].liquidity) == ("BUY", "102015012431820288", "taker")


def test_pages_without_end_are_an_error() -> None:
    """Something is wrong when the exchange never stops; nothing is cut off in silence."""
    pages = [data([{**FILL, "id": str(number)}] * 100) for number in range(201)]
    exchange = perpetual(Script().on(DEALS, *pages))

    with pytest.raises(ExchangeHistoryTooLong, match="over 200 pages of 100"):
        exchange.trades("BTCUSDT", 0)


def fills(first: int, last: int) -> list[dict[str, Any]]:
    """Return fills newest first, one a millisecond."""
    return [{**FILL, "id": str(number), "timestamp": 1609992674000 + number} for number in range(last, first - 1, -1)]


@pytest.mark.parametrize(
    ("pages", "asked"),
    [
        ([fills(20, 39), fills(0, 19), []], 3),
        ([fills(20, 39), fills(0, 19), fills(0, 19)], 3),
        ([fills(15, 39), fills(0, 14)], 2),
        ([{"totalPage": 2, "resultList": fills(20, 39)}, {"totalPage": 2, "resultList": fills(0, 19)}], 2),
    ],
    ids=["no more", "the last one again", "a short one", "told how many"],
)
def test_an_exchange_with_smaller_pages_than_asked_for_hides_nothing(pages: list[Any], asked: int) -> None:
    """100 are asked for and 20 or 25 come: that is a page, not the end; forty fills are forty."""
    script = Script().on(DEALS, *(data(page) for page in pages))

    found = perpetual(script).trades("BTCUSDT", 0)

    assert [int(trade.trade_id) for trade in found] == list(range(40))
    assert len(script.to("/api/v1/private/order/list/order_deals")) == asked


def test_the_same_full_page_twice_is_no_end() -> None:
    """An exchange that does not heed the page's number tells the newest hundred alone: that is said, not believed."""
    exchange = perpetual(Script().on(DEALS, data(fills(0, 99))))

    with pytest.raises(ExchangeHistoryTooLong, match="page 2 is page 1 again; what is older is hidden"):
        exchange.trades("BTCUSDT", 0)


def test_funding_is_read_with_its_sign() -> None:
    """Negative was paid."""
    row = {"id": 1397, "symbol": "BTC_USDT", "funding": -0.012, "rate": 0.0001, "settleTime": 1609992674000}
    script = Script().on("GET /api/v1/private/position/funding_records", data({"resultList": [row]}))

    assert perpetual(script).funding("BTCUSDT", 0) == [
        FundingPayment(
            symbol="BTCUSDT", payment_id="1397", amount=Decimal("-0.012"), rate=Decimal("0.0001"), time=1609992674000000
        )
    ]


def test_positions_are_signed_base_units() -> None:
    """A short is negative; a closed position is none; a liquidation price of 0 is none."""
    row = {"symbol": "BTC_USDT", "positionType": 2, "holdVol": 25, "holdAvgPrice": 1217.3, "im": 0.129, "leverage": 100,
           "liquidatePrice": 0}  # fmt: skip
    rows = [row, {**row, "positionType": 1, "holdVol": 0}]
    script = Script().on("GET /api/v1/private/position/open_positions", data(rows), data([{**row, "positionType": 3}]))
    exchange = perpetual(script)

    assert exchange.positions() == [
        PositionReport(
            symbol="BTCUSDT", quantity=Decimal("-0.0025"), entry_price=Decimal("1217.3"), margin=Decimal("0.129"),
            leverage=100, liquidation_price=None,
        )
    ]  # fmt: skip
    with pytest.raises(ExchangeAnswerInvalid, match="positionType=3"):
        exchange.positions()


def test_what_is_margin_is_locked() -> None:
    """Free and locked together are the account without unrealised profit."""
    row = {"currency": "USDT", "positionMargin": 2, "availableBalance": 32.8098, "frozenBalance": 1}
    nothing = {**row, "availableBalance": 0, "positionMargin": 0, "frozenBalance": 0}
    script = Script().on("GET /api/v1/private/account/assets", data([row, nothing]))

    assert perpetual(script).balances() == [
        Balance(venue="mexc_perpetual", currency="USDT", free=Decimal("32.8098"), locked=Decimal(3))
    ]


def test_several_contracts_are_read_from_the_whole_list() -> None:
    """The interface knows one or all."""
    script = Script().on("GET /api/v1/contract/detail", data("[" + _json(contract_row()) + "]"))
    exchange = perpetual(script)

    assert [spec.symbol for spec in exchange.instruments(["BTCUSDT", "ETHUSDT"])] == ["BTCUSDT"]
    assert script.sent[-1].query == ""
    script.on("GET /api/v1/contract/detail", answer("<html>busy</html>"))
    with pytest.raises(ExchangeUnreachable, match="without an envelope"):
        exchange.instruments(["BTCUSDT"])
