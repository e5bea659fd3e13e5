"""One-minute bars of each instrument's trades, and the longer ones made of them.

Clients warm up with hours of bars, but a market that has just opened has none. So what lies before the first trade is
filled with 1 500 synthetic minutes: the first price with a zigzag of 2 bp and a volume of 1 000 lots a minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.cdb_sandbox.core.listing import Listing
from services.common.decimals import ZERO, floor_to

__all__ = ["INTERVALS_MS", "Bar", "Bars"]

_MINUTE_MS: Final = 60_000
_BEFORE: Final = 1_500
_KEPT: Final = 20_000

INTERVALS_MS: Final = {
    "1m": _MINUTE_MS,
    "5m": 5 * _MINUTE_MS,
    "15m": 15 * _MINUTE_MS,
    "30m": 30 * _MINUTE_MS,
    "60m": 60 * _MINUTE_MS,
    "4h": 240 * _MINUTE_MS,
    "8h": 480 * _MINUTE_MS,
    "1d": 1440 * _MINUTE_MS,
    "1W": 7 * 1440 * _MINUTE_MS,
    "1M": 30 * 1440 * _MINUTE_MS,
}
"""Spot names of intervals. A month has 30 days here, and weeks begin where the epoch's do."""


@dataclass
class Bar:
    """One bar; `volume` in the exchange's unit, `amount` in quote currency."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal = ZERO
    amount: Decimal = ZERO

    def add(self, other: Bar) -> None:
        """Let a later bar run into this one."""
        self.high, self.low, self.close = max(self.high, other.high), min(self.low, other.low), other.close
        self.volume += other.volume
        self.amount += other.amount


class Bars:
    """The bars of one instrument."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._minutes: list[Bar] = []
        self._before: list[Bar] = []
        self._first = (ZERO, 0)

    def on_trade(self, price: Decimal, quantity: Decimal, now_ms: int) -> None:
        """Count a trade."""
        minute = now_ms - now_ms % _MINUTE_MS
        self.begin(price, now_ms)
        self._fill_up(minute)
        bar = Bar(minute, price, price, price, price, quantity, self._listing.notional(price, quantity))
        if self._minutes[-1].open_ms == minute:
            self._minutes[-1].add(bar)
        else:
            self._minutes.append(bar)
            del self._minutes[:-_KEPT]

    def begin(self, price: Decimal, now_ms: int) -> None:
        """Fill in what lies before the first price; later calls change nothing."""
        if self._minutes:
            return
        minute = now_ms - now_ms % _MINUTE_MS
        self._first = (price, minute)
        self._minutes.append(self._synthetic(1))

    def _synthetic(self, k: int) -> Bar:
        """Return the bar k minutes before the first price."""
        price, minute = self._first
        swing = max(self._listing.tick, floor_to(price * Decimal("0.0002"), self._listing.tick))
        volume = self._listing.lot * 1000
        start, end = (price + swing, price) if k % 2 else (price, price + swing)
        amount = self._listing.notional(price, volume)
        return Bar(minute - k * _MINUTE_MS, start, max(start, end), min(start, end), end, volume, amount)

    def _all(self) -> list[Bar]:
        if self._minutes and not self._before:
            self._before = [self._synthetic(k) for k in range(_BEFORE, 1, -1)]
        return self._before + self._minutes

    def _fill_up(self, minute: int) -> None:
        """Give minutes without a trade their bar: the last close with no volume."""
        while self._minutes[-1].open_ms + _MINUTE_MS < minute:
            last = self._minutes[-1]
            self._minutes.append(Bar(last.open_ms + _MINUTE_MS, last.close, last.close, last.close, last.close))

    def of(
        self, interval_ms: int, now_ms: int, *, count: int, start_ms: int = 0, end_ms: int | None = None
    ) -> list[Bar]:
        """Return the latest bars of an interval within a span, oldest first, the one that is forming included."""
        if self._minutes:
            self._fill_up(now_ms - now_ms % _MINUTE_MS + _MINUTE_MS)
        joined: list[Bar] = []
        for bar in self._all():
            opens = bar.open_ms - bar.open_ms % interval_ms
            if opens < start_ms or (end_ms is not None and opens > end_ms):
                continue
            if joined and joined[-1].open_ms == opens:
                joined[-1].add(bar)
            else:
                joined.append(Bar(opens, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.amount))
        return joined[:count] if start_ms else joined[-count:]

    def day(self, now_ms: int) -> Bar | None:
        """Return the last 24 hours as one bar; None before the first trade."""
        minutes = [bar for bar in self._all() if bar.open_ms > now_ms - 1440 * _MINUTE_MS]
        if not minutes:
            return self._minutes[-1] if self._minutes else None
        whole = Bar(minutes[0].open_ms, minutes[0].open, minutes[0].high, minutes[0].low, minutes[0].close)
        for bar in minutes:
            whole.add(bar)
        return whole
