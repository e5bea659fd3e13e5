"""What risk knows of each instrument: the last quotes, the last good level, gaps, volume and volatility.

A quote is *valid* when bid < ask and its numbers are plausible; it is *good* when it is also within the price collar of
the last good one. A level outside the collar becomes the good one after three consistent quotes over at least two
seconds: otherwise one real jump would block for ever, and one bad tick would move the marks.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from services.cdb_risk.codes import Code
from services.common.decimals import FIXED, ONE, ZERO, divide, square_root
from services.common.events import MarketData
from services.common.portfolio import mid_price
from services.common.timestamps import MINUTE_US, SECOND_US

__all__ = [
    "CONSISTENT_QUOTES",
    "CONSISTENT_US",
    "UNKNOWN_VOLATILITY",
    "InstrumentMarket",
    "Quality",
    "Quote",
    "outside_collar",
    "plausible_price",
]

CONSISTENT_QUOTES = 3
CONSISTENT_US = 2 * SECOND_US
UNKNOWN_VOLATILITY = Decimal("0.001")
"""One-minute volatility that is assumed while too few closes have been seen."""

Quality = Literal["none", "valid", "good"]
"""What an event's quotes are worth: nothing, a price to sell at in need, or a price to value and enter at."""

_OK = Code.OK
_LEAST_PRICE = Decimal("0.000001")
_GREATEST_PRICE = Decimal(10) ** 9
_GREATEST_SIZE = Decimal(10) ** 15
_VOLUME_GRID = Decimal("1e-12")
_CLOSES = 61
_LEAST_RETURNS = 5
_LONGEST_SILENCE_MIN = 5


@dataclass(slots=True)
class Quote:
    """The top of the book: prices in quote currency, sizes in base units (None: not known), time in microseconds."""

    bid: Decimal
    ask: Decimal
    bid_size: Decimal | None
    ask_size: Decimal | None
    timestamp: int

    @property
    def mid(self) -> Decimal:
        """(bid + ask) / 2."""
        return mid_price(self.bid, self.ask)


@dataclass
class _Run:
    """Consecutive quotes that agree with each other."""

    level: Decimal
    since: int
    count: int = 1

    def extend(self, timestamp: int) -> bool:
        """Count one more and say whether the run is long enough to be believed."""
        self.count += 1
        return self.count >= CONSISTENT_QUOTES and timestamp - self.since >= CONSISTENT_US


@dataclass(slots=True)
class _Volume:
    second: int
    base_units: Decimal


@dataclass(slots=True)
class _Close:
    minute: int
    price: Decimal


def outside_collar(price: Decimal, reference: Decimal, collar_pct: Decimal) -> bool:
    """Whether |price / reference - 1| > collar, by products alone."""
    return abs(price - reference) > collar_pct * reference


def plausible_price(price: Decimal) -> bool:
    """Whether a price lies between a millionth and a billion, so that no arithmetic on it leaves 28 digits."""
    return _LEAST_PRICE <= price <= _GREATEST_PRICE


@lru_cache(maxsize=4096)
def _squared_return(before: Decimal, after: Decimal) -> Decimal:
    return (divide(after, before) - ONE) ** 2


