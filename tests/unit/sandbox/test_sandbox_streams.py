"""The sandbox's streams without sockets, the control endpoints, and what a stream fault does."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from services.cdb_sandbox import control
from services.cdb_sandbox.faults import Fault, FaultKind
from services.cdb_sandbox.streams.perpetual import PerpetualConnection
from services.cdb_sandbox.streams.spot import SpotConnection
from services.common.mexc.push_pb2 import PushDataV3ApiWrapper
from services.common.mexc.signing import perpetual_login_signature
from tests.unit.sandbox.sandbox_desk import KEY, SECRET, SandboxDesk

pytestmark = pytest.mark.unit

DEALS = "spot@public.aggre.deals.v3.api.pb@100ms@BTCUSDT"
DEPTH = "spot@public.aggre.depth.v3.api.pb@100ms@BTCUSDT"


class Line:
    """A connection whose frames are kept."""

    def __init__(self, desk: SandboxDesk, *, perpetual: bool = False, account: str | None = None) -> None:
        self.frames: list[Any] = []
        self.closed: list[bool] = []
        if perpetual:
            self.end: Any = PerpetualConnection(desk.house, self.frames.append, self.closed.append)
        else:
            self.end = SpotConnection(desk.house, self.frames.append, self.closed.append, account)
        desk.house.hub.join(self.end)

    def ask(self, **message: Any) -> Any:
        """Send a message and return the first answer."""
        before = len(self.frames)
        self.end.on_text(json.dumps(message))
        return json.loads(self.frames[before])

    def subscribe(self, *channels: str) -> Any:
        """Subscribe to spot channels and return the answer."""
        return self.ask(method="SUBSCRIPTION", params=list(channels), id=3)

    def pushed(self) -> list[str]:
        """Return the body kind of every protobuf frame, or the channel of every JSON one."""
        kinds = []
        for frame in self.frames:
            if isinstance(frame, bytes):
                kinds.append(str(PushDataV3ApiWrapper.FromString(frame).WhichOneof("body")))
            elif "push." in frame:
                kinds.append(json.loads(frame)["channel"])
        return kinds


@pytest.fixture
def desk() -> SandboxDesk:
    """A fresh exchange."""
    return SandboxDesk()


def test_every_public_spot_channel_brings_its_message(desk: SandboxDesk) -> None:
    """State is sent at once, changes follow; the depth's versions have no gap."""
    line = Line(desk)
    channels = [
        DEALS,
        DEPTH,
        "spot@public.aggre.bookTicker.v3.api.pb@10ms@BTCUSDT",
        "spot@public.limit.depth.v3.api.pb@BTCUSDT@5",
        "spot@public.kline.v3.api.pb@BTCUSDT@Min1",
        "spot@public.bookTicker.batch.v3.api.pb@BTCUSDT",
        "spot@public.miniTicker.v3.api.pb@BTCUSDT@UTC+8",
    ]

    assert line.subscribe(*channels) == {"id": 3, "code": 0, "msg": ",".join(channels)}
    desk.quote("60001", "1", "60002", "1")
    desk.quote("60003", "1", "60004", "1")
    desk.trade("60003", "0.1", "SELL")

    depths = [PushDataV3ApiWrapper.FromString(f).publicAggreDepths for f in line.frames if isinstance(f, bytes)]
    first, second = [d for d in depths if d.fromVersion]
    assert int(second.fromVersion) == int(first.toVersion) + 1
    assert set(line.pushed()) == {
        "publicAggreDeals", "publicAggreDepths", "publicAggreBookTicker", "publicLimitDepths", "publicSpotKline",
        "publicBookTickerBatch", "publicMiniTicker",
    }  # fmt: skip
    assert line.ask(method="UNSUBSCRIPTION", params=channels)["msg"] == ",".join(channels)
    assert line.ask(method="ping")["msg"] == "PONG"
    assert "no handler" in line.ask(method="what")["msg"]
    line.end.on_text("[")
    assert "invalid" in line.frames[-1]


