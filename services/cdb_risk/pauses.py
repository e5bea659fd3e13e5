"""Restrictions that end by time: the rolling loss after its window, the loss streak after its pause.

Both latch REDUCING as the daily loss does: entries rest and what works of them is cancelled, exits go on. They are no
faults, so nobody has to lift them; lowering ROLLING_DRAWDOWN_HOURS or LOSS_STREAK_PAUSE_MIN ends them sooner, turning
the limit off ends them with the next tick.
"""

from __future__ import annotations

from services.cdb_risk.settings import RiskSettings
from services.cdb_risk.trading_state import LatchName, TradingState
from services.common.timestamps import HOUR_US, MINUTE_US

__all__ = ["pauses_over"]


def pauses_over(settings: RiskSettings, trading: TradingState, now: int) -> dict[LatchName, str]:
    """Return the latches whose time is over at `now` (microseconds), each with the reason to give."""
    if not trading.latches:
        return {}
    hours = settings.ROLLING_DRAWDOWN_HOURS if settings.MAX_ROLLING_DRAWDOWN_PCT else 0
    minutes = settings.LOSS_STREAK_PAUSE_MIN if settings.MAX_LOSS_STREAK else 0
    lengths: dict[LatchName, tuple[int, str]] = {
        "rolling_loss": (hours * HOUR_US, "the window of the rolling loss has passed"),
        "loss_streak": (minutes * MINUTE_US, "the pause after the lost round trips is over"),
    }
    return {
        name: reason
        for name, (length, reason) in lengths.items()
        if name in trading.latches and now - trading.latches[name].since >= length
    }
