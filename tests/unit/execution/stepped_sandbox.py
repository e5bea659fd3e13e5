"""The sandbox exchange without sockets and without waiting: real requests of the real client, and every fault.

A request travels, the exchange acts on it, an answer travels back; while it does, time passes and the other threads of
the process go on (`meanwhile`). Whatever the real client needs of the world (time, waiting, a connection) comes from
here; what it signs, limits, retries and reads is its own code.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, urlsplit

from services.cdb_execution.adapters.caller import MexcCaller
from services.cdb_execution.adapters.dialects import PerpetualDialect, SpotDialect
from services.cdb_execution.adapters.keys import Keys
from services.cdb_execution.adapters.limits import PERPETUAL_LIMITS, SPOT_LIMITS, RateLimiter
from services.cdb_execution.adapters.perpetual import PERPETUAL_TIME, MexcPerpetual
from services.cdb_execution.adapters.server_clock import ServerClock
from services.cdb_execution.adapters.spot import SPOT_TIME, MexcSpot
from services.cdb_execution.adapters.stream_dialects import PerpetualStreamDialect, SpotStreamDialect, StreamDialect
from services.cdb_execution.adapters.transport import HttpAnswer, HttpRequest, TransportFailure
from services.cdb_execution.exchange import OrderReport, StreamState, Trade
from services.cdb_sandbox.clock import SteppedClock
from services.cdb_sandbox.core.depth import Quote
from services.cdb_sandbox.core.listing import DEFAULT_LISTINGS, Listing
from services.cdb_sandbox.faults import STREAM_FAULTS, Fault, FaultKind
from services.cdb_sandbox.house import DEFAULT_CUSTOMER, House, SandboxOptions
from services.cdb_sandbox.market.events import ConstantMarket, MarketEvent
from services.cdb_sandbox.rest.gate import answer, particulars
from services.cdb_sandbox.rest.request import RawRequest
from services.cdb_sandbox.streams.perpetual import PerpetualConnection
from services.cdb_sandbox.streams.spot import SpotConnection
from services.common.errors import ExchangeRefused, ExchangeUnreachable
from services.common.instruments import PERPETUAL, Venue

__all__ = ["ORDER_PATHS", "Around", "SteppedSandbox"]

ORDER_PATHS: Final = frozenset({"/api/v3/order", "/api/v1/private/order/create", "/api/v1/private/order/submit"})
_REST: Final = frozenset(FaultKind) - STREAM_FAULTS
_HTML: Final = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n</html>\r\n"
_NEVER_THERE: Final = frozenset(
    {FaultKind.TIMEOUT_BEFORE, FaultKind.LATE, FaultKind.CUT_BEFORE, FaultKind.SERVER_ERROR_BEFORE}
)
_PING_MS: Final = 15_000


class Around(Protocol):
    """What the world around a request does."""

    calm: bool

    def wall_ms(self) -> int:
        """Return this machine's time."""
        ...

    def meanwhile(self, ms: int) -> None:
        """Let time pass while a request is under way; the process goes on, and may end."""
        ...

    def point(self, name: str) -> None:
        """Be killed here, perhaps."""
        ...

    def chance(self, probability: float) -> bool:
        """Draw lots."""
        ...

    def draw(self, most: int) -> int:
        """Return a number below `most`."""
        ...


