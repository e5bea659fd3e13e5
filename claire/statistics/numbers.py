"""Numbers as a person reads them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

__all__ = ["age", "amount", "counted", "duration", "percent", "price", "show"]

MINUS = "\N{MINUS SIGN}"


def _signed(text: str) -> str:
    return text.replace("-", MINUS)


def amount(value: Decimal | int | None, places: int = 2) -> str:
    """Return money or a ratio with thousands separated; an en dash for nothing."""
    if value is None:
        return "\N{EN DASH}"
    text = f"{value:,.{places}f}"
    return _signed(text if any(digit in "123456789" for digit in text) else text.lstrip("-"))


def counted(count: Any, one: str, many: str = "") -> str:
    """Return a number of things: `1 entry`, `2,000 entries` (`many` when it is more than an s).

    What is no number, as told by a service that is not well, is shown as it is.
    """
    number = f"{count:,}" if isinstance(count, int) else str(count)
    return f"{number} {one if count == 1 else many or f'{one}s'}"


def age(seconds: float) -> str:
    """Return how long ago something was, in the largest unit of which there are two: `90 minutes`, `3 days`."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return counted(round(seconds / length), unit)
    return counted(round(seconds), "second")


def percent(value: Decimal | int | None, places: int = 2) -> str:
    """Return a fraction in per cent."""
    return amount(None if value is None else Decimal(value) * 100, places) + ("" if value is None else "\N{NBSP}%")


def price(value: Decimal | None) -> str:
    """Return a price with the digits that its size makes worth reading."""
    if value is None:
        return amount(None)
    return amount(value, 2 if abs(value) >= 100 else 4 if abs(value) >= 1 else 8)


def duration(minutes: Decimal | int | None) -> str:
    """Return minutes as days, hours and minutes, the two largest."""
    if minutes is None:
        return amount(None)
    whole = round(minutes)
    if whole < 120:
        return f"{amount(minutes, 0 if whole == minutes else 1)}\N{NBSP}min"
    if whole < 2 * 1440:
        return f"{whole // 60}\N{NBSP}h {whole % 60}\N{NBSP}min"
    return f"{whole // 1440}\N{NBSP}d {whole % 1440 // 60}\N{NBSP}h"


def show(value: Any, unit: str) -> str:
    """Return a statistic in its unit (see `claire.statistics.definitions`)."""
    if unit == "pct":
        return percent(value)
    if unit == "minutes":
        return duration(value)
    if unit == "count":
        return amount(value, 0)
    if unit == "ms":
        return amount(value, 0) + ("" if value is None else "\N{NBSP}ms")
    return amount(value)
