"""A live feed on the sandbox exchange without a socket: simulated time, real frames and answers, faults by a seed.

Time is the exchange's, in steps of 20 ms; a frame takes one step, an answer two, as over a good line.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

from services.cdb_sandbox.clock import SteppedClock
from services.cdb_sandbox.core.depth import Quote
from services.cdb_sandbox.faults import STREAM_FAULTS, Fault, FaultKind
from services.cdb_sandbox.house import House, SandboxOptions
from services.cdb_sandbox.market.events import MarketEvent, MarketTrade
from services.cdb_sandbox.rest.gate import answer, particulars
from services.cdb_sandbox.rest.request import RawRequest
from services.cdb_sandbox.streams.perpetual import PerpetualConnection
from services.cdb_sandbox.streams.spot import SpotConnection
from services.cdb_ws.live.feed import LiveFeed
from services.cdb_ws.live.protocols import market_of
from services.cdb_ws.live.words import Answer, Ask, Close, News, Open, Send, Step
from services.cdb_ws.live_settings import LiveSettings
from services.cdb_ws.observation import Observation
from services.common.instruments import Venue, instrument_key

__all__ = ["SandboxRig"]

STEP_MS: Final = 20
REST_FAULTS: Final = frozenset(FaultKind) - STREAM_FAULTS
HTML: Final = b"<html><head><title>502 Server Error</title></head></html>"


@dataclass
class SandboxRig:
    """An exchange, a feed that listens to it, and everything that either has said.

    Attributes:
        symbols: what is traded.
        watched: what the feed is told to watch; None: the same.
        skew_ms: the exchange's clock less the feed's.
        max_connection_ms: after so long the exchange cuts a connection.
    """

    symbols: tuple[str, ...] = ("BTCUSDT",)
    venue: Venue = "mexc_spot"
    seed: int = 0
    skew_ms: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    reachable: bool = True
    watched: tuple[str, ...] | None = None
    max_connection_ms: int = 24 * 3_600_000

    def __post_init__(self) -> None:
        self.clock = SteppedClock()
        options = SandboxOptions(
            clock=self.clock, seed=self.seed, push_every_ms=100, max_connection_ms=self.max_connection_ms
        )
        self.house = House(options)
        self.house.tick()
        self.random = random.Random(self.seed)
        self.observations: list[Observation] = []
        self.news: list[News] = []
        self.facts: list[tuple[str, dict[str, Any]]] = []
        self.truth: dict[str, list[tuple[int, Decimal]]] = {symbol: [] for symbol in self.symbols}
        self._due: list[tuple[int, int, Callable[[], Step]]] = []
        self._order = itertools.count()
        self._sockets: dict[int, SpotConnection | PerpetualConnection] = {}
        self._ticked_ms = 0
        self._killed = False
        self.feed = self.make_feed(resumed=False)

    def make_feed(self, *, resumed: bool, **before: Any) -> LiveFeed:
        """Return a feed as a process makes it when it starts."""
        live = LiveSettings.model_validate({"FEED_WARMUP_MIN": 5} | self.settings)
        return LiveFeed(market_of(self.venue, live), live, self.watched or self.symbols, resumed=resumed, **before)

    @property
    def now_us(self) -> int:
        """The feed's time."""
        return (self.clock.now_ms() - self.skew_ms) * 1000

    @property
    def codes(self) -> list[str]:
        """The alerts so far."""
        return [news.code for news in self.news]

    # what happens

    def begin(self) -> SandboxRig:
        """Start the feed and give it two seconds to subscribe."""
        self._take(self.feed.begin(self.now_us))
        return self.play(2)

    def kill_feed(self) -> None:
        """Kill the feed: its memory is gone, and nothing that was on its way arrives."""
        for connection in self._sockets.values():
            self.house.hub.leave(connection)
        self._sockets, self._due, self._killed = {}, [], True

    def start_feed(self, **before: Any) -> None:
        """Start another feed in place of the one that was killed, with what the journal knows of that."""
        self._killed = False
        self.feed = self.make_feed(resumed=True, **before)
        self._take(self.feed.begin(self.now_us))

    def leave_exchange(self) -> None:
        """Cut every connection and let nobody in."""
        self.reachable = False
        for connection in list(self._sockets.values()):
            connection.close(cut=True)

    def hold(self, held: dict[str, Decimal | None]) -> None:
        """Let the feed know what is held."""
        self._take(self.feed.hold(held, self.now_us))

    def seconds_to_minute(self) -> float:
        """Return how long it is to the exchange's next minute."""
        return (60_000 - self.clock.now_ms() % 60_000) / 1_000

    def chosen(self) -> list[list[str]]:
        """Return what the screener has chosen, in order."""
        return [details["symbols"] for action, details in self.facts if action == "symbols"]

    def fault(self, kind: FaultKind, where: str = "*", **fields: Any) -> None:
        """Arm a fault."""
        self.house.faults.add(Fault(kind=kind, where=where, **fields))

    def trade(self, symbol: str, quantity: str = "1", price: str = "") -> None:
        """Let others trade, at the touch unless a price is told; quantity in the exchange's unit."""
        key = instrument_key(self.venue, symbol)
        book = self.house.exchange.books[key]
        assert book.quote is not None
        at = Decimal(price) if price else book.quote.ask
        self.house.apply(MarketEvent(key=key, trade=MarketTrade(at, Decimal(quantity), "BUY")))
        unit = book.listing.unit_value
        self.truth[symbol].append((self.clock.now_ms(), Decimal(quantity) * unit))

    def quote(self, symbol: str) -> None:
        """Move the touch by a few ticks."""
        key = instrument_key(self.venue, symbol)
        quote = self.house.exchange.books[key].quote
        assert quote is not None
        shift = self.house.exchange.listings[key].tick * self.random.randint(-3, 3)
        size = Decimal(self.random.randint(1, 9))
        self.house.apply(MarketEvent(key=key, quote=Quote(quote.bid + shift, size, quote.ask + shift, size, flat=True)))

    def play(self, seconds: float, *, every_ms: int = 0, symbols: tuple[str, ...] | None = None) -> SandboxRig:
        """Let time pass; with `every_ms` each symbol is quoted and traded so often, otherwise quoted every 5 s."""
        end_ms = self.clock.now_ms() + int(seconds * 1000)
        next_ms = self.clock.now_ms() + every_ms
        while self.clock.now_ms() < end_ms:
            if not every_ms and self.clock.now_ms() % 5_000 == 0:
                for symbol in self.symbols if symbols is None else symbols:
                    self.quote(symbol)
            if every_ms and self.clock.now_ms() >= next_ms:
                next_ms += every_ms
                for symbol in self.symbols if symbols is None else symbols:
                    self.quote(symbol)
                    self.trade(symbol, str(self.random.randint(1, 9)))
            self._pass()
        return self

    def _pass(self) -> None:
        self.clock.advance(STEP_MS)
        self.house.tick()
        while self._due and self._due[0][0] <= self.clock.now_ms():
            self._take(heapq.heappop(self._due)[2]())
        if not self._killed and self.clock.now_ms() - self._ticked_ms >= 500:
            self._ticked_ms = self.clock.now_ms()
            self._take(self.feed.tick(self.now_us))

    # the wires

    def _later(self, ms: int, action: Callable[[], Step]) -> None:
        heapq.heappush(self._due, (self.clock.now_ms() + ms, next(self._order), action))

    def _take(self, step: Step) -> None:
        self.observations += step.observations
        self.news += step.news
        self.facts += step.facts
        for action in step.actions:
            match action:
                case Open(number, after_ms):
                    self._later(after_ms + 20, lambda number=number: self._open(number))  # type: ignore[misc]
                case Send(number, text):
                    if number in self._sockets:
                        self._sockets[number].on_text(text)
                case Close(number):
                    if (connection := self._sockets.pop(number, None)) is not None:
                        connection.close()
                        self.house.hub.leave(connection)
                case Ask():
                    self._later(action.after_ms, lambda ask=action: self._ask(ask))  # type: ignore[misc]

    def _open(self, number: int) -> Step:
        feed = self.feed
        if not self.reachable:
            return feed.closed(number, "connection refused", self.now_us)

        def send(frame: str | bytes) -> None:
            self._later(STEP_MS, lambda: feed.frame(number, frame, self.now_us))

        def close(cut: bool) -> None:
            self.house.hub.leave(connection)
            self._sockets.pop(number, None)
            self._later(2 * STEP_MS, lambda: feed.closed(number, "cut" if cut else "closed", self.now_us))

        made = SpotConnection if self.venue == "mexc_spot" else PerpetualConnection
        connection: SpotConnection | PerpetualConnection = made(self.house, send, close)
        self._sockets[number] = connection
        self.house.hub.join(connection)
        return feed.opened(number, self.now_us)

    def _ask(self, ask: Ask) -> Step:
        feed, sent_us = self.feed, self.now_us

        def reply(status: int, body: bytes, after_ms: int) -> Step:
            self._later(after_ms, lambda: feed.answered(Answer(ask, sent_us, status, body), self.now_us))
            return Step()

        if not self.reachable:
            return reply(0, b"connection refused", STEP_MS)
        raw = RawRequest(method="GET", path=ask.path, query=urlencode(ask.params))
        symbol, _ = particulars(raw)
        where = f"GET {ask.path}"
        fault = self.house.faults.strike(REST_FAULTS, where, symbol=symbol, at_ms=self.clock.now_ms())
        if fault is not None and fault.kind.startswith("server_error"):
            return reply(fault.status or 502, HTML, STEP_MS)
        if fault is not None and fault.kind.startswith(("timeout", "cut")):
            return reply(0, b"ReadTimeout: no answer", min(fault.delay_ms, 15_000))
        answered = answer(self.house, raw, fault)
        late_ms = fault.delay_ms if fault is not None and fault.kind is FaultKind.SLOW else 0
        return reply(answered.status, answered.body.encode(), 2 * STEP_MS + late_ms)
