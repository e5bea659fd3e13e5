"""Every endpoint of the sandbox answers in MEXC's form."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from services.cdb_sandbox.core.exchange import Stake
from services.cdb_sandbox.core.listing import DEFAULT_LISTINGS, FeeAsset
from services.cdb_sandbox.house import Customer
from tests.unit.sandbox.sandbox_desk import KEY, SECRET, SandboxDesk

pytestmark = pytest.mark.unit

OPEN: dict[str, Any] = {"symbol": "BTC_USDT", "vol": 100, "price": 60000.1, "side": 1, "type": 1, "openType": 1}


@pytest.fixture
def desk() -> SandboxDesk:
    """An exchange with a trade on both venues."""
    desk = SandboxDesk()
    desk.trade("60000.01", "0.1", "BUY")
    desk.trade("60000.1", "10", "SELL", "mexc_perpetual:BTCUSDT")
    return desk


def test_spot_market_data(desk: SandboxDesk) -> None:
    """Time, symbols, book, trades, bars and tickers."""
    info = desk.public("/api/v3/exchangeInfo", symbols="BTCUSDT,ETHUSDT")["symbols"]
    klines = desk.public("/api/v3/klines", symbol="BTCUSDT", interval="5m", limit=3)
    day = desk.public("/api/v3/ticker/24hr", symbol="BTCUSDT")

    assert desk.public("/api/v3/ping") == {}
    assert desk.public("/api/v3/time") == {"serverTime": desk.clock.now_ms()}
    assert "BTCUSDT" in desk.public("/api/v3/defaultSymbols")["data"]
    assert (info[0]["baseSizePrecision"], info[0]["quotePrecision"], info[1]["symbol"]) == ("0.000001", 2, "ETHUSDT")
    assert len(desk.public("/api/v3/exchangeInfo")["symbols"]) == 3
    assert desk.public("/api/v3/depth", symbol="BTCUSDT")["asks"] == [["60000.01", "1"]]
    assert desk.public("/api/v3/trades", symbol="BTCUSDT")[0]["tradeType"] == "BID"
    assert desk.public("/api/v3/aggTrades", symbol="BTCUSDT")[0]["p"] == "60000.01"
    assert len(klines) == 3
    assert klines[-1][4] == "60000.01"
    assert desk.public("/api/v3/klines", symbol="BTCUSDT", interval="7m")["code"] == -1121
    assert desk.public("/api/v3/klines", symbol="BTCUSDT", interval="1m", startTime=1, endTime=2) == []
    assert Decimal(desk.public("/api/v3/avgPrice", symbol="BTCUSDT")["price"]) > 59000
    assert (day["lastPrice"], day["bidPrice"]) == ("60000.01", "60000")
    assert len(desk.public("/api/v3/ticker/price")) == 3
    assert desk.public("/api/v3/ticker/bookTicker", symbol="ETHUSDT")["askPrice"] == "3000.01"
    assert desk.public("/api/v3/depth")["code"] == 44444
    assert desk.public("/api/v3/depth", symbol="BTCUSDT", limit="x")["code"] == 33333
    assert desk.public("/api/v3/nothing")["code"] == 404


def test_spot_account_and_listen_keys(desk: SandboxDesk) -> None:
    """Balances, fees, currencies; a listen key is made, listed, refreshed, closed, and ends after an hour."""
    key = desk.spot("POST", "userDataStream")["listenKey"]
    balances = {row["asset"]: row["free"] for row in desk.spot("GET", "account")["balances"]}

    assert balances["USDT"] == "100000"
    assert desk.spot("GET", "tradeFee", symbol="BTCUSDT")["data"]["takerCommission"] == 0.0005
    assert {row["coin"] for row in desk.spot("GET", "capital/config/getall")} == {"BTC", "ETH", "SOL", "USDT"}
    assert desk.spot("GET", "userDataStream")["listenKey"] == [key]
    assert desk.spot("PUT", "userDataStream", listenKey=key) == {"listenKey": key}
    desk.clock.advance(3_600_000)
    assert desk.spot("PUT", "userDataStream", listenKey=key)["code"] == 730002
    other = desk.spot("POST", "userDataStream")["listenKey"]
    assert desk.spot("DELETE", "userDataStream", listenKey=other) == {"listenKey": other}
    assert desk.spot("GET", "userDataStream")["listenKey"] == []
    for _ in range(60):
        desk.spot("POST", "userDataStream")
    assert desk.spot("POST", "userDataStream")["code"] == 26


def test_spot_orders_in_lists_batches_and_tests(desk: SandboxDesk) -> None:
    """Batch, test, open, all, cancel open, cancel all; unknown ones have their codes."""
    row = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT_ORDER", "quantity": "0.01", "price": "59000"}
    batch = [row | {"newClientOrderId": "a"}, row | {"quantity": "0.00001", "newClientOrderId": "b"}, row]

    answers = desk.spot("POST", "batchOrders", batchOrders=json.dumps(batch))

    assert [answer.get("code", 0) for answer in answers] == [0, 30002, 0]
    assert desk.spot("POST", "batchOrders", batchOrders="x")["code"] == 33333
    assert desk.spot("POST", "order/test", **row) == {}
    assert len(desk.spot("GET", "openOrders", symbol="BTCUSDT")) == 2
    assert desk.spot("GET", "order", symbol="BTCUSDT", origClientOrderId="a")["status"] == "NEW"
    assert len(desk.spot("GET", "allOrders", symbol="BTCUSDT")) == 2
    assert desk.spot("GET", "order", symbol="BTCUSDT", orderId="no")["code"] == -2013
    assert desk.spot("GET", "order", symbol="BTCUSDT")["code"] == 700004
    assert len(desk.spot("DELETE", "openOrders", symbol="BTCUSDT")) == 2
    desk.spot("POST", "order", **row)
    assert desk.spot("DELETE", "order/all")["code"] == 0
    assert desk.spot("GET", "openOrders") == []
    assert desk.spot("POST", "order", symbol="BTCUSDT", side="SELL", type="MARKET")["code"] == -1128
    assert desk.spot("POST", "order", **(row | {"price": "NaN"}))["code"] == 33333
    assert desk.spot("POST", "order", **(row | {"price": "x"}))["code"] == 33333


@pytest.mark.parametrize(("asset", "fee", "coin"), [("quote", "30.000005", "USDT"), ("MX", "15.0000025", "MX")])
def test_fees_are_taken_as_the_listing_says(asset: FeeAsset, fee: str, coin: str) -> None:
    """In quote currency or in MX, also of a buy."""
    desk = SandboxDesk(listings=[replace(x, fee_asset=asset) for x in DEFAULT_LISTINGS])

    desk.limit("BUY", "1", "60000.01")

    trade = desk.spot("GET", "myTrades", symbol="BTCUSDT")[0]
    assert (trade["commission"], trade["commissionAsset"]) == (fee, coin)


@pytest.mark.parametrize(
    ("change", "price", "code"),
    [
        ({"status": "2"}, "60000", 30016),
        ({"api_allowed": False}, "60000", 10007),
        ({"side_type": 3}, "60000", 30001),
        ({"price_band": Decimal("0.01")}, "61000", 30087),
        ({"max_open_orders": 0}, "60000", 30029),
    ],
)
def test_a_listing_can_forbid(change: dict[str, Any], price: str, code: int) -> None:
    """Paused, not for the API, one side only, a price band, the most open orders."""
    desk = SandboxDesk(listings=[replace(x, **change) for x in DEFAULT_LISTINGS])

    assert desk.limit("BUY", "0.1", price)["code"] == code
    assert len(desk.public("/api/v3/exchangeInfo")["symbols"][0]["filters"]) == ("price_band" in change)
    assert desk.contract("POST", "order/create", OPEN)["success"] is (
        change.keys() & {"side_type", "price_band"} != set()
    )


def test_two_accounts_trade_with_each_other(desk: SandboxDesk) -> None:
    """A resting order of one is taken by another, behind the recorded quantity that was there before."""
    other = Customer(name="other", api_key="other-key", api_secret=SECRET, stake=Stake({"BTC": Decimal(5)}))
    desk = SandboxDesk(customers=[desk.house.customers[KEY], other])
    desk.limit("BUY", "0.5", "60000")
    from services.cdb_sandbox.core.exchange import OrderDraft
    from services.cdb_sandbox.core.orders import OrderType

    desk.house.exchange.place(
        OrderDraft(
            account="other",
            listing=desk.house.exchange.listings["mexc_spot:BTCUSDT"],
            side="SELL",
            order_type=OrderType.LIMIT,
            quantity=Decimal("1.2"),
            price=Decimal(60000),
        ),
        desk.clock.now_ms(),
    )

    fills = desk.house.exchange.records.fills
    assert [(f.account, f.quantity, f.maker) for f in fills] == [
        ("other", Decimal(1), False),
        ("claire", Decimal("0.2"), True),
        ("other", Decimal("0.2"), False),
    ]


def test_perpetual_market_data(desk: SandboxDesk) -> None:
    """Contracts, book, deals, bars, tickers, prices and funding."""

    def get(name: str, **params: Any) -> Any:
        return desk.public(f"/api/v1/contract/{name}", **params)["data"]

    assert get("ping") == desk.clock.now_ms()
    assert get("detail", symbol="BTC_USDT")["contractSize"] == 0.0001
    assert len(get("detail")) == 3
    assert get("depth/BTC_USDT")["bids"] == [[60000, 10000, 1]]
    assert get("depth_commits/BTC_USDT/10")[0]["version"] == get("depth/BTC_USDT")["version"]
    assert get("deals/BTC_USDT")[0]["T"] == 2
    assert len(get("kline/BTC_USDT", interval="Min1")["time"]) > 1000
    assert desk.public("/api/v1/contract/kline/BTC_USDT", interval="Min7")["code"] == 600
    assert get("ticker", symbol="BTC_USDT")["ask1"] == 60000.1
    assert len(get("ticker")) == 3
    assert get("index_price/BTC_USDT")["indexPrice"] == get("fair_price/BTC_USDT")["fairPrice"] == 60000
    assert get("funding_rate/BTC_USDT")["collectCycle"] == 8
    assert len(get("funding_rate/history", symbol="BTC_USDT", page_size=3)["resultList"]) == 3


def test_perpetual_orders_by_every_way(desk: SandboxDesk) -> None:
    """By id, by the client's id, in lists; cancelled one by one and all at once."""
    waiting = OPEN | {"price": 59000}
    ids = [
        desk.contract("POST", "order/create", waiting | {"externalOid": f"bot-{n}"})["data"]["orderId"]
        for n in range(4)
    ]
    bare = desk.contract("POST", "order/submit", waiting)["data"]

    assert desk.contract("POST", "order/create", waiting | {"externalOid": "bot-1"})["code"] == 2042
    assert desk.contract("GET", f"order/get/{ids[0]}")["data"]["state"] == 2
    assert desk.contract("GET", "order/external/BTC_USDT/bot-1")["data"]["orderId"] == ids[1]
    assert desk.contract("GET", "order/external/ETH_USDT/bot-1")["code"] == 2040
    assert desk.contract("GET", "order/get/1")["code"] == 2040
    assert len(desk.contract("GET", "order/batch_query", order_ids=f"{ids[0]},1")["data"]) == 1
    assert len(desk.contract("GET", "order/list/open_orders", page_size=2, page_num=2)["data"]) == 2
    cancelled = desk.contract("POST", "order/cancel", [ids[0], "1"])["data"]
    assert [row["errorCode"] for row in cancelled] == [0, 2040]
    assert desk.contract("POST", "order/cancel", [ids[0]])["data"][0]["errorCode"] == 2041
    assert desk.contract("POST", "order/cancel", {})["code"] == 600
    named = [{"symbol": "BTC_USDT", "externalOid": "bot-1"}]
    assert desk.contract("POST", "order/cancel_with_external", named)["data"][0]["errorCode"] == 0
    assert desk.contract("POST", "order/cancel_with_external", [1])["code"] == 600
    desk.contract("POST", "order/cancel_all", {"symbol": "BTC_USDT"})
    assert desk.contract("GET", f"order/get/{bare}")["data"]["state"] == 4
    assert desk.contract("GET", "order/list/history_orders", start_time="x")["code"] == 600
    assert desk.contract("POST", "order/create", OPEN | {"vol": None})["code"] == 2011
    assert desk.contract("POST", "order/create", OPEN | {"vol": "x"})["code"] == 600
    assert desk.contract("POST", "order/create", OPEN | {"vol": True})["code"] == 600
    assert desk.contract("POST", "order/create", OPEN | {"price": None})["code"] == 2007
    assert desk.contract("POST", "order/create", [])["code"] == 601
    assert desk.contract("POST", "order/create", OPEN | {"price": 50000, "side": 3})["code"] == 2004