def test_private_spot_channels_need_a_listen_key(desk: SandboxDesk) -> None:
    """Without one they are refused in words with code 0; with one they tell of order, deal and balance."""
    private = [f"spot@private.{name}.v3.api.pb" for name in ("orders", "deals", "account")]
    stranger, owner = Line(desk), Line(desk, account="claire")

    assert "Not Subscribed" in stranger.subscribe(*private)["msg"]
    owner.subscribe(*private)
    desk.limit("BUY", "0.1", "60000.01")

    assert stranger.pushed() == []
    assert set(owner.pushed()) == {"privateOrders", "privateDeals", "privateAccount"}


def test_every_perpetual_channel_brings_its_message(desk: SandboxDesk) -> None:
    """Ticker, deals, depth, bars, funding, prices; and after the login all that is personal."""
    line = Line(desk, perpetual=True)
    for name in ("ticker", "deal", "depth", "depth.full", "funding.rate", "index.price", "fair.price"):
        assert line.ask(method=f"sub.{name}", param={"symbol": "BTC_USDT"})["channel"] == f"rs.sub.{name}"
    line.ask(method="sub.kline", param={"symbol": "BTC_USDT", "interval": "Min1"})
    line.ask(method="sub.tickers", param={})
    now = str(desk.clock.now_ms())
    login = {"apiKey": KEY, "reqTime": now, "signature": perpetual_login_signature(SECRET, KEY, now)}
    assert line.ask(method="login", param=login)["channel"] == "rs.login"

    order = {"symbol": "BTC_USDT", "vol": 10, "price": 60000.1, "side": 1, "type": 1, "openType": 1}
    desk.contract("POST", "order/create", order)
    desk.quote("60001", "10", "60002", "10", "mexc_perpetual:BTCUSDT")
    desk.clock.advance(60_000)
    line.end.heard_ms = desk.clock.now_ms()
    desk.house.tick()

    assert set(line.pushed()) == {
        "push.ticker", "push.deal", "push.depth", "push.depth.full", "push.kline", "push.funding.rate",
        "push.index.price", "push.fair.price", "push.tickers", "push.personal.order", "push.personal.order.deal",
        "push.personal.position", "push.personal.asset",
    }  # fmt: skip
    assert line.ask(method="ping")["channel"] == "pong"
    assert line.ask(method="unsub.deal", param={"symbol": "BTC_USDT"})["channel"] == "rs.unsub.deal"


def test_perpetual_filters_and_refusals(desk: SandboxDesk) -> None:
    """Only what the filters name comes; what is wrong is answered with rs.error."""
    line = Line(desk, perpetual=True)
    now = str(desk.clock.now_ms())
    login = {"apiKey": KEY, "reqTime": now, "signature": perpetual_login_signature(SECRET, KEY, now)}
    order = {"symbol": "BTC_USDT", "vol": 10, "price": 60000.1, "side": 1, "type": 1, "openType": 1}

    wrong = [
        line.ask(method="personal.filter", param={"filters": []}),
        line.ask(method="login", param=login | {"signature": "00"}),
        line.ask(method="login", param=login | {"apiKey": "nobody"}),
        line.ask(method="sub.deal", param={"symbol": "NOPE_USDT"}),
        line.ask(method="sub.nothing", param={}),
        line.ask(method="sub.kline", param={"symbol": "BTC_USDT", "interval": "Min7"}),
        line.ask(method="what"),
    ]
    line.end.on_text("[")
    assert {answer["channel"] for answer in wrong} == {"rs.error"}

    line.ask(method="login", param=login, subscribe=False)
    desk.contract("POST", "order/create", order)
    assert line.pushed() == []
    line.ask(method="personal.filter", param={"filters": [{"filter": "order", "rules": ["BTC_USDT"]}]})
    desk.contract("POST", "order/create", order)
    assert set(line.pushed()) == {"push.personal.order"}


