"""Names as a trader says them, escaped."""

from __future__ import annotations

from typing import Any, Final

from claire.explain.wording import instrument_name
from claire.page.html import UNKNOWN, text

__all__ = ["LAYER_NAMES", "STATUS_SIGNS", "instrument", "span"]

LAYER_NAMES: Final = {
    "data_quality": "data",
    "position_limits": "position",
    "daily_drawdown": "day loss",
    "total_exposure": "exposure",
    "circuit_breaker": "breaker",
    "spread_check": "spread",
    "timeout_check": "age",
}
STATUS_SIGNS: Final = {"pass": "✓", "fail": "✕", "bypass": "»", "not_evaluated": "·"}


def instrument(key: Any) -> str:
    """Return how a trader calls an instrument given by its key."""
    venue, colon, symbol = str(key).partition(":")
    return text(instrument_name(venue, symbol) if colon else UNKNOWN if key is None else venue)


def span(ms: int | None) -> str:
    """Return an age, in the unit that suits it."""
    if ms is None:
        return "no quote"
    if ms < 1_000:
        return f"{ms} ms"
    if ms < 120_000:
        return f"{ms / 1_000:.1f} s"
    return f"{ms // 60_000} min" if ms < 7_200_000 else f"{ms // 3_600_000} h"
