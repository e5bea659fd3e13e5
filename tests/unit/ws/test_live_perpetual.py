"""The perpetual protocol, the questions and the screener."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from services.cdb_ws.live.perpetual import PerpetualProtocol
from services.cdb_ws.live.perpetual_rest import PerpetualRest
from services.cdb_ws.live.spot_rest import SpotRest
from services.cdb_ws.live.words import Acknowledged, Answer, Bad, Deals, Mark, Other, Pong, Quote, Refused
from services.cdb_ws.live_settings import LiveSettings
from services.common.errors import FeedInputInvalid, SettingsInvalid
from services.common.settings import AUTO, load_settings
from tests.unit.ws.live_desk import START_US, LiveDesk, spot_row

pytestmark = pytest.mark.unit

T = START_US // 1000
DETAIL: dict[str, Any] = {
    "symbol": "BTC_USDT", "baseCoin": "BTC", "quoteCoin": "USDT", "contractSize": 0.0001, "priceUnit": 0.1,
    "volUnit": 1, "minVol": 1, "maxVol": 400000, "riskBaseVol": 1000, "riskIncrVol": 1000, "riskIncrMmr": 0.004,
    "riskIncrImr": 0.004, "riskLevelLimit": 2, "riskLimitMode": "INCREASE", "maintenanceMarginRate": 0.004,
    "initialMarginRate": 0.008, "liquidationFeeRate": 0.0004, "state": 0, "apiAllowed": True,
}  # fmt: skip


def push(channel: str, data: Any, symbol: str = "BTC_USDT") -> str:
    """A push of the perpetual market."""
    return json.dumps({"channel": f"push.{channel}", "data": data, "symbol": symbol, "ts": T})


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        ('{"channel":"pong","data":1,"ts":1}', Pong),
        ('{"channel":"clientId","data":"x"}', Other),
        ('{"channel":"rs.sub.deal","data":"success","ts":1}', Acknowledged),
        ('{"channel":"rs.unsub.deal","data":"success","ts":1}', Other),
        ('{"channel":"rs.error","data":"Contract [NOPE_USDT] not exists"}', Refused),
        ('{"channel":"push.kline","data":{},"symbol":"BTC_USDT"}', Other),
        ("[]", Bad),
        ("{}", Bad),
        ("<html>", Bad),
        ('{"channel":"push.deal","data":[]}', Bad),
        (push("deal", 7), Bad),
        (push("deal", [], "B"), Bad),
        (push("depth.full", {}), Bad),
        (push("ticker", {"fairPrice": "x"}), Bad),
        (push("ticker", {"fairPrice": True}), Bad),
        (push("deal", {"p": 1, "v": 2, "T": 1, "t": T}), Deals),
        (push("depth.full", {"bids": [[99, 5, 1]], "asks": [[101, 5, 1]], "version": 3}), Quote),
        (push("fair.price", {"symbol": "BTC_USDT", "price": 100.5}), Mark),
        (push("index.price", {"price": 100.5}), Mark),
        (push("funding.rate", {"rate": -0.00002}), Mark),
    ],
)
def test_every_frame_is_read_or_kept(frame: str, kind: type) -> None:
    """Nothing that comes is an error of ours."""
    (sight,) = PerpetualProtocol().decode(frame)
    assert isinstance(sight, kind)


def test_contracts_become_base_units_and_marks_go_along() -> None:
    """Sizes and volumes are contracts at the exchange and base units here; echoes without a symbol count in order."""
    desk = LiveDesk(venue="mexc_perpetual")
    desk.take(desk.feed.begin(desk.now_us))
    desk.answer("time", {"success": True, "code": 0, "data": T})
    step = desk.answer("instruments", {"success": True, "code": 0, "data": [DETAIL, {"symbol": "X"}]})
    assert step.facts[0][1]["instruments"][0]["contract_size"] == Decimal("0.0001")
    desk.take(desk.feed.opened(1, desk.now_us))
    for _, text in list(desk.sent):
        desk.frame(json.dumps({"channel": "rs." + json.loads(text)["method"], "data": "success"}))
    desk.frame(push("depth.full", {"bids": [[99, 5000, 1]], "asks": [[101, 5000, 1]], "version": 3}))
    desk.frame(push("ticker", {"fairPrice": 100.5, "fundingRate": 0.0001, "indexPrice": 100.4}))
    desk.frame(push("deal", [{"p": 100, "v": 3, "T": 2, "t": T, "i": "7"}, {"p": 0, "v": 3, "T": 2, "t": T}]))
    last = desk.observations[-1]
    assert (last.volume, last.bid_size, last.mark_price) == (Decimal("0.0003"), Decimal("0.5"), Decimal("100.5"))
    assert last.funding_rate == Decimal("0.0001")
    assert desk.feed.bad_frames == 1
    assert not desk.feed.problems(desk.now_us)
    desk.answer("trades", {"success": True, "code": 0, "data": [{"p": 100, "v": 3, "T": 2, "t": T}]})
    assert desk.volume == Decimal("0.0003")


def test_answers_that_are_none_are_refused_and_columns_are_read() -> None:
    """The envelope decides; bars stand in columns with contracts as volume."""
    rest = PerpetualRest()
    for body in (b"<html>", b'{"success":false,"code":1002}', b'{"success":true,"code":0,"data":7}'):
        with pytest.raises(FeedInputInvalid):
            rest.read_trades(body)
    columns = {"time": [T // 1000], "open": [1], "high": [3], "low": [1], "close": [2], "vol": [5]}
    (bar,) = rest.read_klines(json.dumps({"success": True, "code": 0, "data": columns}).encode(), None)
    assert (bar.start_us, bar.close, bar.volume) == (START_US, 2, 5)
    with pytest.raises(FeedInputInvalid):
        rest.read_klines(b'{"success":true,"code":0,"data":{"time":[1]}}', None)
    ticker = {"symbol": "BTC_USDT", "amount24": 5, "bid1": 1, "ask1": 2}
    assert rest.read_tickers(json.dumps({"success": True, "code": 0, "data": [ticker, {}]}).encode())[0].turnover == 5
    assert rest.tickers().kind == "tickers"
    assert rest.age("BTCUSDT", 0, START_US).params[0] == ("interval", "Day1")
    spot = SpotRest()
    for read in (spot.read_time, spot.read_instruments, spot.read_tickers, spot.read_trades):
        for body in (b"<html>", b"7"):
            with pytest.raises(FeedInputInvalid):
                read(body)
    for body in (b"[[1]]", b"[7]"):
        with pytest.raises(FeedInputInvalid):
            spot.read_klines(body, None)
    with pytest.raises(FeedInputInvalid):
        spot.read_trades(b"[{}]")
    with pytest.raises(FeedInputInvalid):
        spot.read_instruments(b"{}")


def ticker(symbol: str, turnover: str, bid: str = "100", ask: str = "100.1") -> dict[str, str]:
    """A row of 24 hours."""
    return {"symbol": symbol, "quoteVolume": turnover, "bidPrice": bid, "askPrice": ask}


def test_the_screener_chooses_by_turnover_and_says_why_not() -> None:
    """Stablecoins, leveraged tokens, wide, small, young and closed ones are out; each change is an event."""
    desk = LiveDesk(SCREENER_TOP=2, SCREENER_KEEP_MIN=5)
    desk.feed = type(desk.feed)(desk.market, desk.settings, AUTO, resumed=False)
    names = ["AAAUSDT", "BBBUSDT", "CCCUSDT", "USDCUSDT", "BTC3LUSDT", "WIDEUSDT", "TINYUSDT", "OFFUSDT", "YOUNGUSDT"]
    rows = [spot_row(name, status="2" if name == "OFFUSDT" else "1") for name in names]
    tickers = [ticker(name, f"{9_000_000 - n}") for n, name in enumerate(names)]
    tickers[5]["askPrice"], tickers[6]["quoteVolume"], tickers[8]["quoteVolume"] = "110", "5", "99000000"
    desk.take(desk.feed.begin(desk.now_us))
    desk.answer("time", {"serverTime": T})
    desk.answer("instruments", {"symbols": rows})
    desk.answer("tickers", [*tickers, ticker("NOGRIDUSDT", "1"), {}])
    while ages := [ask for ask in desk.asks if ask.kind == "age"]:
        old = T - (1 if ages[0].symbol == "YOUNGUSDT" else 31) * 86_400_000
        step = desk.answer("age", [[old, "1", "1", "1", "1", "1", old, "1"]])
    assert [action for action, _ in step.facts] == ["instruments", "symbols"]
    assert step.facts[1][1]["symbols"] == ["AAAUSDT", "BBBUSDT"]
    assert desk.feed.screening is not None
    why = {row["symbol"]: row["excluded"] for row in desk.feed.screening.top()["ranking"]}
    assert why["USDCUSDT"] == "stablecoin"
    assert why["BTC3LUSDT"] == "leveraged token"
    assert why["WIDEUSDT"].startswith("spread over")
    assert why["TINYUSDT"].startswith("turnover under")
    assert why["OFFUSDT"] == "status 2"
    assert why["YOUNGUSDT"] == "younger than 30 days"
    assert why["NOGRIDUSDT"] == "no usable grid"
    assert not why["CCCUSDT"]
    desk.connect()

    desk.now_us += 3_600_000_000
    desk.take(desk.feed.tick(desk.now_us))
    tickers[2]["quoteVolume"] = "50000000"
    desk.answer("instruments", {"symbols": rows})
    desk.answer("tickers", tickers)
    ask = next(ask for ask in desk.asks if ask.kind == "age")
    desk.asks.remove(ask)
    for attempt in range(6):
        failing = type(ask)(ask.kind, ask.symbol, ask.path, ask.params, 0, attempt)
        step = desk.take(desk.feed.answered(Answer(failing, desk.now_us, 500, b"x"), desk.now_us))
    assert not step.facts, "CCC counts as too young, so nothing has changed"
    assert desk.feed.screening.chosen == ("AAAUSDT", "BBBUSDT")

    desk.now_us += 3_600_000_000
    desk.take(desk.feed.tick(desk.now_us))
    tickers[0]["quoteVolume"] = "1"
    desk.answer("instruments", {"symbols": rows})
    step = desk.answer("tickers", tickers)
    assert step.facts[0][1] | {"venue": ""} == {
        "venue": "", "symbols": ["BBBUSDT"], "leaving": ["AAAUSDT"], "joined": [], "left": ["AAAUSDT"]
    }  # fmt: skip
    desk.now_us += 301_000_000
    desk.take(desk.feed.tick(desk.now_us))
    assert "AAAUSDT" not in desk.feed.instruments


@pytest.mark.parametrize(
    ("name", "value"), [("MEXC_REST_URL", "api.mexc.com"), ("MEXC_WS_URL", "https://x"), ("MEXC_WS_PUSH_MS", "50")]
)
def test_wrong_settings_of_a_live_feed_are_named(name: str, value: str) -> None:
    """Each mistake is named with its value."""
    with pytest.raises(SettingsInvalid, match=name):
        load_settings(LiveSettings, {name: value})