@dataclass
class InstrumentMarket:
    """One instrument's market as a fold of its market data.

    Attributes:
        quote: the last valid quote, also outside the collar; None before the first.
        good: mid of the last good quote; None before the first.
        last_price: last traded price.
        quote_problem: what was wrong with the last quotes seen (a `Code`); `OK` when they were good.
        new_level: quotes outside the collar that agree with each other so far.
        healing: good quotes since the feed lost messages; None when there is no open gap.
    """

    quote: Quote | None = None
    good: Decimal | None = None
    last_price: Decimal | None = None
    quote_problem: Code = Code.MARKET_DATA_MISSING
    synthetic: bool = False
    new_level: _Run | None = None
    healing: _Run | None = None
    volumes: deque[_Volume] = field(default_factory=deque)
    closes: deque[_Close] = field(default_factory=deque)

    def update(self, event: MarketData, collar_pct: Decimal) -> Quality:
        """Fold one event and return what its quotes are worth."""
        quality = self._quote(event, collar_pct)
        if event.__dict__["gap"]:
            self.healing = _Run(event.price, event.timestamp, int(quality == "good"))
        elif self.healing is not None and quality == "good" and self.healing.extend(event.timestamp):
            self.healing = None
        return quality

    def _quote(self, event: MarketData, collar_pct: Decimal) -> Quality:
        fields = event.__dict__  # for every event: a field of a pydantic model costs three times as much otherwise
        price: Decimal = fields["price"]
        volume: Decimal = fields["volume"]
        mark: Decimal | None = fields["mark_price"]
        bid: Decimal | None = fields["bid"]
        ask: Decimal | None = fields["ask"]
        bid_size: Decimal | None = fields["bid_size"]
        ask_size: Decimal | None = fields["ask_size"]
        timestamp: int = fields["timestamp"]
        if not (
            _LEAST_PRICE <= price <= _GREATEST_PRICE
            and volume <= _GREATEST_SIZE
            and (mark is None or _LEAST_PRICE <= mark <= _GREATEST_PRICE)
            and (bid is None or _LEAST_PRICE <= bid <= _GREATEST_PRICE)
            and (ask is None or _LEAST_PRICE <= ask <= _GREATEST_PRICE)
            and (bid_size is None or bid_size <= _GREATEST_SIZE)
            and (ask_size is None or ask_size <= _GREATEST_SIZE)
        ):
            self.quote_problem = Code.IMPLAUSIBLE_DATA
            return "none"
        self.last_price, self.synthetic = price, fields["synthetic"]
        if volume:
            self._add_volume(timestamp, volume)
        if bid is None or ask is None:
            return "none"
        if bid >= ask:
            self.quote_problem = Code.CROSSED_BOOK
            return "none"
        quote, good, mid = self.quote, self.good, mid_price(bid, ask)
        if quote is None:
            self.quote = Quote(bid, ask, bid_size, ask_size, timestamp)
        else:  # for every event: a new one costs as much as everything else here
            quote.bid, quote.ask, quote.bid_size, quote.ask_size = bid, ask, bid_size, ask_size
            quote.timestamp = timestamp
        if (
            good is not None
            and mid != good  # two of three quotes repeat the level before
            and outside_collar(mid, good, collar_pct)
            and not self._believe(mid, timestamp, collar_pct)
        ):
            self.quote_problem = Code.PRICE_COLLAR
            return "valid"
        self.new_level = None
        self.good, self.quote_problem = mid, _OK
        self._add_close(timestamp, mid)
        return "good"

    def mark_of(self, event: MarketData, quality: Quality, collar_pct: Decimal) -> Decimal | None:
        """Return the mark price that an event just folded brought; None when it has none, or none to be believed.

        A mark decides about stops and liquidation, so one bad tick must not move it: it lies within the collar of the
        quote beside it, or, when it comes alone, of the last good quote.
        """
        mark: Decimal | None = event.__dict__["mark_price"]
        if mark is None:
            return None
        alone = event.bid is None and event.ask is None
        if self.good is None or self.quote is None or (quality == "none" and not alone):
            return None
        reference = self.good if alone else self.quote.mid
        return None if outside_collar(mark, reference, collar_pct) else mark

    def problem(self, collar_pct: Decimal) -> Code:
        """Return what is wrong with the last quotes, or with the last traded price beside them."""
        if self.quote_problem is Code.OK and self.good is not None and self.last_price is not None:
            return Code.PRICE_COLLAR if outside_collar(self.last_price, self.good, collar_pct) else Code.OK
        return self.quote_problem

    def _believe(self, mid: Decimal, timestamp: int, collar_pct: Decimal) -> bool:
        """Fold a level outside the collar and say whether it has been shown often and long enough."""
        if self.new_level is None or outside_collar(mid, self.new_level.level, collar_pct):
            self.new_level = _Run(mid, timestamp)
            return False
        return self.new_level.extend(timestamp)

    def _add_volume(self, timestamp: int, volume: Decimal) -> None:
        second, volume, volumes = timestamp // SECOND_US, FIXED.quantize(volume, _VOLUME_GRID), self.volumes
        if volumes and volumes[-1].second >= second:
            volumes[-1].base_units += volume
            return
        volumes.append(_Volume(second, volume))
        while volumes[0].second <= second - 60:
            volumes.popleft()

    def _add_close(self, timestamp: int, mid: Decimal) -> None:
        minute = timestamp // MINUTE_US
        if self.closes:
            last = self.closes[-1]
            if minute <= last.minute:
                last.price = mid
                return
            if minute - last.minute > _LONGEST_SILENCE_MIN:
                self.closes.clear()
            else:
                for missing in range(last.minute + 1, minute):
                    self.closes.append(_Close(missing, last.price))
        self.closes.append(_Close(minute, mid))
        while len(self.closes) > _CLOSES:
            self.closes.popleft()

    @property
    def gap_open(self) -> bool:
        """Whether the feed lost messages and has not yet shown three good quotes over two seconds."""
        return self.healing is not None

    def volume_60s(self, now: int) -> Decimal:
        """Base units traded in the last 60 seconds, in whole seconds."""
        oldest = now // SECOND_US - 60
        return sum((v.base_units for v in self.volumes if v.second > oldest), ZERO)

    @property
    def volatility_1m(self) -> Decimal | None:
        """Root mean square of the last 60 one-minute returns; None with fewer than five."""
        prices = [close.price for close in self.closes]
        if len(prices) <= _LEAST_RETURNS:
            return None
        squares = [_squared_return(a, b) for a, b in pairwise(prices)]
        return square_root(divide(sum(squares, ZERO), Decimal(len(squares)), 18))
