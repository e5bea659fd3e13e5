"""Candles: from a row of a candle file to the four moments that are played for it.

A candle says where the price was, not when. It is played as open, adverse extremum (the low: positions are long),
other extremum and close, at 0, 15, 30 and 59.9 seconds of a minute (trading.md, section 3, rule 12), with a quote of
2 bp around each price. All four are marked synthetic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.cdb_ws.numbers import DECIMALS, milliseconds, not_negative, positive
from services.cdb_ws.observation import Observation
from services.common.decimals import divide, quantise, truncate, wire_form
from services.common.errors import FeedInputInvalid
from services.common.timestamps import DAY_US, HOUR_US, MINUTE_US, MS_US, SECOND_US

__all__ = ["CANDLE_COLUMNS", "Candle", "candle_path", "parse_candle"]

CANDLE_COLUMNS: Final = ("ts_ms", "symbol", "interval", "open", "high", "low", "close", "volume")

HALF_SPREAD: Final = Decimal("0.0001")
CLOSE_BEFORE_END_US: Final = 100 * MS_US
QUARTERS_PER_SECOND: Final = 4
PLACES: Final = 12

_UNITS: Final = {"m": MINUTE_US, "h": HOUR_US, "d": DAY_US}
_INTERVAL: Final = re.compile(r"([1-9][0-9]{0,3})([mhd])")


@dataclass(frozen=True, slots=True)
class Candle:
    """One bar: `open_us` is its start, volume in base units. Open may lie outside [low, high] (BitMEX)."""

    open_us: int
    symbol: str
    interval_us: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal

    @property
    def end_us(self) -> int:
        """The start of the bar that follows."""
        return self.open_us + self.interval_us


def parse_candle(row: Mapping[str, str], symbol: str) -> Candle:
    """Read one row of a candle file; `symbol` is its symbol as it stands on the wire.

    Raises:
        FeedInputInvalid: naming the column, the value and what is meant.
    """
    interval = _INTERVAL.fullmatch(row["interval"])
    if interval is None:
        raise FeedInputInvalid(f"interval={row['interval']!r}: 1m, 5m, 1h or 1d is meant")
    candle = Candle(
        open_us=milliseconds("ts_ms", row["ts_ms"]),
        symbol=symbol,
        interval_us=int(interval[1]) * _UNITS[interval[2]],
        open=positive("open", row["open"]),
        high=positive("high", row["high"]),
        low=positive("low", row["low"]),
        close=positive("close", row["close"]),
        volume=not_negative("volume", row["volume"]),
    )
    if candle.high < candle.low:
        raise FeedInputInvalid(f"high={row['high']} is below low={row['low']}")
    if not candle.low <= candle.close <= candle.high:
        raise FeedInputInvalid(f"close={row['close']} lies outside low={row['low']} and high={row['high']}")
    return candle


def candle_path(candle: Candle) -> tuple[Observation, Observation, Observation, Observation]:
    """Return the four moments that are played for a candle; their volumes add up to its own exactly."""
    share = wire_form(truncate(divide(candle.volume, Decimal(4), DECIMALS), PLACES))
    size = wire_form(divide(candle.volume, Decimal(QUARTERS_PER_SECOND * (candle.interval_us // SECOND_US)), PLACES))
    quarter_us = candle.interval_us // 4

    def moment(offset_us: int, price: Decimal, volume: Decimal) -> Observation:
        half_spread = quantise(price * HALF_SPREAD, PLACES)
        return Observation(
            timestamp_us=candle.open_us + offset_us,
            symbol=candle.symbol,
            price=price,
            high=price,
            low=price,
            volume=volume,
            bid=wire_form(price - half_spread),
            ask=wire_form(price + half_spread),
            bid_size=size,
            ask_size=size,
            synthetic=True,
        )

    return (
        moment(0, candle.open, share),
        moment(quarter_us, candle.low, share),
        moment(2 * quarter_us, candle.high, share),
        moment(candle.interval_us - CLOSE_BEFORE_END_US, candle.close, wire_form(candle.volume - 3 * share)),
    )
