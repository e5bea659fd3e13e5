"""All that one sandbox consists of, in one place: REST and streams work on it, on one thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from services.cdb_sandbox.bars import Bars
from services.cdb_sandbox.clock import Clock, RealClock, SteppedClock
from services.cdb_sandbox.core.exchange import Exchange, Stake
from services.cdb_sandbox.core.facts import Traded
from services.cdb_sandbox.core.listing import DEFAULT_LISTINGS, Listing
from services.cdb_sandbox.faults import FaultDesk
from services.cdb_sandbox.limits import RateLimits
from services.cdb_sandbox.listen_keys import ListenKeys
from services.cdb_sandbox.market.events import ConstantMarket, Market, MarketEvent
from services.cdb_sandbox.streams.hub import Hub
from services.common.decimals import floor_to
from services.common.errors import SandboxRefusal

__all__ = ["DEFAULT_CUSTOMER", "Customer", "House", "SandboxOptions"]


AT_ONCE: Final = 50
"""Market events between two looks at who else wants something; some milliseconds of work."""

MOST_LAG_MS: Final = 1_000
"""A market that lags further behind its time is held up: it would never come round, and its past would pass for now."""


@dataclass(frozen=True, kw_only=True)
class Customer:
    """An account with its keys."""

    name: str
    api_key: str
    api_secret: str = field(repr=False)
    stake: Stake


DEFAULT_CUSTOMER: Final = Customer(
    name="claire",
    api_key="sandbox-key",  # not a secret: opens nothing but this sandbox
    api_secret="sandbox-secret",  # noqa: S106 - not a secret: opens nothing but this sandbox
    stake=Stake(
        balances={
            "USDT": Decimal(100_000),
            "BTC": Decimal(1),
            "ETH": Decimal(10),
            "SOL": Decimal(100),
            "MX": Decimal(1000),
        },
        perpetual_usdt=Decimal(100_000),
    ),
)


@dataclass(frozen=True, kw_only=True)
class SandboxOptions:
    """How a sandbox is set up.

    Attributes:
        market: what the market does; None: quotes that stand still (`ConstantMarket`).
        clock: the exchange's time; None: real time.
        listings: the instruments.
        customers: the accounts.
        seed: of the faults that strike with a probability.
        enforce_limits: whether rate limits refuse.
        mx_price: of one MX in USDT, for fees in MX.
        max_connection_ms: after so long a WebSocket connection is closed (the exchange's 24 hours).
        push_every_ms: public streams collect for so long; None: 100 on a real clock, 0 on a stepped one.
        at_once: so many market events are played before others have their turn; None: 50 on a real clock, all that are
            due on a stepped one.
    """

    market: Market | None = None
    clock: Clock | None = None
    listings: Sequence[Listing] = DEFAULT_LISTINGS
    customers: Sequence[Customer] = (DEFAULT_CUSTOMER,)
    seed: int = 0
    enforce_limits: bool = True
    mx_price: Decimal = Decimal(2)
    max_connection_ms: int = 24 * 3600 * 1000
    push_every_ms: int | None = None
    at_once: int | None = None


class House:
    """The exchange with its clock, market, customers, limits, faults and streams.

    Attributes:
        held_up_ms: for so long in all the market was held up, since it could not be played as fast as it was due.
    """

    def __init__(self, options: SandboxOptions) -> None:
        self.options = options
        self.clock: Clock = options.clock or RealClock()
        self.market: Market = options.market or ConstantMarket()
        self.exchange = Exchange(
            options.listings, {customer.name: customer.stake for customer in options.customers}, options.mx_price
        )
        self.customers = {customer.api_key: customer for customer in options.customers}
        self.faults = FaultDesk(options.seed)
        self.limits = RateLimits(enforced=options.enforce_limits)
        self.listen_keys = ListenKeys()
        self.bars = {key: Bars(listing) for key, listing in self.exchange.listings.items()}
        self.hub = Hub(self)
        self._marked: set[str] = set()
        stepped = isinstance(self.clock, SteppedClock)
        self._push_every_ms = (0 if stepped else 100) if options.push_every_ms is None else options.push_every_ms
        self._pushed_ms = 0
        self._at_once = (None if stepped else AT_ONCE) if options.at_once is None else options.at_once
        self._due: Iterator[MarketEvent] = iter(())
        self.held_up_ms = 0

    def now_ms(self) -> int:
        """Return the exchange's time."""
        return self.clock.now_ms()

    def tick(self) -> bool:
        """Play what the market has done since the last call, let time do its work, and push what has gathered.

        Returns:
            Whether more was due than is played at once, so that the next call should come soon.
        """
        now_ms = self.now_ms()
        more = self._play(now_ms)
        self.exchange.on_time(now_ms)
        self.tell()
        self.hub.on_time(now_ms)
        if now_ms - self._pushed_ms >= self._push_every_ms:
            self._pushed_ms = now_ms
            self.hub.flush(now_ms)
        return more

    def _play(self, now_ms: int) -> bool:
        """Apply what is due, `at_once` events at most; whatever lags too far behind its time happens later."""
        played, fresh = 0, False
        at_ms = now_ms
        while self._at_once is None or played < self._at_once:
            event = next(self._due, None)
            if event is None and fresh:
                return False
            if event is None:  # what was left of the last time is played, now what has become due since
                self._due, fresh = self.market.due(now_ms), True
                continue
            at_ms = event.at_ms or now_ms
            self._apply(event, at_ms)
            played += 1
        self._hold_up(now_ms - at_ms)
        return True

    def _hold_up(self, lag_ms: int) -> None:
        if lag_ms > MOST_LAG_MS:
            self.market.postpone(lag_ms)
            self.held_up_ms += lag_ms

    def apply(self, event: MarketEvent) -> None:
        """Let something happen in the market now."""
        self._apply(event, event.at_ms or self.now_ms())
        self.tell()
        if not self._push_every_ms:
            self.hub.flush(self.now_ms())

    def _apply(self, event: MarketEvent, at_ms: int) -> None:
        listing = self.exchange.listings[event.key]
        if event.funding_rate is not None:
            self.exchange.funding_rates[event.key] = event.funding_rate
        if event.quote is not None:
            self.exchange.on_quote(listing, event.quote, at_ms)
        if event.trade is not None:
            trade = event.trade
            self.exchange.on_trade(listing, trade.price, trade.quantity, trade.taker, at_ms)
        if event.mark is not None:
            self._marked.add(event.key)
            self.exchange.on_mark(listing, event.mark, at_ms)
        elif listing.is_perpetual and event.quote is not None and event.key not in self._marked:
            mid = (event.quote.bid + event.quote.ask) * Decimal("0.5")
            self.exchange.on_mark(listing, floor_to(mid, listing.tick), at_ms)
        if event.quote is not None:
            self._see_first_price(listing, at_ms)

    def _see_first_price(self, listing: Listing, at_ms: int) -> None:
        last = self.exchange.books[listing.key].last
        if last is not None:
            self.bars[listing.key].begin(last, at_ms)

    def tell(self) -> None:
        """Hand on what has happened in the exchange: to bars, and to the streams."""
        for fact in self.exchange.drain():
            if isinstance(fact, Traded):
                trade = fact.trade
                self.bars[trade.listing.key].on_trade(trade.price, trade.quantity, trade.time_ms)
                self.exchange.books[trade.listing.key].trades.append(trade)
            self.hub.on_fact(fact)

    def listing(self, venue: str, name: str | None) -> Listing:
        """Return the listing of that name.

        Raises:
            SandboxRefusal: there is none (-1121 on spot, 1001 on perpetuals).
        """
        found = self.exchange.by_name(venue, name or "")
        if found is not None:
            return found
        if venue == "mexc_spot":
            raise SandboxRefusal(-1121, "Invalid symbol.")
        raise SandboxRefusal(1001, "Contract does not exist!", status=200)
