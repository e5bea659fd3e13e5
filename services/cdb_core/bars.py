"""One-minute UTC bars of one instrument, from market data or from warm-up bars, without holes.

A minute without market data takes the previous close with volume 0. A silence longer than `SIGNAL_MAX_GAP_MIN`, or
market data that the feed marked with `gap`, makes the bar unclean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from services.cdb_core.fixed_point import from_e8, value_e8
from services.common.decimals import ZERO
from services.common.errors import ContractViolation
from services.common.events import MarketData
from services.common.timestamps import MINUTE_US

__all__ = ["Bar", "BarBuilder", "warmup_bars"]


@dataclass(slots=True)
class Bar:
    """A closed minute.

    Attributes:
        minute: number of the UTC minute since the epoch.
        close, high, low: in quote currency.
        volume_e8: traded value in units of 10^-8 quote currency.
        observed: False when the minute had no market data and repeats the previous close.
        clean: False when the feed lost messages in it, or when it belongs to a silence that is too long.
    """

    minute: int
    close: Decimal
    high: Decimal
    low: Decimal
    volume_e8: int = 0
    observed: bool = True
    clean: bool = True


@dataclass(slots=True)
class BarBuilder:
    """The minute that is still open.

    Attributes:
        minute: the open minute; all before it are closed.
        close: the last price, also that of a previous minute.
        high, low, observed, gap: of the open minute so far.
        value: traded in the open minute so far, quote currency; it becomes whole units when the bar closes.
        silent_min: closed minutes in a row without market data.
    """

    minute: int
    close: Decimal
    high: Decimal
    low: Decimal
    value: Decimal = ZERO
    observed: bool = False
    gap: bool = False
    silent_min: int = 0

    @classmethod
    def opening(cls, minute: int, price: Decimal) -> BarBuilder:
        """Return a builder whose first minute is `minute`."""
        return cls(minute, price, price, price)

    def add(self, event: MarketData) -> None:
        """Take market data into the open minute; the caller has closed every minute before the event's own."""
        if not self.observed:
            self.observed, self.high, self.low = True, event.high, event.low
        else:
            if event.high > self.high:  # noqa: PLR1730 - for every tick: a comparison costs half of a call
                self.high = event.high
            if event.low < self.low:  # noqa: PLR1730 - as above
                self.low = event.low
        self.close = event.price
        if event.volume:
            self.value += event.volume * event.price
        if event.gap:
            self.gap = True

    def replace(self, bar: Bar) -> None:
        """Let a closed bar of the exchange stand for the open minute; it knows trades that the feed may have missed."""
        self.close, self.high, self.low = bar.close, bar.high, bar.low
        self.value, self.observed, self.gap = from_e8(bar.volume_e8), True, False

    def close_until(self, minute: int, max_gap_min: int, horizon_min: int) -> list[Bar]:
        """Close every minute before `minute` and return the bars, oldest first.

        A silence longer than `horizon_min` (more than every window) is shortened to it: each bar in it is the same.
        """
        bars: list[Bar] = []
        while self.minute < minute:
            bars.append(self._close(max_gap_min))
            surplus = minute - self.minute - horizon_min
            if surplus > 0:
                self.minute += surplus
                self.silent_min += surplus
        return bars

    def _close(self, max_gap_min: int) -> Bar:
        self.silent_min = 0 if self.observed else self.silent_min + 1
        clean = not self.gap and self.silent_min <= max_gap_min
        bar = Bar(self.minute, self.close, self.high, self.low, value_e8(self.value), self.observed, clean)
        self.minute += 1
        self.high = self.low = self.close
        self.value, self.observed, self.gap = ZERO, False, False
        return bar


def warmup_bars(details: Mapping[str, Any]) -> list[Bar]:
    """Read `bars` of a `control/warmup` event: rows of minute start (microseconds), open, high, low, close, volume.

    Raises:
        ContractViolation: a row that is no closed one-minute bar, or rows that are not in time order.
    """
    rows = details.get("bars")
    if not isinstance(rows, list | tuple):
        raise ContractViolation(f"warm-up bars={rows!r:.80}: a list of rows is meant")
    bars: list[Bar] = []
    for row in rows:
        bar = _read_row(row)
        if bars and bar.minute <= bars[-1].minute:
            raise ContractViolation(f"warm-up bar {row!r}: not after the bar before it")
        bars.append(bar)
    return bars


def _read_row(row: Any) -> Bar:
    try:
        start_us, _open, high, low, close, volume = row
        minute, offset = divmod(int(start_us), MINUTE_US)
        prices = Decimal(high), Decimal(low), Decimal(close)
        base_volume = Decimal(volume)
        if offset or not min(prices) > 0 or not base_volume >= 0:
            raise ValueError("a start on the minute, prices above 0 and a volume of 0 or more are meant")
        return Bar(minute, prices[2], max(prices), min(prices), value_e8(base_volume * prices[2]))
    except (TypeError, ValueError, InvalidOperation) as error:
        raise ContractViolation(f"warm-up bar {row!r}: {error}") from error
