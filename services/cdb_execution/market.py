"""What execution has seen of one instrument's market: the touch, the last minute's volume, the volatility.

Folded from market data alone (never from warm-up bars), with our own paper fills taken out of it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple

from services.cdb_execution.levels import Depth, LevelSeen
from services.common.book import Level
from services.common.decimals import ONE, ZERO, divide, square_root
from services.common.events import MarketData
from services.common.timestamps import MINUTE_US

__all__ = ["SIGMA_UNKNOWN", "Market", "Sigma"]

SIGMA_UNKNOWN: Final = Decimal("0.001")
"""One-minute volatility that is assumed while too little was seen; a fill made with it says so."""

WINDOW_US: Final = MINUTE_US
SIGMA_WINDOW_MIN: Final = 60
SIGMA_MIN_RETURNS: Final = 30
SIGMA_MAX_GAP_MIN: Final = 5
LARGEST_MOVE: Final = Decimal(10)


class Sigma(NamedTuple):
    """One-minute volatility, a fraction; `known` is false when it is only assumed."""

    value: Decimal
    known: bool


@dataclass
class Market:
    """The folded market of one instrument; sizes and volumes in base units, prices in quote currency.

    Attributes:
        bid, ask, bid_size, ask_size: the last top of the book that was shown.
        bid_taken, ask_taken: what our fills took there since it was last refreshed.
        depth: the levels behind it; None until an order has met some.
        volumes: (time, traded volume) of the last minute.
        own: (time, quantity) of our own fills of the last minute.
        minute: the minute (since the epoch) that `close` belongs to.
        close: last price of that minute so far.
        previous_close: close of the minute before it; None at the start and after a gap.
        squared_returns: of the last 60 closed minutes.
    """

    bid: Decimal = ZERO
    ask: Decimal = ZERO
    bid_size: Decimal = ZERO
    ask_size: Decimal = ZERO
    bid_taken: Decimal = ZERO
    ask_taken: Decimal = ZERO
    depth: Depth | None = None
    volumes: deque[tuple[int, Decimal]] = field(default_factory=deque)
    own: deque[tuple[int, Decimal]] = field(default_factory=deque)
    minute: int | None = None
    close: Decimal = ZERO
    previous_close: Decimal | None = None
    squared_returns: deque[Decimal] = field(default_factory=deque)

    def observe(self, event: MarketData, now: int) -> None:
        """Fold one event of this instrument; `now` in microseconds."""
        fields = event.__dict__  # for every event: a field of a pydantic model costs three times as much otherwise
        bid: Decimal | None = fields["bid"]
        ask: Decimal | None = fields["ask"]
        if bid is not None and ask is not None:
            bid_size: Decimal = fields["bid_size"] or ZERO
            ask_size: Decimal = fields["ask_size"] or ZERO
            if self.bid_taken and (bid != self.bid or bid_size > self.bid_size):
                self.bid_taken = ZERO
            if self.ask_taken and (ask != self.ask or ask_size > self.ask_size):
                self.ask_taken = ZERO
            self.bid, self.ask, self.bid_size, self.ask_size = bid, ask, bid_size, ask_size
            if self.depth is not None:
                self.depth.observe(event.bids, event.asks)
        timestamp: int = fields["timestamp"]
        price: Decimal = fields["price"]
        volume: Decimal = fields["volume"]
        volumes = self.volumes
        if volume:
            volumes.append((timestamp, volume))
        if volumes and volumes[0][0] <= now - WINDOW_US:
            _forget(volumes, now)
        minute = timestamp // MINUTE_US
        if minute == self.minute:
            self.close = price
        else:
            self._fold_minute(minute, price)

    def _fold_minute(self, minute: int, price: Decimal) -> None:
        if self.minute is None:
            self.minute = minute
        elif minute < self.minute:
            return
        else:
            self._close_minute(minute - self.minute - 1)
            self.minute = minute
        self.close = price

    def _close_minute(self, silent_minutes: int) -> None:
        previous, self.previous_close = self.previous_close, self.close
        if silent_minutes > SIGMA_MAX_GAP_MIN:
            # A long silence says nothing about the volatility, least of all that it is zero.
            self.squared_returns.clear()
            self.previous_close = None
            return
        if previous is not None:
            if not previous <= self.close * LARGEST_MOVE <= previous * LARGEST_MOVE * LARGEST_MOVE:
                self.squared_returns.clear()
                return
            one_minute_return = divide(self.close, previous) - ONE
            self.squared_returns.append(one_minute_return * one_minute_return)
        self.squared_returns.extend([ZERO] * silent_minutes)
        while len(self.squared_returns) > SIGMA_WINDOW_MIN:
            self.squared_returns.popleft()

    @property
    def sigma_1m(self) -> Sigma:
        """Square root of the mean squared one-minute return over the last 60 closes (at least 30 returns)."""
        count = len(self.squared_returns)
        if count < SIGMA_MIN_RETURNS:
            return Sigma(SIGMA_UNKNOWN, known=False)
        return Sigma(square_root(divide(sum(self.squared_returns, ZERO), Decimal(count), 18)), known=True)

    def volume_60s(self, now: int) -> Decimal:
        """Base units traded in the 60 s up to `now`."""
        return _sum(self.volumes, now)

    def own_60s(self, now: int) -> Decimal:
        """Base units of our own fills in the 60 s up to `now`."""
        return _sum(self.own, now)

    def look_deeper(self, event: MarketData) -> None:
        """Begin to follow the levels of the book, if this event of the instrument shows any: an order meets them."""
        if self.depth is None and (event.bids is not None or event.asks is not None):
            self.depth = Depth()
            self.depth.observe(event.bids, event.asks)

    def levels(self, side: str) -> tuple[LevelSeen, ...]:
        """Return the levels that an order of this side meets, best first; none where the feed shows none."""
        if self.depth is None:
            return ()
        return (self.depth.asks if side == "BUY" else self.depth.bids).seen()

    def take(
        self, side: str, at_touch: Decimal, quantity: Decimal, now: int, of_levels: tuple[Level, ...] = ()
    ) -> None:
        """Remember a fill of ours.

        Args:
            side: BUY takes from the ask, SELL from the bid.
            at_touch: the part that was taken from the size shown at the touch.
            quantity: all of it.
            now: microseconds.
            of_levels: (price, quantity) of each level that was walked.
        """
        if of_levels and self.depth is not None:
            (self.depth.asks if side == "BUY" else self.depth.bids).take(of_levels)
        if side == "BUY":
            self.ask_taken += at_touch
        else:
            self.bid_taken += at_touch
        self.own.append((now, quantity))
        _forget(self.own, now)


def _forget(window: deque[tuple[int, Decimal]], now: int) -> None:
    while window and window[0][0] <= now - WINDOW_US:
        window.popleft()


def _sum(window: deque[tuple[int, Decimal]], now: int) -> Decimal:
    return sum((quantity for timestamp, quantity in window if timestamp > now - WINDOW_US), ZERO)
