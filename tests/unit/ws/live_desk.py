"""A live feed at a desk: frames as MEXC sends them, answers, and time that is only told."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from services.cdb_ws.live.feed import LiveFeed
from services.cdb_ws.live.protocols import market_of
from services.cdb_ws.live.words import Answer, Ask, Close, Open, Send, Step
from services.cdb_ws.live_settings import LiveSettings
from services.cdb_ws.observation import Observation
from services.common.instruments import Venue
from services.common.mexc.push_pb2 import PushDataV3ApiWrapper

__all__ = ["START_US", "LiveDesk", "book", "deals", "spot_row"]

START_US = 1_754_740_800_000_000
DEALS = "spot@public.aggre.deals.v3.api.pb@100ms@"
BOOK = "spot@public.aggre.bookTicker.v3.api.pb@100ms@"


def deals(symbol: str, *rows: tuple[str, str, int, int, str]) -> bytes:
    """Trades as the spot market pushes them: price, quantity, type, time, id."""
    message = PushDataV3ApiWrapper(channel=DEALS + symbol, symbol=symbol)
    for price, quantity, kind, time_ms, trade_id in rows:
        message.publicAggreDeals.deals.add(
            price=price, quantity=quantity, tradeType=kind, time=time_ms, tradeId=trade_id
        )
    message.publicAggreDeals.eventType = "x"
    return message.SerializeToString()


def book(symbol: str, bid: str, ask: str, version: str = "", sent: int = 0) -> bytes:
    """A quote as the spot market pushes it."""
    message = PushDataV3ApiWrapper(channel=BOOK + symbol, symbol=symbol, sendTime=sent)
    ticker = message.publicAggreBookTicker
    ticker.bidPrice, ticker.bidQuantity, ticker.askPrice, ticker.askQuantity = bid, "1.5", ask, "2"
    ticker.version = version
    return message.SerializeToString()


def spot_row(symbol: str = "BTCUSDT", **changed: Any) -> dict[str, Any]:
    """A row of exchangeInfo."""
    return {
        "symbol": symbol,
        "status": "1",
        "baseAsset": symbol.removesuffix("USDT"),
        "baseAssetPrecision": 8,
        "quoteAsset": "USDT",
        "quotePrecision": 2,
        "quoteAssetPrecision": 2,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "quoteAmountPrecision": "1",
        "baseSizePrecision": "0.000001",
        "permissions": ["SPOT"],
        "filters": [],
        "maxQuoteAmount": "4000000",
        "tradeSideType": 1,
    } | changed


class LiveDesk:
    """A feed, what it has been told, and what it wanted."""

    def __init__(self, *symbols: str, venue: Venue = "mexc_spot", resumed: bool = False, **settings: Any) -> None:
        self.settings = LiveSettings.model_validate({"FEED_WARMUP_MIN": 0} | settings)
        self.market = market_of(venue, self.settings)
        self.feed = LiveFeed(self.market, self.settings, symbols or ("BTCUSDT",), resumed=resumed)
        self.now_us = START_US
        self.observations: list[Observation] = []
        self.codes: list[str] = []
        self.asks: list[Ask] = []
        self.opens: list[Open] = []
        self.sent: list[tuple[int, str]] = []
        self.closes: list[Close] = []
        self.steps: list[Step] = []

    def take(self, step: Step) -> Step:
        """Keep what follows."""
        self.steps.append(step)
        self.observations += step.observations
        self.codes += [news.code for news in step.news]
        for action in step.actions:
            match action:
                case Ask():
                    self.asks.append(action)
                case Open():
                    self.opens.append(action)
                case Send(number, text):
                    self.sent.append((number, text))
                case Close():
                    self.closes.append(action)
        return step

    def later(self, seconds: float) -> LiveDesk:
        """Let time pass, with a look every second."""
        end_us = self.now_us + int(seconds * 1_000_000)
        while self.now_us < end_us:
            self.now_us = min(end_us, self.now_us + 1_000_000)
            self.take(self.feed.tick(self.now_us))
        return self

    def answer(self, kind: str, value: Any, status: int = 200) -> Step:
        """Answer the oldest question of a kind."""
        ask = next(ask for ask in self.asks if ask.kind == kind)
        self.asks.remove(ask)
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.take(self.feed.answered(Answer(ask, self.now_us, status, body), self.now_us))

    def begin(self, *rows: dict[str, Any]) -> LiveDesk:
        """Begin, with these rows of exchangeInfo, and let every connection be opened and echoed."""
        self.take(self.feed.begin(self.now_us))
        self.answer("time", {"serverTime": self.now_us // 1000})
        self.answer("instruments", {"symbols": list(rows) or [spot_row()]})
        return self.connect()

    def connect(self) -> LiveDesk:
        """Open what is asked for, and echo its topics."""
        while self.opens:
            number = self.opens.pop(0).connection
            self.take(self.feed.opened(number, self.now_us))
            for connection, text in [sent for sent in self.sent if sent[0] == number]:
                self.sent.remove((connection, text))
                self.frame(json.dumps({"id": 1, "code": 0, "msg": ",".join(json.loads(text)["params"])}), number)
        return self

    def frame(self, frame: bytes | str, connection: int = 0) -> Step:
        """A frame on a connection, the newest unless told."""
        number = connection or max(self.feed._connections)
        return self.take(self.feed.frame(number, frame, self.now_us))

    @property
    def volume(self) -> Decimal:
        """Everything that was traded."""
        return sum((one.volume for one in self.observations), Decimal(0))