def test_perpetual_account_positions_and_leverage(desk: SandboxDesk) -> None:
    """Leverage before the position, the position and its ways, fills, fee rates, tiers, and closing all."""
    assert desk.contract("POST", "position/change_leverage", {"symbol": "BTC_USDT", "leverage": 5})["success"]
    assert desk.contract("POST", "position/change_leverage", {"symbol": "BTC_USDT", "leverage": 0})["code"] == 2006
    assert desk.contract("POST", "position/change_leverage", {"symbol": "BTC_USDT", "leverage": "x"})["code"] == 2006
    order_id = desk.contract("POST", "order/create", OPEN | {"side": 3, "price": 60000})["data"]["orderId"]
    position = desk.contract("GET", "position/open_positions", symbol="BTC_USDT")["data"][0]

    assert (position["positionType"], position["leverage"]) == (2, 5)
    more = {"positionId": position["positionId"], "leverage": 7}
    assert desk.contract("POST", "position/change_leverage", more)["code"] == 2019
    assert desk.contract("POST", "order/create", OPEN | {"side": 3, "price": 60000, "leverage": 7})["code"] == 7004
    assert desk.contract("POST", "order/create", OPEN | {"side": 2, "vol": 101})["code"] == 2008
    assert desk.contract("GET", "position/leverage", symbol="BTC_USDT")["data"][0]["leverage"] == 5
    assert desk.contract("GET", "position/position_mode")["data"] == 2
    assert desk.contract("POST", "position/change_position_mode", {"positionMode": 1})["code"] == 7001
    desk.house.exchange.margins["claire"].hedged = True
    assert desk.contract("GET", "position/position_mode")["data"] == 1
    assert desk.contract("POST", "order/create", OPEN)["code"] == 7002
    assert desk.contract("POST", "position/change_position_mode", {"positionMode": 2})["success"]
    assert desk.contract("GET", f"order/deal_details/{order_id}")["data"][0]["taker"] is True
    assert len(desk.contract("GET", "order/list/order_deals", symbol="BTC_USDT")["data"]) == 1
    assert desk.contract("GET", "account/asset/USDT")["data"]["positionMargin"] == 120
    assert desk.contract("GET", "account/asset/BTC")["code"] == 1000
    assert desk.contract("GET", "account/tiered_fee_rate", symbol="BTC_USDT")["data"]["takerFee"] == 0.0008
    assert desk.contract("GET", "account/tiered_fee_rate/v2", symbol="BTC_USDT")["data"]["realTakerFee"] == 0.0008
    assert len(desk.contract("GET", "account/risk_limit", symbol="BTC_USDT")["data"]["BTC_USDT"]) == 12
    desk.clock.advance(8 * 3600 * 1000)
    assert desk.contract("GET", "position/funding_records")["data"]["resultList"][0]["funding"] > 0
    desk.contract("POST", "position/close_all", {})
    assert desk.contract("GET", "position/history_positions")["code"] == 404
    assert len(desk.contract("GET", "position/list/history_positions")["data"]) == 1
    assert desk.contract("GET", "position/open_positions")["data"] == []


