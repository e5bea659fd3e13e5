"""The highest equity of the last hours, so that a loss over midnight does not escape the daily limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from services.common.timestamps import HOUR_US

__all__ = ["PARTS", "High", "RollingPeak"]

PARTS = 96
"""Parts of the window that equity is remembered by: a high is forgotten up to one part late, never early."""


@dataclass
class High:
    """An equity that no later one has reached, and when it was seen (microseconds)."""

    seen_at: int
    equity: Decimal


@dataclass
class RollingPeak:
    """Highs of the window, oldest and highest first.

    Attributes:
        warned: highest warning given, per cent of the limit.
    """

    highs: list[High] = field(default_factory=list)
    warned: int = 0

    @property
    def peak(self) -> Decimal | None:
        """Highest equity within the window, as of the last valuation; None before the first."""
        return self.highs[0].equity if self.highs else None

    def add(self, now: int, equity: Decimal, hours: int) -> Decimal:
        """Fold one valuation and return the highest equity within the window.

        Args:
            now: its time, microseconds.
            equity: quote currency.
            hours: length of the window.
        """
        window, highs = hours * HOUR_US, self.highs
        part = window // PARTS
        while highs and highs[0].seen_at < now - window - part:
            highs.pop(0)
        while highs and highs[-1].equity <= equity:
            highs.pop()
        # a little lower than what was seen a moment ago: the higher one stands for it, for as long as it would last
        if not highs or highs[-1].seen_at <= now - part:
            highs.append(High(now, equity))
        return highs[0].equity

    def forget_until(self, time: int) -> None:
        """Forget the highs up to a time (microseconds): what they led to has been paid for."""
        self.highs = [high for high in self.highs if high.seen_at > time]
        self.warned = 0
