"""What a feed saw of one instrument, and how two sights of it become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, FloatOperation, Inexact, InvalidOperation
from operator import attrgetter
from typing import Final

from services.common.decimals import FIXED, ZERO
from services.common.errors import FeedInputInvalid

__all__ = ["Observation", "RejectedRow", "add_volumes", "merge"]

_EXACT: Final = Context(prec=FIXED.prec, traps=[Inexact, InvalidOperation, FloatOperation])


@dataclass(slots=True)
class Observation:
    """One instrument over a stretch of feed time: a single row, or several merged. Nobody changes it once it is made.

    (It is not `frozen` because that would triple what a row costs: there are millions.)

    Attributes:
        timestamp_us: feed time of the last row in it, microseconds.
        price: last traded price, or the mid before the first trade; in quote currency.
        volume: base units traded in it.
        high, low: extreme prices in it; low <= price <= high always holds.
        bid, ask, bid_size, ask_size: the last quote in it; None when it has none. Sizes in base units.
        gap: rows were lost before or in it.
        synthetic: quotes or times are constructed.
        mark_price, funding_rate: the last in it; None when it has none. Perpetuals only.
    """

    timestamp_us: int
    symbol: str
    price: Decimal
    high: Decimal
    low: Decimal
    volume: Decimal = ZERO
    bid: Decimal | None = None
    ask: Decimal | None = None
    bid_size: Decimal | None = None
    ask_size: Decimal | None = None
    gap: bool = False
    synthetic: bool = False
    mark_price: Decimal | None = None
    funding_rate: Decimal | None = None

    def then(self, later: Observation) -> Observation:
        """Return this observation and a later one of the same instrument as one: nothing is lost but the order in it.

        The volume is the exact sum, the extremes span both, price and quote are the last known. Associative.

        Raises:
            FeedInputInvalid: the sum of the volumes does not fit into 28 digits.
        """
        return merge((self, later))


_GAP: Final = attrgetter("gap")
_SYNTHETIC: Final = attrgetter("synthetic")
_MARK: Final = attrgetter("mark_price")
_RATE: Final = attrgetter("funding_rate")


def merge(rows: Sequence[Observation]) -> Observation:
    """Return observations of one instrument, in their order and at least one, as one (see `Observation.then`).

    Raises:
        FeedInputInvalid: the sum of the volumes does not fit into 28 digits.
    """
    last = rows[-1]
    if len(rows) == 1:
        return last
    volume, high, low = ZERO, last.high, last.low
    seen_high, seen_low = high, low
    for row in rows:
        if row.volume:
            volume = add_volumes(volume, row.volume)
        if row.high is not seen_high:  # quotes repeat the very number of the last trade
            seen_high = row.high
            high = max(high, seen_high)
        if row.low is not seen_low:
            seen_low = row.low
            low = min(low, seen_low)
    quoted = last
    for row in reversed(rows):
        if row.bid is not None or row.ask is not None:
            quoted = row
            break
    marks = [mark for mark in map(_MARK, rows) if mark is not None]
    rates = [rate for rate in map(_RATE, rows) if rate is not None]
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
        True in map(_GAP, rows),
        True in map(_SYNTHETIC, rows),
        marks[-1] if marks else None,
        rates[-1] if rates else None,
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
