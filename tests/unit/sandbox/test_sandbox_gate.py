"""The sandbox's way in: signatures, time windows, limits, faults; and perpetuals behind it."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.cdb_sandbox.faults import Fault, FaultKind
from services.cdb_sandbox.rest.unbuilt import UNBUILT
from services.common.mexc.signing import spot_signature
from tests.unit.sandbox.sandbox_desk import KEY, SECRET, SandboxDesk

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]
HANDBOOK = (ROOT / "backoffice" / "docs" / "sandbox.md").read_text(encoding="utf-8")

ORDER: dict[str, Any] = {"symbol": "BTC_USDT", "vol": 100, "price": 60000.1, "side": 1, "type": 1, "openType": 1}


@pytest.fixture
def desk() -> SandboxDesk:
    """A fresh exchange."""
    return SandboxDesk()


def test_a_wrong_signature_key_or_time_is_refused(desk: SandboxDesk) -> None:
    """700002 for the signature, 10072 for the key, 700003 for the time, 700005 for the window."""
    now = desk.clock.now_ms()

    def ask(query: str, key: str = KEY) -> int:
        answered = desk.raw("GET", "/api/v3/account", query=query, headers={"x-mexc-apikey": key})
        return int(json.loads(answered.body)["code"])

    def signed(query: str) -> str:
        return f"{query}&signature={spot_signature(SECRET, query)}"

    assert ask(f"timestamp={now}&signature=00") == 700002
    assert ask(signed(f"timestamp={now}"), "nobody") == 10072
    assert ask(signed(f"timestamp={now - 5001}")) == 700003
    assert ask(signed(f"timestamp={now + 1000}")) == 700003
    assert ask(signed(f"timestamp={now}&recvWindow=60001")) == 700005


def test_query_and_body_are_signed_together_without_anything_between(desk: SandboxDesk) -> None:
    """The parameters of hummingbot's way: some in the query, some in the body."""
    query = f"symbol=BTCUSDT&side=BUY&type=LIMIT&timestamp={desk.clock.now_ms()}"
    body = "quantity=0.1&price=59000"
    signature = spot_signature(SECRET, query, body)

    answered = desk.raw(
        "POST",
        "/api/v3/order",
        query=f"{query}&signature={signature}",
        body=body,
        headers={"x-mexc-apikey": KEY, "content-type": "application/x-www-form-urlencoded"},
    )

    assert answered.status == 200


def test_orders_over_twelve_a_second_meet_429_with_retry_after() -> None:
    """The thirteenth order of a second is refused and says when to come again."""
    desk = SandboxDesk(enforce_limits=True)
    fields = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "quantity": "0.001", "price": "59000"}

    answers = [desk.spot_answer("POST", "order", **fields) for _ in range(13)]

    assert [a.status for a in answers] == [200] * 12 + [429]
    assert answers[-1].headers["Retry-After"] == "1"


def test_a_perpetual_position_opens_adds_its_margin_and_closes_with_its_profit(desk: SandboxDesk) -> None:
    """100 contracts of 0.0001 BTC at 20 times leverage: 600 USDT of value, 30 USDT of margin, fee 0.08 %."""
    placed = desk.contract("POST", "order/create", ORDER | {"leverage": 20})
    position = desk.contract("GET", "position/open_positions")["data"][0]
    desk.quote("61000", "1000", "61000.1", "1000", "mexc_perpetual:BTCUSDT")
    desk.contract("POST", "order/create", ORDER | {"side": 4, "type": 5, "price": None})

    assert placed["success"] is True
    assert (position["holdVol"], position["holdAvgPrice"], position["im"]) == (100, 60000.1, 30.00005)
    assert desk.contract("GET", "position/open_positions")["data"] == []
    paid = (Decimal("600.001") + Decimal(610)) * Decimal("0.0008")
    assets = desk.contract("GET", "account/assets")["data"][0]
    assert Decimal(str(assets["availableBalance"])) == Decimal(100_000) + Decimal("9.999") - paid


def test_a_mark_at_the_liquidation_price_takes_the_position_and_its_margin(desk: SandboxDesk) -> None:
    """The isolated margin is lost, nothing more."""
    desk.contract("POST", "order/create", ORDER | {"leverage": 100})
    before = desk.contract("GET", "account/assets")["data"][0]["availableBalance"]

    desk.quote("59000", "1000", "59000.1", "1000", "mexc_perpetual:BTCUSDT")

    history = desk.contract("GET", "order/list/history_orders", symbol="BTC_USDT")["data"]
    assert desk.contract("GET", "position/open_positions")["data"] == []
    assert desk.contract("GET", "account/assets")["data"][0]["availableBalance"] == before
    assert history[0]["category"] == 2


def test_funding_is_paid_by_longs_at_the_settlement(desk: SandboxDesk) -> None:
    """Eight hours later a long has paid rate times value."""
    desk.contract("POST", "order/create", ORDER)
    before = desk.house.exchange.margins["claire"].available

    desk.clock.advance(8 * 3600 * 1000)
    desk.house.tick()

    assert before - desk.house.exchange.margins["claire"].available == Decimal("0.060000")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"symbol": "NOPE_USDT"}, 1001),
        ({"side": 4}, 2009),
        ({"side": 9}, 2001),
        ({"type": 9}, 2029),
        ({"vol": 0}, 2011),
        ({"price": 70000}, 2003),
        ({"price": 60000.11}, 2015),
        ({"openType": 2}, 2002),
        ({"leverage": 501}, 2006),
        ({"vol": 5_000_000}, 2051),
        ({"vol": 4_000_000, "leverage": 1}, 2005),
        ({"externalOid": "x" * 33}, 2030),
        ({"positionMode": 1}, 7002),
    ],
)
def test_what_the_contract_forbids_is_refused_with_its_code(
    desk: SandboxDesk, change: dict[str, Any], code: int
) -> None:
    """The answer is HTTP 200 with success false."""
    answered = desk.contract("POST", "order/create", ORDER | change)

    assert (answered["success"], answered["code"]) == (False, code)