class SteppedSandbox:
    """One sandbox exchange and the way to it.

    Attributes:
        house: the exchange.
        posts: how often an order was sent, by client order id, whether it arrived or not.
    """

    def __init__(self, around: Around, venue: Venue, *, seed: int, skew_ms: int, fee_asset: Any = "received") -> None:
        self.around, self.venue, self.skew_ms = around, venue, skew_ms
        listing = next(x for x in DEFAULT_LISTINGS if (x.spec.venue, x.spec.symbol) == (venue, "BTCUSDT"))
        self.listing: Listing = listing if venue == PERPETUAL else replace(listing, fee_asset=fee_asset)
        self.clock = SteppedClock(around.wall_ms() + skew_ms)
        self.house = House(
            SandboxOptions(
                clock=self.clock, listings=[self.listing], seed=seed, market=ConstantMarket({}), push_every_ms=10**9
            )
        )
        self.house.tick()
        self.posts: Counter[str] = Counter()
        self._travelling: list[tuple[int, RawRequest]] = []
        self.connection: SpotConnection | PerpetualConnection | None = None
        self.frames: deque[str | bytes] = deque()
        self._pinged_ms = 0
        self.begin()

    # the process that asks

    def begin(self) -> None:
        """Be a new process: nothing is known of the exchange, no connection is open."""
        self.cut()
        spot = self.venue != PERPETUAL
        caller = MexcCaller(
            SpotDialect(5_000) if spot else PerpetualDialect(),
            self,
            Keys(DEFAULT_CUSTOMER.api_key, DEFAULT_CUSTOMER.api_secret),
            "http://127.0.0.1:1",
            RateLimiter(
                SPOT_LIMITS if spot else PERPETUAL_LIMITS,
                clock=lambda: self.around.wall_ms() / 1_000,
                wait=lambda seconds: self.around.meanwhile(int(seconds * 1_000) + 1),
            ),
            clock=lambda ask: ServerClock(ask, wall=self.around.wall_ms),
            read_time=(SPOT_TIME, lambda body: int(body["serverTime"])) if spot else (PERPETUAL_TIME, int),
        )
        self.exchange: MexcSpot | MexcPerpetual
        self.dialect: StreamDialect
        if spot:
            self.exchange = MexcSpot(caller)
            self.dialect = SpotStreamDialect(caller, "ws://127.0.0.1:1/ws")
        else:
            self.exchange = perpetual = MexcPerpetual(caller)
            keys = Keys(DEFAULT_CUSTOMER.api_key, DEFAULT_CUSTOMER.api_secret)
            self.dialect = PerpetualStreamDialect(caller, "ws://127.0.0.1:1/edge", keys, perpetual.contract_size)

    # requests

    def send(self, request: HttpRequest, timeout_sec: float) -> HttpAnswer | TransportFailure:
        """Carry one request there and its answer back, or what becomes of them instead."""
        around, limit_ms = self.around, int(timeout_sec * 1_000)
        raw = RawRequest(
            method=request.method,
            path=request.path,
            query=request.query,
            body=request.body,
            headers={name.lower(): value for name, value in request.headers.items()},
        )
        symbol, client_id = particulars(raw)
        is_order = raw.method == "POST" and raw.path in ORDER_PATHS
        if is_order:
            self.posts[str(client_id)] += 1
        if around.chance(0.02):
            return TransportFailure("connect", sent=False)
        self._travel(raw, "the order is on its way" if is_order else "a question is on its way")
        now_ms = self.house.now_ms()
        where = f"{raw.method} {raw.path}"
        fault = self.house.faults.strike(_REST, where, symbol=symbol, client_id=client_id, at_ms=now_ms)
        if fault is not None and fault.kind in _NEVER_THERE:
            return self._lose(raw, fault, limit_ms)
        answered = answer(self.house, raw, fault)
        self._return(fault, "the order is there" if is_order else "the exchange has answered")
        spoilt = None if fault is None else _spoilt(fault, limit_ms)
        headers = {name.lower(): value for name, value in answered.headers.items()}
        return spoilt or HttpAnswer(answered.status, answered.body.encode(), headers)

    def _lose(self, raw: RawRequest, fault: Fault, limit_ms: int) -> HttpAnswer | TransportFailure:
        """Say what is seen here of a request that the exchange has not got, or not yet."""
        if fault.kind is FaultKind.LATE:
            self._travelling.append((self.around.wall_ms() + fault.delay_ms, raw))
        if fault.kind is FaultKind.SERVER_ERROR_BEFORE:
            return HttpAnswer(502, _HTML)
        if fault.kind is FaultKind.CUT_BEFORE:
            return TransportFailure("cut")
        self.around.meanwhile(limit_ms)
        return TransportFailure("timeout")

    def _travel(self, raw: RawRequest, point: str) -> None:
        """Be on the way there; if the process ends meanwhile, the request arrives or does not."""
        try:
            self.around.point(point)
            if self.around.chance(0.2):
                self.around.meanwhile(self.around.draw(1_500))
        except BaseException:
            if self.around.draw(2):
                self._travelling.append((self.around.wall_ms() + self.around.draw(4_000), raw))
            raise

    def _return(self, fault: Fault | None, point: str) -> None:
        self.around.point(point)
        if fault is not None and fault.kind in {FaultKind.SLOW, FaultKind.TIMEOUT_AFTER}:
            self.around.meanwhile(min(fault.delay_ms, 5_000))
        elif self.around.chance(0.2):
            self.around.meanwhile(self.around.draw(1_500))

    def advance(self, ms: int) -> None:
        """Let the exchange's time pass: what was on its way arrives, if its time stamp is still good."""
        self.clock.advance(ms)
        now = self.around.wall_ms()
        arrived = [raw for at, raw in self._travelling if at <= now]
        self._travelling = [(at, raw) for at, raw in self._travelling if at > now]
        for raw in arrived:
            answer(self.house, raw)

    @property
    def travels(self) -> bool:
        """Whether a request is still on its way."""
        return bool(self._travelling)

    # the user stream

    def listen(self, deliver: Callable[[OrderReport | Trade | StreamState], None]) -> None:
        """Do one thing of the user stream's thread: connect, or hear the next frame; a fault ends the connection."""
        try:
            self._listen(deliver)
        except (ExchangeUnreachable, ExchangeRefused) as error:
            self._lost(deliver, str(error))

    def _listen(self, deliver: Callable[[Any], None]) -> None:
        connection = self.connection
        if connection is None:
            self._connect()
        elif self.frames:
            self._hear(self.frames.popleft(), connection, deliver)
        elif not connection.open:
            self._lost(deliver, "the stream has ended")
        elif self.house.now_ms() - self._pinged_ms >= _PING_MS:
            self._pinged_ms = self.house.now_ms()
            connection.on_text(self.dialect.ping)

    def cut(self) -> None:
        """End the connection; what was under way is lost."""
        if self.connection is not None:
            self.house.hub.leave(self.connection)
        self.connection = None
        self.frames.clear()

    def _connect(self) -> None:
        house = self.house
        key = dict(parse_qsl(urlsplit(self.dialect.address()).query)).get("listenKey")
        self._pinged_ms = house.now_ms()
        if self.venue == PERPETUAL:
            self.connection = PerpetualConnection(house, self.frames.append, lambda _cut: None)
        else:
            account = house.listen_keys.account_of(key or "", house.now_ms())
            struck = house.faults.strike(frozenset({FaultKind.INVALID_LISTEN_KEY}), "/ws", at_ms=house.now_ms())
            self.connection = SpotConnection(house, self.frames.append, lambda _cut: None, account, key)
            if account is None or struck is not None:
                self.frames.append("Invalid listen key")
                return
        house.hub.join(self.connection)
        self.connection.on_text(self.dialect.greeting())

    def _hear(self, frame: str | bytes, connection: Any, deliver: Callable[[Any], None]) -> None:
        heard = self.dialect.hear(frame)
        if heard.fault is not None:
            self._lost(deliver, heard.fault)
            return
        if heard.reply is not None:
            connection.on_text(heard.reply)
        if heard.ready:
            deliver(StreamState(connected=True))
        if isinstance(heard.report, OrderReport | Trade):
            deliver(heard.report)

    def _lost(self, deliver: Callable[[Any], None], reason: str) -> None:
        self.cut()
        deliver(StreamState(connected=False, reason=reason))

    # the market

    def quote(self, bid: Decimal, bid_size: Decimal, ask: Decimal, ask_size: Decimal, *, flat: bool) -> None:
        """Show a new touch, in the exchange's unit of quantity."""
        book = self.house.exchange.books[self.listing.key]
        book.refresh("BUY")
        book.refresh("SELL")
        self.house.apply(MarketEvent(key=self.listing.key, quote=Quote(bid, bid_size, ask, ask_size, flat=flat)))


def _spoilt(fault: Fault, limit_ms: int) -> HttpAnswer | TransportFailure | None:
    """Return what comes back instead of the exchange's answer; None when it is the answer."""
    if fault.kind is FaultKind.TIMEOUT_AFTER or (fault.kind is FaultKind.SLOW and fault.delay_ms > limit_ms):
        return TransportFailure("timeout")
    if fault.kind is FaultKind.CUT_AFTER:
        return TransportFailure("cut")
    return HttpAnswer(502, _HTML) if fault.kind is FaultKind.SERVER_ERROR_AFTER else None
