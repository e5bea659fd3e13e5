"""Small pictures out of characters."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["line_chart", "sparkline"]

_BARS = "▁▂▃▄▅▆▇█"


def _resample(values: Sequence[float], width: int) -> list[float]:
    """Return at most `width` values: the last of each equal stretch."""
    if len(values) <= width:
        return list(values)
    return [values[(place + 1) * len(values) // width - 1] for place in range(width)]


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """Return the values as one line of bars, lowest to highest; empty without values."""
    if not values:
        return ""
    shown = _resample(values, width)
    low, high = min(shown), max(shown)
    if high == low:
        return _BARS[3] * len(shown)
    return "".join(_BARS[round((value - low) / (high - low) * (len(_BARS) - 1))] for value in shown)


def line_chart(values: Sequence[float], width: int = 60, height: int = 8) -> list[str]:
    """Return the values as lines of text with a scale on the left; empty without values."""
    if not values:
        return []
    shown = _resample(values, width)
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0
    rows = [[" "] * len(shown) for _ in range(height)]
    for column, value in enumerate(shown):
        level = (value - low) / span * (height - 1) if high > low else (height - 1) / 2
        rows[height - 1 - round(level)][column] = "•"
    lines = []
    for place, row in enumerate(rows):
        at = high - span * place / (height - 1) if high > low else high
        label = f"{at:>14,.2f}" if place in {0, height - 1} else " " * 14
        lines.append(f"{label} ┤{''.join(row)}")
    return lines
