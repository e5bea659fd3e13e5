"""Layers 3 and 5 on every valuation, not only when a signal asks: warnings, daily and rolling limit, the breaker."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.cdb_risk.account import Account, loss_reached
from services.cdb_risk.finding import shown, wire
from services.cdb_risk.notices import Notice
from services.cdb_risk.settings import RiskSettings
from services.cdb_risk.trading_state import LatchName, TradingState

__all__ = ["LossEvent", "evaluate_losses"]


@dataclass(frozen=True)
class LossEvent:
    """What a valuation brought about: a notice, and the latch to set if a limit was reached."""

    notice: Notice
    latch: LatchName | None = None


def evaluate_losses(
    settings: RiskSettings, account: Account, trading: TradingState, now: int, key: str | None
) -> list[LossEvent]:
    """Fold one valuation of the portfolio.

    Args:
        settings: the limits.
        account: its peak, breach and warnings are brought up to date.
        trading: latches that are set already.
        now: time of the valuation, microseconds.
        key: instrument whose good quote made it; None for a fill or the clock.
    """
    equity = account.equity
    if equity is None:
        return []
    account.raise_peak(equity)
    return [
        *_daily(settings, account, trading, equity),
        *_rolling(settings, account, trading, equity, now),
        *_peak(settings, account, trading, equity, now=now, key=key),
    ]


def _numbers(equity: Decimal, base: Decimal, limit_pct: Decimal) -> dict[str, Decimal | None]:
    return {"equity": wire(equity), "base": wire(base), "limit_pct": limit_pct}


def _daily(settings: RiskSettings, account: Account, trading: TradingState, equity: Decimal) -> list[LossEvent]:
    base = account.start_of_day_equity
    if base is None or trading.is_set("daily_loss"):
        return []
    largest = settings.daily_loss(base)
    if account.unworried(base - equity, largest):
        return []
    limit = settings.MAX_DAILY_DRAWDOWN_PCT
    if base - equity >= largest:
        message = f"daily loss limit reached: equity {shown(equity)}, {shown(base)} at 00:00 UTC"
        if largest < limit * base:
            message += f", LIVE_MAX_DAILY_LOSS_USDT is {shown(largest)}"
        return [
            LossEvent(Notice("CRITICAL", "DAILY_DRAWDOWN_LIMIT", message, _numbers(equity, base, limit)), "daily_loss")
        ]
    level = account.warning_due(base - equity, largest)
    if level <= account.daily_warned:
        return []
    account.daily_warned = level
    message = f"{level} % of the daily loss is used"
    return [LossEvent(Notice("WARNING", "DAILY_DRAWDOWN_WARNING", message, _numbers(equity, base, limit)))]


def _rolling(
    settings: RiskSettings, account: Account, trading: TradingState, equity: Decimal, now: int
) -> list[LossEvent]:
    rolling, limit, hours = account.rolling, settings.MAX_ROLLING_DRAWDOWN_PCT, settings.ROLLING_DRAWDOWN_HOURS
    base = rolling.add(now, equity, hours)
    if not limit or base <= 0 or trading.is_set("rolling_loss"):
        return []
    if account.unworried(base - equity, limit * base):
        if rolling.warned:
            rolling.warned = 0 if (base - equity) * 4 < limit * base else rolling.warned
        return []
    if loss_reached(base, equity, limit):
        message = f"rolling loss limit reached: equity {shown(equity)}, {shown(base)} within the last {hours} h"
        return [
            LossEvent(
                Notice("CRITICAL", "ROLLING_DRAWDOWN_LIMIT", message, _numbers(equity, base, limit)), "rolling_loss"
            )
        ]
    level = account.warning_due(base - equity, limit * base)
    if level <= rolling.warned:
        # half of the lowest warning: a loss that hovers at a level warns once
        rolling.warned = 0 if (base - equity) * 4 < limit * base else rolling.warned
        return []
    rolling.warned = level
    message = f"{level} % of the rolling loss is used"
    return [LossEvent(Notice("WARNING", "ROLLING_DRAWDOWN_WARNING", message, _numbers(equity, base, limit)))]


def _peak(
    settings: RiskSettings, account: Account, trading: TradingState, equity: Decimal, *, now: int, key: str | None
) -> list[LossEvent]:
    base, limit = account.peak_equity, settings.CIRCUIT_BREAKER_THRESHOLD_PCT
    if base is None or trading.is_set("breaker"):
        return []
    if account.unworried(base - equity, limit * base):
        account.breach = None
        return []
    if loss_reached(base, equity, limit):
        if not account.confirm_breach(now, key):
            return []
        account.breach = None
        message = f"circuit breaker tripped: equity {shown(equity)}, peak {shown(base)}"
        return [LossEvent(Notice("CRITICAL", "CIRCUIT_BREAKER", message, _numbers(equity, base, limit)), "breaker")]
    account.breach = None
    level = account.warning_due(base - equity, limit * base)
    if level <= account.drawdown_warned:
        return []
    account.drawdown_warned = level
    message = f"{level} % of the breaker's loss is used"
    return [LossEvent(Notice("WARNING", "DRAWDOWN_WARNING", message, _numbers(equity, base, limit)))]