def test_faults_strike_where_and_as_often_as_they_were_asked_to(desk: SandboxDesk) -> None:
    """Endpoint, symbol, client id, skip and count decide; what struck is listed."""
    desk.house.faults.add(
        Fault(kind=FaultKind.REJECT, where="POST /api/v3/order", symbol="BTCUSDT", client_id="a", skip=1, count=1)
    )

    def struck(where: str, symbol: str, client_id: str) -> bool:
        kinds = frozenset(FaultKind)
        return desk.house.faults.strike(kinds, where, symbol=symbol, client_id=client_id, at_ms=0) is not None

    assert not struck("GET /api/v3/order", "BTCUSDT", "a")
    assert not struck("POST /api/v3/order", "ETHUSDT", "a")
    assert not struck("POST /api/v3/order", "BTCUSDT", "b")
    assert [struck("POST /api/v3/order", "BTCUSDT", "a") for _ in range(3)] == [False, True, False]
    assert len(desk.house.faults.injected) == 1


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault(kind=FaultKind.REJECT, code=30016, message="trading disabled"), 400, 30016),
        (Fault(kind=FaultKind.RATE_LIMIT, retry_after=7), 429, 429),
        (Fault(kind=FaultKind.BAN), 418, 418),
        (Fault(kind=FaultKind.CLOCK_SKEW, skew_ms=10_000), 400, 700003),
    ],
)
def test_a_request_fault_answers_as_the_exchange_would(desk: SandboxDesk, fault: Fault, status: int, code: int) -> None:
    """The request is not acted on."""
    fields = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "quantity": "0.1", "price": "59000"}

    answered = desk.spot_answer("POST", "order", fault=fault, **fields)

    assert (answered.status, json.loads(answered.body)["code"]) == (status, code)
    assert desk.house.exchange.records.orders == {}


@pytest.mark.parametrize(("method", "name"), UNBUILT)
def test_what_is_not_built_is_refused_in_words_with_a_code_of_the_exchange(
    desk: SandboxDesk, method: str, name: str
) -> None:
    """No endpoint of MEXC that is missing here answers as if it had done something; the handbook names its code."""
    answered = desk.contract(method, name, {"orderId": "1"})
    code, message = UNBUILT[method, name]

    assert answered == {"success": False, "code": code, "message": message}
    assert f" {code}" in HANDBOOK


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("openType", 2, 2002),
        ("positionMode", 1, 7002),
        ("stopLossPrice", 100, 5001),
        ("takeProfitPrice", "100", 5001),
        ("stpMode", 1, 600),
        ("bboTypeNum", 4, 600),
        ("priceProtect", 1, 600),
        ("marketCeiling", True, 600),
        ("flashClose", "true", 600),
    ],
)
def test_an_order_that_asks_for_more_than_is_built_is_refused(
    desk: SandboxDesk, field: str, value: object, code: int
) -> None:
    """A field is refused, never ignored; its empty value is taken."""
    order = {"symbol": "BTC_USDT", "vol": 1, "side": 1, "type": 5, "openType": 1, "leverage": 5}

    assert desk.contract("POST", "order/create", order | {field: value})["code"] == code
    if code in {600, 5001}:
        assert desk.contract("POST", "order/create", order | {field: 0})["success"]


def test_spot_stops_and_self_trade_prevention_are_refused(desk: SandboxDesk) -> None:
    """The types that only queries show, and stpMode."""
    assert desk.limit("BUY", "1", "10", "STOP_LIMIT")["code"] == 30041
    assert desk.limit("BUY", "1", "10", stpMode="cancel_maker")["code"] == 33333


def test_margin_moves_between_cash_and_a_position(desk: SandboxDesk) -> None:
    """Added margin lowers the liquidation price of a long; what the position needs cannot be taken out again."""
    order = {"symbol": "BTC_USDT", "vol": 100, "side": 1, "type": 5, "openType": 1, "leverage": 10}
    assert desk.contract("POST", "order/create", order)["success"]
    (before,) = desk.contract("GET", "position/open_positions")["data"]
    ask = {"positionId": before["positionId"], "amount": "30"}

    assert desk.contract("POST", "position/change_margin", ask | {"type": "ADD"})["success"]
    (after,) = desk.contract("GET", "position/open_positions")["data"]
    assert after["im"] - before["im"] == 30
    assert after["liquidatePrice"] < before["liquidatePrice"]
    assert desk.contract("POST", "position/change_margin", ask | {"type": "SUB", "amount": 20})["success"]
    for wrong, code in (
        ({"type": "SUB", "amount": 50}, 2018),
        ({"type": "ADD", "amount": 10**9}, 2005),
        ({"type": "ADD", "amount": "x"}, 600),
        ({"type": "UP"}, 600),
        ({"type": "ADD", "positionId": 1}, 2009),
    ):
        assert desk.contract("POST", "position/change_margin", ask | wrong)["code"] == code
