"""Warm-up: the first minutes of a recording become closed one-minute bars and never market data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.cdb_ws.observation import Observation, add_volumes
from services.common.timestamps import MINUTE_US

__all__ = ["BARS_PER_EVENT", "MinuteBar", "WarmupBars"]

BARS_PER_EVENT: Final = 120


@dataclass(slots=True)
class MinuteBar:
    """One closed UTC minute of an instrument; volume in base units."""

    start_us: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal

    def as_row(self) -> list[int | Decimal]:
        """Return the bar as it stands in a `warmup` event."""
        return [self.start_us, self.open, self.high, self.low, self.close, self.volume]


class WarmupBars:
    """Builds one-minute bars of every instrument, as the strategy would have built them from the same rows.

    A minute in which nothing was seen has no bar.

    Args:
        closed: bars by symbol from before all rows, in order of time.
    """

    def __init__(self, closed: Iterable[tuple[str, MinuteBar]] = ()) -> None:
        self._bars: dict[str, list[MinuteBar]] = {}
        for symbol, bar in closed:
            self._bars.setdefault(symbol, []).append(bar)

    def add(self, observation: Observation) -> None:
        """Take one observation in; observations of an instrument come in order of time."""
        bars = self._bars.setdefault(observation.symbol, [])
        start_us = observation.timestamp_us // MINUTE_US * MINUTE_US
        if not bars or bars[-1].start_us != start_us:
            bars.append(
                MinuteBar(
                    start_us,
                    open=observation.price,
                    high=observation.high,
                    low=observation.low,
                    close=observation.price,
                    volume=observation.volume,
                )
            )
            return
        bar = bars[-1]
        bar.high, bar.low = max(bar.high, observation.high), min(bar.low, observation.low)
        bar.close = observation.price
        bar.volume = add_volumes(bar.volume, observation.volume)

    def chunks(self) -> list[tuple[str, list[MinuteBar]]]:
        """Return (symbol, at most 120 bars) for each event to publish, by symbol, then in order of time."""
        return [
            (symbol, bars[first : first + BARS_PER_EVENT])
            for symbol, bars in sorted(self._bars.items())
            for first in range(0, len(bars), BARS_PER_EVENT)
        ]
