"""One-minute UTC bars of one instrument, from market data or from warm-up bars, without holes.

A minute without market data takes the previous close with volume 0. A silence longer than `SIGNAL_MAX_GAP_MIN`, or
market data that the feed marked with `gap`, makes the bar unclean.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from services.common.decimals import ZERO
from services.common.events import MarketData
from services.common.fixed_point import from_e8, value_e8
from services.common.warmup import WarmupBar

__all__ = ["Bar", "BarBuilder"]


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

    @classmethod
    def of_warmup(cls, bar: WarmupBar) -> Self:
        """Return the bar that a closed minute of the exchange is."""
        return cls(bar.minute, bar.close, bar.high, bar.low, value_e8(bar.volume * bar.close))


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
        fields = event.__dict__  # for every event: a field of a pydantic model costs three times as much otherwise
        price: Decimal = fields["price"]
        volume: Decimal = fields["volume"]
        high: Decimal = fields["high"]
        low: Decimal = fields["low"]
        if not self.observed:
            self.observed, self.high, self.low = True, high, low
        else:
            if high > self.high:  # noqa: PLR1730 - for every tick: a comparison costs half of a call
                self.high = high
            if low < self.low:  # noqa: PLR1730 - as above
                self.low = low
        self.close = price
        if volume:
            self.value += volume * price
        if fields["gap"]:
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
