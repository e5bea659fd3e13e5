"""The sandbox inside a test: an exchange in a thread of its own, on a free port of 127.0.0.1."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from decimal import Decimal
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web

from services.cdb_sandbox import ledger as truth
from services.cdb_sandbox.clock import RealClock, SteppedClock
from services.cdb_sandbox.core.depth import Quote
from services.cdb_sandbox.core.orders import Side
from services.cdb_sandbox.faults import Fault, Injection
from services.cdb_sandbox.house import House, SandboxOptions
from services.cdb_sandbox.market.events import MarketEvent, MarketTrade
from services.cdb_sandbox.server import make_application
from services.common.decimals import use_fixed_context
from services.common.instruments import Venue, instrument_key

__all__ = ["SandboxExchange"]

T = TypeVar("T")


class SandboxExchange:
    """MEXC in one process, for tests: REST, both WebSockets, faults on request, and the truth to compare with.

    A context manager. Inside it the exchange answers on `rest_url`, `spot_ws_url` (`…/ws`) and `perpetual_ws_url`
    (`…/edge`) for the keys `api_key` and `api_secret`. All methods may be called from any thread; each returns when
    the exchange has done it (pushes may still be on their way).

    Example::

        with SandboxExchange() as mexc:                          # quotes that stand still, real time
            mexc.inject(Fault(kind=FaultKind.TIMEOUT_AFTER, where="POST /api/v3/order", delay_ms=300))
            client = MyClient(mexc.rest_url, mexc.api_key, mexc.api_secret)
            client.place(...)                                    # times out, but the order is there:
            assert mexc.orders()[0]["client_order_id"] == "bot-1"

        with SandboxExchange(SandboxOptions(clock=SteppedClock())) as mexc:
            mexc.quote("BTCUSDT", "59999", "1", "60000", "2")    # bid, its size, ask, its size
            mexc.trade("BTCUSDT", "59990", "0.5", taker="SELL")
            mexc.advance(60_000)                                 # one minute passes at once

    The default market quotes BTC 60000, ETH 3000 and SOL 150 USDT on both venues with nothing behind the touch; what an
    order took stays taken until `quote` shows the side again. `SandboxOptions(market=RecordedMarket([...], listings))`
    plays files. The default account has 100 000 USDT, 1 BTC, 10 ETH, 100 SOL and 1 000 MX on spot and 100 000 USDT for
    perpetuals; fees are taken in the received asset. How orders trade: `core.exchange`. What can go wrong: `faults`.

    Args:
        options: market, clock, accounts, limits (see `SandboxOptions`); None: all defaults.
        port: to listen on; 0: a free one.
        host: to listen on.
    """

    def __init__(self, options: SandboxOptions | None = None, *, port: int = 0, host: str = "127.0.0.1") -> None:
        self.options = options or SandboxOptions()
        self._host, self._port = host, port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ready: Future[int] = Future()
        self._stop: asyncio.Event | None = None
        self._house: House | None = None

    @property
    def api_key(self) -> str:
        """The key of the first account."""
        return self.options.customers[0].api_key

    @property
    def api_secret(self) -> str:
        """The secret of the first account."""
        return self.options.customers[0].api_secret

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def rest_url(self) -> str:
        """Base of both REST interfaces; spot paths begin with /api/v3, perpetual ones with /api/v1."""
        return f"http://{self._host}:{self._port}"

    @property
    def spot_ws_url(self) -> str:
        """Address of the spot streams."""
        return f"ws://{self._host}:{self._port}/ws"

    @property
    def perpetual_ws_url(self) -> str:
        """Address of the perpetual streams."""
        return f"ws://{self._host}:{self._port}/edge"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="cdb_sandbox", daemon=True)
        self._thread.start()
        self._port = self._ready.result(timeout=30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        assert self._stop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=30)

    def _run(self) -> None:
        use_fixed_context()
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        use_fixed_context()
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._house = House(self.options)
        runner = web.AppRunner(make_application(self._house), access_log=None, shutdown_timeout=0.2)
        try:
            await runner.setup()
            await web.TCPSite(runner, self._host, self._port).start()
            self._house.tick()
        except Exception as error:
            await runner.cleanup()
            self._ready.set_exception(error)
            return
        self._ready.set_result(runner.addresses[0][1])
        await self._stop.wait()
        await runner.cleanup()

    def call(self, action: Callable[[House], T]) -> T:
        """Run something on the exchange's thread and return what it returns; it sees a still exchange."""
        assert self._loop is not None
        assert self._house is not None
        house, result = self._house, Future[T]()

        def run() -> None:
            try:
                result.set_result(action(house))
            except BaseException as error:
                result.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return result.result(timeout=30)

    def inject(self, fault: Fault) -> int:
        """Arm a fault and return its number."""
        return self.call(lambda house: house.faults.add(fault))

    def clear_faults(self) -> None:
        """Disarm all faults."""
        self.call(lambda house: house.faults.clear())

    def injected(self) -> list[Injection]:
        """Return every fault that has struck, in order."""
        return self.call(lambda house: list(house.faults.injected))

    def quote(
        self, symbol: str, bid: str, bid_size: str, ask: str, ask_size: str, *, venue: Venue = "mexc_spot"
    ) -> None:
        """Show a new touch with nothing behind it; sizes in the exchange's unit (contracts on perpetuals)."""
        quote = Quote(Decimal(bid), Decimal(bid_size), Decimal(ask), Decimal(ask_size), flat=True)
        key = instrument_key(venue, symbol)

        def show(house: House) -> None:
            house.exchange.books[key].refresh("BUY")
            house.exchange.books[key].refresh("SELL")
            house.apply(MarketEvent(key=key, quote=quote))

        self.call(show)

    def trade(
        self, symbol: str, price: str, quantity: str, *, taker: Side | None = None, venue: Venue = "mexc_spot"
    ) -> None:
        """Let others trade; quantity in the exchange's unit."""
        trade = MarketTrade(Decimal(price), Decimal(quantity), taker)
        self.call(lambda house: house.apply(MarketEvent(key=instrument_key(venue, symbol), trade=trade)))

    def mark(self, symbol: str, mark: str | None = None, *, funding_rate: str | None = None) -> None:
        """Set a perpetual's fair price, its funding rate or both; without it the fair price follows the quote's mid."""
        event = MarketEvent(
            key=instrument_key("mexc_perpetual", symbol),
            mark=Decimal(mark) if mark is not None else None,
            funding_rate=Decimal(funding_rate) if funding_rate is not None else None,
        )
        self.call(lambda house: house.apply(event))

    def advance(self, milliseconds: int) -> None:
        """Let time pass on a stepped clock.

        Raises:
            TypeError: the clock is the real one.
        """

        def move(house: House) -> None:
            if not isinstance(house.clock, SteppedClock):
                raise TypeError("only a SteppedClock can be advanced: SandboxOptions(clock=SteppedClock())")
            house.clock.advance(milliseconds)
            house.tick()

        self.call(move)

    def skew(self, milliseconds: int) -> None:
        """Set the exchange's real clock ahead of the computer's (negative: behind).

        Raises:
            TypeError: the clock is a stepped one.
        """

        def move(house: House) -> None:
            if not isinstance(house.clock, RealClock):
                raise TypeError("a SteppedClock is advanced, not skewed")
            house.clock.skew_ms = milliseconds

        self.call(move)

    def now_ms(self) -> int:
        """Return the exchange's time."""
        return self.call(lambda house: house.now_ms())

    def disconnect_streams(self, *, cut: bool = True) -> None:
        """End all WebSocket connections; `cut` without a closing handshake."""
        self.call(lambda house: house.hub.close_all(cut=cut))

    def expire_listen_keys(self) -> None:
        """End all listen keys; streams that were opened with one are closed."""
        self.call(lambda house: house.listen_keys.expire_all())

    def held_up_ms(self) -> int:
        """Return for how long in all the market was held up, since it could not be played as fast as it was due."""
        return self.call(lambda house: house.held_up_ms)

    def connections(self) -> int:
        """Return how many WebSocket connections are open."""
        return self.call(lambda house: len(house.hub.connections))

    def ledger(self) -> dict[str, Any]:
        """Return the truth: orders, fills, balances, positions, faults (see `ledger`); money is `Decimal`."""
        return self.call(truth.ledger)

    def orders(self) -> list[dict[str, Any]]:
        """Return all orders that the exchange has accepted, oldest first."""
        return self.call(lambda house: [truth.order_entry(o) for o in house.exchange.records.orders.values()])

    def fills(self) -> list[dict[str, Any]]:
        """Return all fills, oldest first."""
        return self.call(lambda house: [truth.fill_entry(fill) for fill in house.exchange.records.fills])
