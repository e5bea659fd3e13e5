"""How numbers are written for a trader: money, prices, shares, durations, ids; and the unit of each layer."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final, Literal

from services.common.currencies import base_and_quote
from services.common.errors import ContractViolation
from services.common.events import LayerVerdict, MarketData
from services.common.instruments import PERPETUAL
from services.common.timestamps import HOUR_US, MINUTE_US, MS_US, SECOND_US, format_timestamp

__all__ = [
    "Unit", "amount", "base_of", "bps", "clock", "day_clock", "duration", "fee", "instrument_name", "layer_number",
    "money", "number", "percent", "price", "quantity", "quote_line", "rounded", "short", "unit_of",
]  # fmt: skip

Unit = Literal["fraction", "usdt", "base", "seconds", "count"]
UNKNOWN: Final = "?"
BARE: Final = "-"
SHORT_ID: Final = 10

_UNITS: Final[dict[str, Unit]] = {
    "EQUITY_UNKNOWN": "usdt",
    "LIVE_DAILY_LOSS": "usdt",
    "LIVE_ORDER_CAP": "usdt",
    "LIVE_POSITION_CAP": "usdt",
    "TOO_MANY_POSITIONS": "count",
    "ORDER_RATE": "count",
    "LEVERAGE_LIMIT": "count",
    "ENTRY_SPACING": "seconds",
    "BELOW_MINIMUM": "usdt",
    "INSUFFICIENT_MARGIN": "usdt",
    "LIQUIDATION_TOO_CLOSE": "fraction",
    "SIZING_INPUT_UNKNOWN": "base",
    "ALREADY_POSITIONED": "base",
    "NO_POSITION": "base",
    "EXIT_WORKING": "base",
    "EXIT_TOO_SOON": "base",
    "DUST": "base",
}
_FRACTION: Final = re.compile(r"(?<![\w.:-])-?\d+\.\d{3,}(?![\w:])")
_SMALLEST_ORDER: Final = "is left; the exchange takes"


def unit_of(layer: LayerVerdict, purpose: str) -> Unit:
    """Return in what a layer's value, limit and headroom are counted.

    Args:
        layer: of a decision.
        purpose: of that decision: the second layer compares an entry's share of equity, and an exit's quantity.
    """
    if layer.layer == "timeout_check":
        return "seconds"
    if layer.code in _UNITS:
        return _UNITS[layer.code]
    if layer.code == "OK" and "LIVE_MAX_" in layer.detail:
        return "usdt"
    if layer.layer == "position_limits":
        if layer.code == "POSITION_LIMIT" and _SMALLEST_ORDER in layer.detail:
            return "usdt"
        if layer.code == "OK" and purpose != "entry":
            return "base"
    return "fraction"


def layer_number(value: Decimal | None, unit: Unit) -> str:
    """Return a layer's value, limit or headroom with its unit."""
    if value is None:
        return BARE
    if unit == "fraction":
        return percent(value)
    if unit == "usdt":
        return money(value)
    if unit == "seconds":
        return f"{number(value, 1)} s"
    return quantity(value)


def number(value: Decimal, places: int) -> str:
    """Return a number with thousands separated and at most so many decimals."""
    text = f"{value:,.{places}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def amount(value: Decimal | None) -> str:
    """Return quote currency without its name, to the cent."""
    return UNKNOWN if value is None else f"{value:,.2f}"


def money(value: Decimal | None) -> str:
    """Return quote currency: to the cent, and millions as such."""
    if value is None:
        return UNKNOWN
    if abs(value) >= Decimal(10) ** 6:
        return f"{value / Decimal(10) ** 6:,.2f} M USDT"
    return f"{value:,.2f} USDT"


def fee(value: Decimal, coin: str | None) -> str:
    """Return a fee in the coin that it was taken in: dollars to 1/100 of a cent, other coins to ten decimals."""
    return f"{number(value, 4 if coin in {None, 'USDT'} else 10)} {coin or ''}".rstrip()


def price(value: Decimal | None) -> str:
    """Return a price: two decimals, more below 1."""
    if value is None:
        return UNKNOWN
    return f"{value:,.2f}" if abs(value) >= 1 else quantity(value)


def quantity(value: Decimal | None) -> str:
    """Return base units or a count with all their digits but no trailing zeros, at most eight decimals."""
    return UNKNOWN if value is None else number(value, 8)


def percent(value: Decimal | None, *, signed: bool = False) -> str:
    """Return a fraction as percent: two decimals, four under a hundredth of a percent."""
    if value is None:
        return UNKNOWN
    places = 4 if value and abs(value) < Decimal("0.0001") else 2
    return f"{value * 100:{'+' if signed else ''}.{places}f} %"


def bps(value: Decimal | None) -> str:
    """Return basis points."""
    return UNKNOWN if value is None else f"{value:+.2f} bp"


def rounded(sentence: str) -> str:
    """Return a recorded sentence with its long fractions cut to what a person reads."""
    return _FRACTION.sub(lambda found: number(Decimal(found[0]), 2 if abs(Decimal(found[0])) >= 10 else 6), sentence)


def duration(us: int) -> str:
    """Return a stretch of time, in the unit that suits it."""
    if abs(us) < SECOND_US:
        return f"{number(Decimal(us) / MS_US, 1)} ms"
    if abs(us) < MINUTE_US:
        return f"{number(Decimal(us) / SECOND_US, 1)} s"
    if abs(us) < HOUR_US:
        minutes, rest = divmod(us, MINUTE_US)
        return f"{minutes} min {rest // SECOND_US} s" if rest >= SECOND_US else f"{minutes} min"
    hours, rest = divmod(us, HOUR_US)
    return f"{hours} h {rest // MINUTE_US} min"


def day_clock(timestamp_us: int) -> str:
    """Return day and time to the second."""
    return format_timestamp(timestamp_us)[:19].replace("T", " ")


def clock(timestamp_us: int) -> str:
    """Return the time of day to the millisecond."""
    return format_timestamp(timestamp_us)[11:23]


def short(id_: str | None) -> str:
    """Return the beginning of an id, enough to be asked for."""
    if id_ is None:
        return BARE
    return id_ if len(id_) <= SHORT_ID + 4 else f"{id_[: SHORT_ID + (4 if id_[3:4] == '-' else 0)]}…"


def instrument_name(venue: str, symbol: str) -> str:
    """Return how a trader calls an instrument."""
    return f"{symbol} perp" if venue == PERPETUAL else symbol


def base_of(symbol: str) -> str:
    """Return the base currency of a symbol."""
    try:
        return base_and_quote(symbol)[0]
    except ContractViolation:
        return symbol


def quote_line(event: MarketData) -> str:
    """Return price and quote of market data on one line."""
    text = f"price {price(event.price)}"
    if event.bid is not None and event.ask is not None:
        sides: list[Any] = [
            f"{name} {price(side)}" + ("" if size is None else f" ({number(size, 4)})")
            for name, side, size in (("bid", event.bid, event.bid_size), ("ask", event.ask, event.ask_size))
        ]
        text += ", " + ", ".join(sides)
    if event.mark_price is not None:
        text += f", mark {price(event.mark_price)}"
    return text + (" (quote constructed)" if event.synthetic else "") + (", after a gap" if event.gap else "")
