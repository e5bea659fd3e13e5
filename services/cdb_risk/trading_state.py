"""The trading state: what may leave at all, why, since when, by whom, and who may change it back.

Each latch stands on its own and is cleared only by whom its table row names; the state is that of the strictest latch.

| latch | state | set by | cleared by |
|---|---|---|---|
| daily_loss | REDUCING | layer 3 | the next 00:00 UTC |
| rolling_loss | REDUCING | layer 3 | ROLLING_DRAWDOWN_HOURS after it was set |
| loss_streak | REDUCING | lost round trips in a row | LOSS_STREAK_PAUSE_MIN after it was set |
| breaker | HALTED | layer 5 | `reset_breaker` with name and reason |
| halt | HALTED, no strategy exits | operator | `resume` with name and reason |
| freeze | FROZEN | operator, reconciliation | `resume` with name and reason |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

__all__ = ["Latch", "LatchName", "TradingMode", "TradingState"]

TradingMode = Literal["ACTIVE", "REDUCING", "HALTED", "FROZEN"]
LatchName = Literal["daily_loss", "rolling_loss", "loss_streak", "breaker", "halt", "freeze"]

_MODE: Final[dict[LatchName, TradingMode]] = {
    "freeze": "FROZEN",
    "halt": "HALTED",
    "breaker": "HALTED",
    "daily_loss": "REDUCING",
    "rolling_loss": "REDUCING",
    "loss_streak": "REDUCING",
}
"""Strictest first."""


@dataclass
class Latch:
    """Why trading is restricted: since when (microseconds), by whom, for what reason."""

    since: int
    by: str
    reason: str


@dataclass
class TradingState:
    """The latches that are set."""

    latches: dict[LatchName, Latch] = field(default_factory=dict)

    @property
    def mode(self) -> TradingMode:
        """The state that follows from the strictest latch."""
        return next((mode for name, mode in _MODE.items() if name in self.latches), "ACTIVE")

    def is_set(self, name: LatchName) -> bool:
        """Whether a latch is set."""
        return name in self.latches

    def set(self, name: LatchName, latch: Latch) -> bool:
        """Set a latch and return whether it was not set before (the first reason stays)."""
        if name in self.latches:
            return False
        self.latches[name] = latch
        return True

    def clear(self, *names: LatchName) -> bool:
        """Clear latches and return whether any was set."""
        cleared = [name for name in names if self.latches.pop(name, None) is not None]
        return bool(cleared)

    @property
    def causes(self) -> list[str]:
        """Names of the set latches, strictest first."""
        return [name for name in _MODE if name in self.latches]
