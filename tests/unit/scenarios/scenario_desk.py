"""A small market for the tests of scenarios: one row a second, and one entry that is held."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from services.cdb_ws.observation import Observation
from services.common.timestamps import MINUTE_US, SECOND_US

__all__ = ["BEGIN_US", "SETTINGS", "minute", "row", "rows", "write_recording"]

BEGIN_US = 1_704_196_800 * SECOND_US
"""2024-01-02 12:00:00 UTC."""

SETTINGS = {
    "SYMBOLS": "BTCUSDT",
    "SIGNAL_LOOKBACK_MIN": "1",
    "SIGNAL_VOL_WINDOW_MIN": "2",
    "SIGNAL_VOL_MULT": "0",
    "SIGNAL_THRESHOLD_PCT": "0.002",
    "SIGNAL_COOLDOWN_MIN": "0",
    "SIGNAL_STOP_COOLDOWN_MIN": "0",
    "SIGNAL_MIN_VOLUME": "0",
}
"""It enters after the first minute that rises by 0.2 %."""


def minute(number: float) -> int:
    """Return a feed time of the market."""
    return BEGIN_US + int(number * MINUTE_US)


def row(second: float, price: str = "50000", symbol: str = "BTCUSDT", **changes: object) -> Observation:
    """Return a row with a quote of one basis point around the price."""
    level = Decimal(price)
    fields: dict[str, object] = {
        "volume": Decimal("1.5"),
        "bid": level - Decimal("2.5"),
        "ask": level + Decimal("2.5"),
        "bid_size": Decimal(3),
        "ask_size": Decimal(4),
        **changes,
    }
    return Observation(BEGIN_US + int(second * SECOND_US), symbol, level, level, level, **fields)  # type: ignore[arg-type]


def rows(count: int, symbol: str = "BTCUSDT") -> list[Observation]:
    """Return a row a second, each with its own price."""
    return [row(second, str(50_000 + second), symbol) for second in range(count)]


def write_recording(path: Path, minutes: int = 10, *, begin_sec: int = BEGIN_US // SECOND_US) -> Path:
    """Write a tick file: three level minutes, one that rises by half a per cent, then a slow rise."""
    lines = ["ts_ms,symbol,price,qty,side,bid,ask,bid_size,ask_size"]
    for second in range(minutes * 60):
        steep, slow = min(max(second - 180, 0), 60), max(second - 240, 0)
        price = Decimal(50_000) * (1 + Decimal(steep) * Decimal("0.005") / 60 + Decimal(slow) * Decimal("0.0002") / 60)
        price = price.quantize(Decimal("0.01"))
        quote = f"{price - 1},{price + 1},20,20"
        lines.append(f"{(begin_sec + second) * 1000},BTCUSDT,{price},2.5,buy,{quote}")
    path.write_text("\n".join(lines) + "\n")
    return path
