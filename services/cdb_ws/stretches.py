"""Stretches of a recording: rows in order of time that lie together, as objects or in columns.

There are millions of ticks and only what a slot of the conflation has of them becomes an event, so rows of an ordinary
tick file stay in columns, and a slot of them becomes one observation without one object a row.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain, groupby, pairwise
from operator import attrgetter, itemgetter
from typing import Final, cast

from services.cdb_ws.observation import NO_VOLUME, Observation, RejectedRow, sum_volumes
from services.common.timestamps import SECOND_US

__all__ = ["Rows", "Slot", "Stretch", "TickBlock", "Ticks", "divide_at", "in_order", "slots_of"]

_TIME: Final = attrgetter("timestamp_us")
_FIRST: Final = itemgetter(0)

Slot = tuple[int, int, list[Observation]]
"""Time of the first row in a slot of the conflation (microseconds), the slot's number, and what was seen in it."""


class Rows:
    """Rows of any kind and of any instruments, an object each; at least one."""

    __slots__ = ("times", "values")

    def __init__(self, values: list[Observation | RejectedRow]) -> None:
        self.values = values
        self.times: list[int] = list(map(_TIME, values))

    @property
    def first_us(self) -> int:
        """Time of the first row, microseconds."""
        return self.times[0]

    @property
    def last_us(self) -> int:
        """Time of the last row, microseconds."""
        return self.times[-1]

    def split(self, before_us: int) -> tuple[Rows, Rows]:
        """Return what lies before a time, and the rest; the time lies after the first row and not after the last."""
        count = bisect_left(self.times, before_us)
        return Rows(self.values[:count]), Rows(self.values[count:])

    def rows(self) -> Sequence[Observation | RejectedRow]:
        """Return all rows."""
        return self.values

    def all_times(self) -> Sequence[int]:
        """Return the time of each row."""
        return self.times

    def plain(self) -> bool:
        """Whether every row can be used."""
        return set(map(type, self.values)) <= {Observation}

    def symbols(self) -> set[str]:
        """Return the instruments of plain rows."""
        return set(map(attrgetter("symbol"), self.values))

    def slots(self, max_hz: int) -> Iterator[Slot]:
        """Yield what plain rows saw in each slot of the conflation."""
        rows = cast("list[Observation]", self.values)
        for number, seen in groupby(rows, lambda row: row.timestamp_us * max_hz // SECOND_US):
            together = list(seen)
            yield together[0].timestamp_us, number, together


@dataclass(slots=True)
class Ticks:
    """Ticks of one instrument in columns: each has a whole quote with its sizes, and some are trades.

    Numbers are as they come back from the wire. A tick that is no trade has the price of the trade before it. Parts of
    a stretch share its columns.

    Attributes:
        times: of each tick, microseconds.
        bids, asks, bid_sizes, ask_sizes: of each tick.
        traded_at: which ticks are trades: their indices, ascending.
        prices, volumes: of each trade.
        price_before: of the last trade before the first tick; of no meaning when the first tick is a trade.
        first, end: which of the ticks are meant, at least one; an `end` of 0 is the number of all.
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
    first: int = 0
    end: int = 0

    def __post_init__(self) -> None:
        """Take all ticks unless some are named."""
        self.end = self.end or len(self.times)

    def __len__(self) -> int:
        """Return how many ticks are meant."""
        return self.end - self.first

    @property
    def first_us(self) -> int:
        """Time of the first tick, microseconds."""
        return self.times[self.first]

    @property
    def last_us(self) -> int:
        """Time of the last tick, microseconds."""
        return self.times[self.end - 1]

    def split(self, before_us: int) -> tuple[Ticks, Ticks]:
        """Return what lies before a time, and the rest; the time lies after the first tick and not after the last."""
        border = bisect_left(self.times, before_us, self.first, self.end)
        return self._part(self.first, border), self._part(border, self.end)

    def _part(self, first: int, end: int) -> Ticks:
        return Ticks(
            self.symbol,
            self.times,
            self.bids,
            self.asks,
            self.bid_sizes,
            self.ask_sizes,
            self.traded_at,
            self.prices,
            self.volumes,
            self.price_before,
            first,
            end,
        )

    def all_times(self) -> Sequence[int]:
        """Return the time of each tick."""
        return self.times[self.first : self.end]

    def rows(self) -> list[Observation]:
        """Return an observation for each tick."""
        traded_at = self.traded_at
        trades = [bisect_left(traded_at, place) for place in range(self.first, self.end + 1)]
        return [
            self._seen(place, place + 1, trade, end_trade)
            for place, (trade, end_trade) in enumerate(pairwise(trades), self.first)
        ]

    def plain(self) -> bool:
        """Whether every row can be used."""
        return True

    def symbols(self) -> set[str]:
        """Return the instrument."""
        return {self.symbol}

    def slots(self, max_hz: int) -> Iterator[Slot]:
        """Yield what the ticks of each slot of the conflation saw, merged into one.

        Raises:
            FeedInputInvalid: the sum of the volumes does not fit into 28 digits.
        """
        times, traded_at, first, end = self.times, self.traded_at, self.first, self.end
        trade, trades = bisect_left(traded_at, first), len(traded_at)
        while first < end:
            first_us = times[first]
            number = first_us * max_hz // SECOND_US
            border = bisect_left(times, -(-(number + 1) * SECOND_US // max_hz), first, end)
            # there are no more trades than ticks
            end_trade = bisect_left(traded_at, border, trade, min(trade + border - first, trades))
            yield first_us, number, [self._seen(first, border, trade, end_trade)]
            first, trade = border, end_trade

    def _seen(self, first: int, end: int, trade: int, end_trade: int) -> Observation:
        """Return what `merge` makes of ticks first:end, at least one, whose trades are trade:end_trade."""
        prices, last = self.prices, end - 1
        if trade == end_trade:
            price = high = low = prices[trade - 1] if trade else self.price_before
            volume = NO_VOLUME
        elif trade == end_trade - 1 and self.traded_at[trade] == first:
            price = high = low = prices[trade]
            volume = self.volumes[trade]
        else:
            traded = prices[trade:end_trade]
            price, high, low = traded[-1], max(traded), min(traded)
            if self.traded_at[trade] != first:
                before = prices[trade - 1] if trade else self.price_before
                if before > high:
                    high = before
                elif before < low:
                    low = before
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


def divide_at(before_us: int, stretches: Sequence[Stretch]) -> tuple[list[Stretch], list[Stretch]]:
    """Return the stretches that lie before a time, and the rest; one that lies across it is split."""
    early: list[Stretch] = []
    late: list[Stretch] = []
    for stretch in stretches:
        if stretch.last_us < before_us:
            early.append(stretch)
        elif stretch.first_us >= before_us:
            late.append(stretch)
        else:
            first, rest = stretch.split(before_us)
            early.append(first)
            late.append(rest)
    return early, late


def slots_of(stretches: Sequence[Stretch], max_hz: int) -> Iterator[Slot]:
    """Yield what stretches saw in each slot of the conflation, in order of time.

    A slot comes more than once when several stretches have rows of it; of one instrument, an earlier stretch's come
    first.
    """
    if len(stretches) == 1:
        return stretches[0].slots(max_hz)
    # sorting finds them in order but for a few, and costs a third of merging
    return iter(sorted(chain.from_iterable(stretch.slots(max_hz) for stretch in stretches), key=_FIRST))


def in_order(block: TickBlock) -> list[Observation]:
    """Return an observation for each tick of a block, in order of time."""
    if len(block) == 1:
        return block[0].rows()
    return sorted(chain.from_iterable(ticks.rows() for ticks in block), key=_TIME)
