"""Names of bar intervals on the streams and on perpetual REST, and what spot REST calls them."""

from __future__ import annotations

from typing import Final

__all__ = ["STREAM_INTERVALS"]

STREAM_INTERVALS: Final = {
    "Min1": "1m",
    "Min5": "5m",
    "Min15": "15m",
    "Min30": "30m",
    "Min60": "60m",
    "Hour4": "4h",
    "Hour8": "8h",
    "Day1": "1d",
    "Week1": "1W",
    "Month1": "1M",
}
