"""Reading `control/warmup` events: closed one-minute bars from before the first market data."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from services.common.errors import ContractViolation
from services.common.events import Control
from services.common.instruments import PERPETUAL, Venue, normalise_symbol
from services.common.timestamps import MINUTE_US

__all__ = ["WarmupBar", "read_warmup", "warmup_bars"]

_VENUES: Final[dict[str, Venue]] = {"mexc_spot": "mexc_spot", PERPETUAL: PERPETUAL}


@dataclass(frozen=True, slots=True)
class WarmupBar:
    """One closed UTC minute.

    Attributes:
        minute: number of the UTC minute since the epoch.
        high, low, close: in quote currency.
        volume: in base units.
    """

    minute: int
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


def read_warmup(event: Control) -> tuple[Venue, str, list[WarmupBar]]:
    """Return venue, symbol and bars of a `control/warmup` event.

    Raises:
        ContractViolation: no instrument, a row that is no closed one-minute bar, or rows that are not in time order.
    """
    venue, symbol = event.details.get("venue"), event.details.get("symbol")
    if venue not in _VENUES or not isinstance(symbol, str):
        raise ContractViolation(f"warm-up of venue={venue!r}, symbol={symbol!r}: an instrument is meant")
    return _VENUES[venue], normalise_symbol(symbol), warmup_bars(event.details.get("bars"))


def warmup_bars(rows: Any) -> list[WarmupBar]:
    """Read the rows of a warm-up: minute start (microseconds), open, high, low, close, volume (base units).

    Raises:
        ContractViolation: a row that is no closed one-minute bar, or rows that are not in time order.
    """
    if not isinstance(rows, list | tuple):
        raise ContractViolation(f"warm-up bars={rows!r:.80}: a list of rows is meant")
    bars: list[WarmupBar] = []
    for row in rows:
        bar = _read_row(row)
        if bars and bar.minute <= bars[-1].minute:
            raise ContractViolation(f"warm-up bar {row!r}: not after the bar before it")
        bars.append(bar)
    return bars


def _read_row(row: Any) -> WarmupBar:
    try:
        start_us, _open, high, low, close, volume = row
        minute, offset = divmod(int(start_us), MINUTE_US)
        prices = Decimal(high), Decimal(low), Decimal(close)
        base_volume = Decimal(volume)
        if offset or not min(prices) > 0 or not base_volume >= 0:
            raise ValueError("a start on the minute, prices above 0 and a volume of 0 or more are meant")
    except (TypeError, ValueError, InvalidOperation) as error:
        raise ContractViolation(f"warm-up bar {row!r}: {error}") from error
    return WarmupBar(minute, max(prices), min(prices), prices[2], base_volume)