def test_an_order_larger_than_the_opposite_position_turns_it_over(desk: SandboxDesk) -> None:
    """In one-way mode the rest opens the other side."""
    desk.contract("POST", "order/create", OPEN)
    desk.contract("POST", "order/create", OPEN | {"side": 3, "vol": 150, "price": 60000})

    position = desk.contract("GET", "position/open_positions")["data"][0]
    assert (position["positionType"], position["holdVol"], position["holdAvgPrice"]) == (2, 50, 60000)


def test_perpetual_signatures_and_times(desk: SandboxDesk) -> None:
    """401 without a key, 513 out of time, 602 for another signature."""

    def ask(**headers: str) -> int:
        return int(json.loads(desk.raw("GET", "/api/v1/private/account/assets", headers=headers).body)["code"])

    now = str(desk.clock.now_ms())
    assert ask() == 401
    assert ask(apikey=KEY) == 513
    assert ask(**{"apikey": KEY, "request-time": "1", "recv-window": "5"}) == 513
    assert ask(**{"apikey": KEY, "request-time": now, "signature": "00"}) == 602


def test_limits_of_perpetuals_and_bans() -> None:
    """510 over the limit; who does not stop after 429 is banned with 418."""
    desk = SandboxDesk(enforce_limits=True)

    codes = [desk.contract("POST", "order/create", OPEN | {"price": 59000})["code"] for _ in range(5)]
    statuses = [desk.spot_answer("GET", "account").status for _ in range(30)]
    desk.clock.advance(120_000)

    assert codes == [0, 0, 0, 0, 510]
    assert (statuses[1], statuses[2], statuses[-1]) == (200, 429, 418)
    assert desk.spot_answer("GET", "account").status == 200
