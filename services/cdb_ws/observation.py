"""What a feed saw of one instrument, and how two sights of it become one."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal, FloatOperation, Inexact, InvalidOperation
from typing import Final

from services.common.decimals import FIXED, ZERO
from services.common.errors import FeedInputInvalid

__all__ = ["Observation", "RejectedRow", "add_volumes"]

_EXACT: Final = Context(prec=FIXED.prec, traps=[Inexact, InvalidOperation, FloatOperation])


@dataclass(frozen=True, slots=True)
class Observation:
    """One instrument over a stretch of feed time: a single row, or several merged.

    Attributes:
        timestamp_us: feed time of the last row in it, microseconds.
        price: last traded price, or the mid before the first trade; in quote currency.
        volume: base units traded in it.
        high, low: extreme prices in it; low <= price <= high always holds.
        bid, ask, bid_size, ask_size: the last quote in it; None when it has none. Sizes in base units.
        gap: rows were lost before or in it.
        synthetic: quotes or times are constructed.
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

    def then(self, later: Observation) -> Observation:
        """Return this observation and a later one of the same instrument as one: nothing is lost but the order in it.

        The volume is the exact sum, the extremes span both, price and quote are the last known. Associative.

        Raises:
            FeedInputInvalid: the sum of the volumes does not fit into 28 digits.
        """
        quoted = later if later.bid is not None or later.ask is not None else self
        return Observation(
            timestamp_us=later.timestamp_us,
            symbol=later.symbol,
            price=later.price,
            high=max(self.high, later.high),
            low=min(self.low, later.low),
            volume=add_volumes(self.volume, later.volume),
            bid=quoted.bid,
            ask=quoted.ask,
            bid_size=quoted.bid_size,
            ask_size=quoted.ask_size,
            gap=self.gap or later.gap,
            synthetic=self.synthetic or later.synthetic,
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
