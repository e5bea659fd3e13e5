"""Stretches of a recording: rows in order of time that lie together, as objects or in columns.

There are millions of ticks and only what a slot of the conflation has of them becomes an event, so rows of an ordinary
tick file stay in columns, and a slot of them becomes one observation without one object a row.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from operator import attrgetter
from typing import Final, cast

from services.cdb_ws.observation import NO_VOLUME, Observation, RejectedRow, sum_volumes

__all__ = ["Rows", "Stretch", "TickBlock", "Ticks", "in_order"]

_TIME: Final = attrgetter("timestamp_us")


class Rows:
    """Rows of any kind and of any instruments, an object each."""

    __slots__ = ("times", "values")

    def __init__(self, values: list[Observation | RejectedRow]) -> None:
        self.values = values
        self.times = list(map(_TIME, values))

    def split(self, before_us: int) -> tuple[Rows, Rows]:
        """Return what lies before a time, and the rest."""
        count = bisect_left(self.times, before_us)
        return Rows(self.values[:count]), Rows(self.values[count:])

    def rows(self) -> Sequence[Observation | RejectedRow]:
        """Return all rows."""
        return self.values

    def plain(self) -> bool:
        """Whether every row can be used."""
        return set(map(type, self.values)) <= {Observation}

    def symbols(self) -> set[str]:
        """Return the instruments of plain rows."""
        return set(map(attrgetter("symbol"), self.values))

    def seen(self, first: int, end: int) -> list[Observation]:
        """Return what plain rows first:end saw, to be merged."""
        return cast("list[Observation]", self.values[first:end])


@dataclass(slots=True)
class Ticks:
    """Ticks of one instrument in columns: each has a whole quote with its sizes, and some are trades.

    Numbers are as they come back from the wire. A tick that is no trade has the price of the trade before it.

    Attributes:
        times: of each tick, microseconds.
        bids, asks, bid_sizes, ask_sizes: of each tick.
        traded_at: which ticks are trades: their indices, ascending.
        prices, volumes: of each trade.
        price_before: of the last trade before the first tick; of no meaning when the first tick is a trade.
    """

    symbol: str
    times: list[int]
    bids: Sequence[Decimal]
    asks: Sequence[Decimal]
    bid_sizes: Sequence[Decimal]
    ask_sizes: Sequence[Decimal]
    traded_at: list[int]
    prices: Sequence[Decimal]
    volumes: Sequence[Decimal]
    price_before: Decimal

    def split(self, before_us: int) -> tuple[Ticks, Ticks]:
        """Return what lies before a time, and the rest."""
        count = bisect_left(self.times, before_us)
        trades = bisect_left(self.traded_at, count)
        return (
            Ticks(
                self.symbol,
                self.times[:count],
                self.bids[:count],
                self.asks[:count],
                self.bid_sizes[:count],
                self.ask_sizes[:count],
                self.traded_at[:trades],
                self.prices[:trades],
                self.volumes[:trades],
                self.price_before,
            ),
            Ticks(
                self.symbol,
                self.times[count:],
                self.bids[count:],
                self.asks[count:],
                self.bid_sizes[count:],
                self.ask_sizes[count:],
                [index - count for index in self.traded_at[trades:]],
                self.prices[trades:],
                self.volumes[trades:],
                self.prices[trades - 1] if trades else self.price_before,
            ),
        )

    def rows(self) -> list[Observation]:
        """Return an observation for each tick."""
        return [self._seen(index, index + 1) for index in range(len(self.times))]

    def plain(self) -> bool:
        """Whether every row can be used."""
        return True

    def symbols(self) -> set[str]:
        """Return the instrument."""
        return {self.symbol}

    def seen(self, first: int, end: int) -> list[Observation]:
        """Return what ticks first:end saw, merged into one.

        Raises:
            FeedInputInvalid: the sum of the volumes does not fit into 28 digits.
        """
        return [self._seen(first, end)] if first < end else []

    def _seen(self, first: int, end: int) -> Observation:
        """Return what `merge` makes of these ticks, at least one."""
        traded_at, prices = self.traded_at, self.prices
        trade = bisect_left(traded_at, first)
        end_trade = bisect_left(traded_at, end, trade)
        last = end - 1
        if trade == end_trade:
            price = high = low = prices[trade - 1] if trade else self.price_before
            volume = NO_VOLUME
        else:
            traded = prices[trade:end_trade]
            price, high, low = traded[-1], max(traded), min(traded)
            if traded_at[trade] != first:
                before = prices[trade - 1] if trade else self.price_before
                high, low = max(high, before), min(low, before)
            volume = sum_volumes(self.volumes[trade:end_trade])
        return Observation(
            self.times[last],
            self.symbol,
            price,
            high,
            low,
            volume,
            self.bids[last],
            self.asks[last],
            self.bid_sizes[last],
            self.ask_sizes[last],
        )


Stretch = Rows | Ticks

TickBlock = tuple[Ticks, ...]
"""Rows that follow one another in a stream, at most one stretch an instrument."""


def in_order(block: TickBlock) -> list[Observation]:
    """Return an observation for each tick of a block, in order of time."""
    if len(block) == 1:
        return block[0].rows()
    return sorted(chain.from_iterable(ticks.rows() for ticks in block), key=_TIME)
