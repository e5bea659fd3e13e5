"""Where the lines and labels of an axis go: round numbers, and round times of the UTC calendar."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final, NamedTuple

__all__ = ["Tick", "number_ticks", "time_ticks"]

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_STEPS: Final = (
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * _HOUR for hours in (1, 2, 3, 6, 12)),
    *(days * _DAY for days in (1, 2, 5, 10)),
)
_MONTH_STEPS: Final = (1, 2, 3, 6, 12, 24, 60)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Tick(NamedTuple):
    """A labelled place on an axis; `at` in the axis' own unit."""

    at: float
    label: str


def number_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return at most `most` + 1 round numbers between two bounds (low < high)."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def time_ticks(first: int, last: int, most: int = 5) -> list[Tick]:
    """Return labelled round times between two moments (seconds since the epoch, UTC)."""
    span = max(last - first, 1)
    step = next((step for step in _STEPS if span / step <= most), None)
    if step is None:
        return _month_ticks(first, last, most)
    return [Tick(at, _label(at, step)) for at in range(-(-first // step) * step, last + 1, step)]


def _label(at: int, step: int) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    if step >= _DAY or at % _DAY == 0:
        return f"{moment.day} {_MONTHS[moment.month - 1]}"
    return f"{moment:%H:%M}"


def _month_ticks(first: int, last: int, most: int) -> list[Tick]:
    begins, ends = datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC)
    low, high = begins.year * 12 + begins.month - 1, ends.year * 12 + ends.month - 1
    step = next((step for step in _MONTH_STEPS if (high - low) / step <= most), _MONTH_STEPS[-1])
    ticks = []
    for month in range(-(-low // step) * step, high + 1, step):
        at = int(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp())
        if first <= at <= last:
            ticks.append(Tick(at, f"{_MONTHS[month % 12]} {month // 12}"))
    return ticks
