"""Each symbol: how old its quote is, how far an entry is, and why there is none now."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from claire.page.html import UNKNOWN, amount, bar, percent, table, text
from claire.page.look import View
from claire.page.wording import instrument, span
from claire.status_screen import REASONS

__all__ = ["symbols"]

WORDS: Final = {
    **REASONS,
    "BELOW_THRESHOLD": "momentum under the threshold",
    "SHORT_NOT_ALLOWED": "momentum is down, shorts are off",
}
"""A page has more room than a terminal."""


def symbols(view: View) -> str:
    """Return one row a symbol."""
    rows = [(str(symbol["instrument"]), _row(symbol, view)) for symbol in view.status["symbols"]]
    return table(
        ("symbol", ">last quote", ">momentum", ">threshold", "way", ">volume, USDT", "why no trade now"), rows,
        caption="Symbols: why there is no trade now", nothing="unknown: cdb_core does not answer.", css="wide",
    )  # fmt: skip


def _row(symbol: Mapping[str, Any], view: View) -> tuple[str, ...]:
    key = str(symbol["instrument"])
    known = key in view.quote_ages_ms
    age = span(view.quote_ages_ms[key]) if known else "-"
    if "momentum" not in symbol:
        return instrument(key), age, "-", "-", "-", "-", text(symbol.get("why"))
    way: Decimal | None = symbol["way"]
    volume = symbol["volume_usdt"]
    return (
        instrument(key),
        age,
        percent(symbol["momentum"], "+"),
        percent(symbol["threshold"]),
        _way(way),
        UNKNOWN if volume is None else amount(volume).partition(".")[0],
        _why(symbol),
    )


def _way(way: Decimal | None) -> str:
    """Return how far the momentum is on its way to the threshold; nearer is not worse, so it has one colour."""
    if way is None:
        return UNKNOWN
    return f'<span class="way">{bar(way, "way to the threshold")} {way * 100:.0f} %</span>'


def _why(symbol: Mapping[str, Any]) -> str:
    if symbol["action"] in {"entry", "exit"}:
        return f'<b class="good">{text(symbol["action"])} signal at the last bar</b>'
    said = [WORDS.get(reason, str(reason)) for reason in symbol["reasons"]]
    left = (
        ("WARMING_UP", "warmup_left_bars", "bars left"),
        ("COOLDOWN", "cooldown_left_min", "min left"),
        ("GAP", "gap_left_min", "min left"),
    )
    for reason, name, unit in left:
        if symbol.get(name) and reason in symbol["reasons"]:
            said[symbol["reasons"].index(reason)] += f", {symbol[name]} {unit}"
    return text("; ".join(said) or symbol.get("why") or "no bar closed yet")
