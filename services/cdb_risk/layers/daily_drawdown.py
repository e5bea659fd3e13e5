"""Layer 3: how much was lost today, within the last hours, and in a row. Loss limits block at equality and latch."""

from __future__ import annotations

from decimal import Decimal

from services.cdb_risk.account import loss_fraction, loss_reached
from services.cdb_risk.codes import MEANINGS, Code
from services.cdb_risk.finding import Finding, compared, ok, ratio, shown

__all__ = ["check_daily_latch", "check_daily_loss", "check_pause", "check_rolling_loss", "daily_findings"]


def check_daily_latch(*, latched: bool) -> Finding:
    """A day whose limit was reached stays closed, also after a recovery."""
    if latched:
        return Finding(Code.DAILY_DRAWDOWN_LATCHED, MEANINGS[Code.DAILY_DRAWDOWN_LATCHED])
    return ok("limit not reached today")


def check_daily_loss(start_of_day: Decimal | None, pnl: Decimal | None, limit_pct: Decimal) -> Finding:
    """Compare (E_sod - E) / E_sod with the limit; a loss equal to the limit blocks.

    Args:
        start_of_day: equity at 00:00 UTC.
        pnl: equity now less that.
        limit_pct: MAX_DAILY_DRAWDOWN_PCT.
    """
    if start_of_day is None or start_of_day <= 0 or pnl is None:
        return Finding(Code.START_OF_DAY_UNKNOWN, f"start of day {shown(start_of_day)}, pnl {shown(pnl)}")
    reached = loss_reached(start_of_day, start_of_day + pnl, limit_pct)
    return compared(
        Code.DAILY_DRAWDOWN_LIMIT if reached else Code.OK,
        ("pnl {} today on {}", pnl, start_of_day),
        ratio(-pnl, start_of_day),
        limit_pct,
    )


def check_pause(code: Code, *, latched: bool) -> Finding:
    """A rolling loss or a loss streak rests entries for its time."""
    return Finding(code, MEANINGS[code]) if latched else ok("no pause")


def check_rolling_loss(peak: Decimal | None, equity: Decimal | None, limit_pct: Decimal) -> Finding:
    """Compare 1 - equity / peak with the limit; a loss equal to the limit blocks, a limit of 0 is off.

    Args:
        peak: highest equity of the last ROLLING_DRAWDOWN_HOURS; None before the first valuation.
        equity: quote currency.
        limit_pct: MAX_ROLLING_DRAWDOWN_PCT.
    """
    if not limit_pct or peak is None or peak <= 0 or equity is None:
        return ok("no rolling loss limit" if not limit_pct else "nothing to compare with yet")
    reached = loss_reached(peak, equity, limit_pct)
    return compared(
        Code.ROLLING_DRAWDOWN_LIMIT if reached else Code.OK,
        ("equity {}, highest lately {}", equity, peak),
        loss_fraction(peak, equity),
        limit_pct,
    )


def daily_findings(
    start_of_day: Decimal | None, pnl: Decimal | None, limit_pct: Decimal, *, latched: bool
) -> list[Finding]:
    """Return all findings of the layer; a latched day shows today's numbers."""
    loss = check_daily_loss(start_of_day, pnl, limit_pct)
    return [check_daily_latch(latched=latched).with_numbers_of(loss), loss]
