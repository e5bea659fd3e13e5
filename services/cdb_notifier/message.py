"""What a person is told: a level, a title, a text, and perhaps a curve to draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal

__all__ = ["LEVELS", "Level", "Message", "Notice", "Point", "at_least", "highest"]

Level = Literal["INFO", "WARNING", "CRITICAL"]
LEVELS: Final[tuple[Level, ...]] = ("INFO", "WARNING", "CRITICAL")


def at_least(level: Level, least: Level) -> bool:
    """Return whether `level` is `least` or above."""
    return LEVELS.index(level) >= LEVELS.index(least)


def highest(levels: list[Level]) -> Level:
    """Return the highest of some levels (INFO of none)."""
    return max(levels, key=LEVELS.index, default="INFO")


@dataclass
class Point:
    """Equity (quote currency) at a moment (microseconds)."""

    at: int
    equity: Decimal


@dataclass
class Message:
    """One message to people.

    Attributes:
        at: the time it is about, microseconds.
        curve: equity to draw as a picture; empty: no picture.
    """

    level: Level
    title: str
    body: str
    at: int
    curve: list[Point] = field(default_factory=list)


@dataclass(frozen=True)
class Notice:
    """Something that happened, before it is decided whether and when a person hears of it.

    Attributes:
        context: what it is about; texts in it tell two notices of one code apart, numbers do not.
        source: who says so.
        ends: key of the notice that this one puts an end to: an alarm and its all-clear end each other.
    """

    level: Level
    code: str
    text: str
    context: Mapping[str, Any]
    source: str
    ends: str | None = None

    @property
    def key(self) -> str:
        """What makes two notices the same: level, code and what it is about, not the numbers of the moment."""
        about = [f"{name}={value}" for name, value in sorted(self.context.items()) if isinstance(value, str)]
        return "|".join([self.level, self.code, *about])[:500]