def test_stream_faults(desk: SandboxDesk) -> None:
    """Twice, late, lost, silent, blocked, zipped, cut."""
    line = Line(desk)
    line.subscribe(DEALS)

    def prices(kind: FaultKind, count: int) -> list[str]:
        line.frames.clear()
        desk.house.faults.add(Fault(kind=kind, where="spot@public.aggre.deals*"))
        for n in range(count):
            desk.trade(str(60000 - n), "0.1", "SELL")
        return [PushDataV3ApiWrapper.FromString(f).publicAggreDeals.deals[0].price for f in line.frames]

    assert prices(FaultKind.DUPLICATE, 1) == ["60000", "60000"]
    assert prices(FaultKind.OUT_OF_ORDER, 2) == ["59999", "60000"]
    assert prices(FaultKind.DROP, 2) == ["59999"]
    assert prices(FaultKind.DISCONNECT, 1) == []
    assert line.closed == [True]

    quiet = Line(desk)
    desk.house.faults.add(Fault(kind=FaultKind.SILENT, where=DEALS))
    assert quiet.subscribe(DEALS)["msg"] == DEALS
    desk.trade("60000", "0.1")
    assert quiet.pushed() == []
    desk.house.faults.add(Fault(kind=FaultKind.BLOCKED, where=DEALS))
    assert "Blocked!" in quiet.subscribe(DEALS)["msg"]

    perpetual = Line(desk, perpetual=True)
    perpetual.ask(method="sub.deal", param={"symbol": "BTC_USDT"})
    desk.house.faults.add(Fault(kind=FaultKind.GZIP, where="push.deal"))
    desk.trade("60000", "1", key="mexc_perpetual:BTCUSDT")
    assert json.loads(gzip.decompress(perpetual.frames[-1]))["channel"] == "push.deal"
    desk.house.faults.add(Fault(kind=FaultKind.BLOCKED, where="sub.deal"))
    assert perpetual.ask(method="sub.deal", param={"symbol": "BTC_USDT"})["channel"] == "rs.error"


def test_connections_end_when_the_exchange_would_end_them(desk: SandboxDesk) -> None:
    """Without a subscription after 30 s, without a word after 60 s, in any case after 24 h."""
    bare, idle, perpetual = Line(desk), Line(desk), Line(desk, perpetual=True)
    idle.subscribe(DEALS)

    desk.clock.advance(31_000)
    desk.house.tick()
    assert [bool(x.closed) for x in (bare, idle, perpetual)] == [True, False, False]
    desk.clock.advance(30_000)
    desk.house.tick()
    assert [x.closed for x in (bare, idle, perpetual)] == [[False], [False], [False]]
    old = Line(desk)
    old.subscribe(DEALS)
    desk.clock.advance(24 * 3600 * 1000)
    old.end.heard_ms = desk.clock.now_ms()
    desk.house.tick()
    assert old.closed == [False]


def test_control_over_http(desk: SandboxDesk) -> None:
    """Faults, market, clock, streams and the truth; what is wrong is said."""

    def do(method: str, what: str, /, **body: Any) -> tuple[int, Any]:
        status, text = control.handle(desk.house, method, what, json.dumps(body) if body else "")
        return status, json.loads(text)

    quote = {"symbol": "BTCUSDT", "bid": 1, "bid_size": 1, "ask": 2, "ask_size": 1}
    assert do("POST", "faults", kind="slow", share="0.3", probability=0.5)[1] == {"id": 1}
    assert do("GET", "faults")[1]["armed"][0]["kind"] == "slow"
    assert do("DELETE", "faults")[0] == 200
    assert do("GET", "faults")[1]["armed"] == []
    assert do("POST", "faults", kind="nonsense")[0] == 400
    assert do("POST", "faults", kind="slow", what=1)[0] == 400
    assert do("POST", "market/quote", **quote)[0] == 200
    assert do("POST", "market/quote", **(quote | {"bid": "x"}))[0] == 400
    assert do("POST", "market/trade", symbol="BTCUSDT", price=1, quantity=1, taker="SELL")[0] == 200
    assert do("POST", "market/trade", symbol="NOPEUSDT", price=1, quantity=1)[0] == 400
    assert do("POST", "market/mark", symbol="BTCUSDT", mark=1, funding_rate="0.001")[0] == 200
    assert do("POST", "clock", advance_ms=5)[0] == 200
    assert do("POST", "clock", skew_ms=5)[0] == 400
    assert do("POST", "streams/disconnect", cut=True)[0] == 200
    assert do("POST", "listen-keys/expire")[0] == 200
    assert do("GET", "ledger")[1]["orders"] == []
    assert do("GET", "nothing")[0] == 404
