"""What a feed saw of one instrument, and how two sights of it become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, FloatOperation, Inexact, InvalidOperation
from functools import reduce
from typing import Final

from services.common.book import Book
from services.common.decimals import FIXED, wire_form
from services.common.errors import FeedInputInvalid

__all__ = ["NO_VOLUME", "Observation", "RejectedRow", "add_volumes", "merge", "sum_volumes"]

NO_VOLUME: Final = Decimal("0.0")
"""Zero as it stands on the wire."""

_EXACT: Final = Context(prec=FIXED.prec, traps=[Inexact, InvalidOperation, FloatOperation])
_LARGE: Final = Decimal(10**9)


@dataclass(slots=True)
class Observation:
    """One instrument over a stretch of feed time: a single row, or several merged. Nobody changes it once it is made.

    (It is not `frozen` because that would triple what a row costs: there are millions.)

    Readers of recordings give every number as it comes back from the wire (`wire_form`).

    Attributes:
        timestamp_us: feed time of the last row in it, microseconds.
        price: last traded price, or the mid before the first trade; in quote currency.
        volume: base units traded in it.
        high, low: extreme prices in it; low <= price <= high always holds.
        bid, ask, bid_size, ask_size: the last quote in it; None when it has none. Sizes in base units.
        gap: rows were lost before or in it.
        synthetic: quotes or times are constructed.
        mark_price, funding_rate: the last in it; None when it has none. Perpetuals only.
        exchange_us: the exchange's time of the newest thing known then, microseconds; None when it is not told.
        book: the levels behind that quote, None where the feed has none.
    """

    timestamp_us: int
    symbol: str
    price: Decimal
    high: Decimal
    low: Decimal
    volume: Decimal = NO_VOLUME
    bid: Decimal | None = None
    ask: Decimal | None = None
    bid_size: Decimal | None = None
    ask_size: Decimal | None = None
    gap: bool = False
    synthetic: bool = False
    mark_price: Decimal | None = None
    funding_rate: Decimal | None = None
    exchange_us: int | None = None
    book: Book | None = None

    def then(self, later: Observation) -> Observation:
        """Return this observation and a later one of the same instrument as one: nothing is lost but the order in it.

        The volume is the exact sum, the extremes span both, price and quote are the last known. Associative.

        Raises:
            FeedInputInvalid: the sum of the volumes does not fit into 28 digits.
        """
        return merge((self, later))


def merge(rows: Sequence[Observation]) -> Observation:  # noqa: C901, PLR0912 - one pass over millions of rows
    """Return observations of one instrument, in their order and at least one, as one (see `Observation.then`).

    Raises:
        FeedInputInvalid: the sum of the volumes does not fit into 28 digits.
    """
    last = rows[-1]
    if len(rows) == 1:
        return last
    volume, high, low = NO_VOLUME, last.high, last.low
    seen_high, seen_low = high, low
    gap = synthetic = False
    mark_price = funding_rate = None
    for row in rows:
        if row.volume:
            volume = add_volumes(volume, row.volume)
        if row.gap:
            gap = True
        if row.synthetic:
            synthetic = True
        if row.high is not seen_high:  # quotes repeat the very number of the last trade
            seen_high = row.high
            if seen_high > high:  # noqa: PLR1730 - for every tick: a comparison costs half of a call
                high = seen_high
        if row.low is not seen_low:
            seen_low = row.low
            if seen_low < low:  # noqa: PLR1730 - as above
                low = seen_low
        if row.mark_price is not None:
            mark_price = row.mark_price
        if row.funding_rate is not None:
            funding_rate = row.funding_rate
    quoted = last
    for row in reversed(rows):
        if row.bid is not None or row.ask is not None:
            quoted = row
            break
    if volume is not NO_VOLUME:
        volume = wire_form(volume)
    return Observation(
        last.timestamp_us,
        last.symbol,
        last.price,
        high,
        low,
        volume,
        quoted.bid,
        quoted.ask,
        quoted.bid_size,
        quoted.ask_size,
        gap,
        synthetic,
        mark_price,
        funding_rate,
        last.exchange_us,
        quoted.book,
    )


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that was skipped because it cannot be used (`FEED_BAD_ROWS=skip`).

    Attributes:
        timestamp_us: feed time of the good row before it, 0 when there was none.
        reason: file, line, value and what is meant.
        raw: the row as it stands in the file.
    """

    timestamp_us: int
    reason: str
    raw: bytes


def add_volumes(first: Decimal, second: Decimal) -> Decimal:
    """Return the exact sum of two volumes.

    Raises:
        FeedInputInvalid: it does not fit into 28 digits.
    """
    try:
        return _EXACT.add(first, second)
    except Inexact:
        raise FeedInputInvalid(f"volume {first} + {second}: the sum does not fit into {FIXED.prec} digits") from None


def sum_volumes(volumes: Sequence[Decimal]) -> Decimal:
    """Return the exact sum of at least one volume, each as it comes back from the wire, in that form.

    Raises:
        FeedInputInvalid: it does not fit into 28 digits.
    """
    if len(volumes) == 1:
        return volumes[0]
    total = sum(volumes, NO_VOLUME)
    if total >= _LARGE:  # a smaller one has at most 27 digits, and none of the sums on the way had more
        total = reduce(add_volumes, volumes)
    return wire_form(total)
