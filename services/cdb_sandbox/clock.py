"""The exchange's own clock: real time, or a time that tests move."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "RealClock", "SteppedClock"]


class Clock(Protocol):
    """Tells the exchange's time in milliseconds since the epoch."""

    def now_ms(self) -> int:
        """Return the time."""
        ...


class RealClock:
    """The computer's time. `skew_ms` sets the whole exchange ahead of it (or behind)."""

    def __init__(self, skew_ms: int = 0) -> None:
        self.skew_ms = skew_ms

    def now_ms(self) -> int:
        """Return the computer's time plus the skew."""
        return time.time_ns() // 1_000_000 + self.skew_ms


class SteppedClock:
    """Stands still until it is moved. Begins at a given time, else at 2026-06-01 00:00 UTC."""

    def __init__(self, now_ms: int = 1_780_272_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Return the time it was moved to."""
        return self._now_ms

    def advance(self, milliseconds: int) -> None:
        """Move it forward."""
        if milliseconds < 0:
            raise ValueError(f"{milliseconds} ms: time does not run backwards")
        self._now_ms += milliseconds

    def jump(self, milliseconds: int) -> None:
        """Set it ahead or back, as an operator of an exchange may."""
        self._now_ms += milliseconds
