"""What layers 1 and 2 ask of an entry on a perpetual besides: a fresh mark, leverage, liquidation distance, margin."""

from __future__ import annotations

from decimal import Decimal

from services.cdb_risk.codes import MEANINGS, Code
from services.cdb_risk.finding import Finding, ok, shown
from services.common.instruments import RiskTier
from services.common.timestamps import MINUTE_US

__all__ = ["MARK_FRESH_US", "check_leverage", "check_liquidation_distance", "check_margin", "check_mark"]

MARK_FRESH_US = MINUTE_US


def check_mark(marked_at: int | None, now: int) -> Finding:
    """The mark decides about stops and liquidation: without a fresh one nothing is entered.

    Args:
        marked_at: time of the last mark that was believed, microseconds; None before the first.
        now: time of the decision, microseconds.
    """
    if marked_at is None or now - marked_at > MARK_FRESH_US:
        return Finding(Code.MARK_MISSING, MEANINGS[Code.MARK_MISSING])
    return ok("mark fresh")


def check_leverage(leverage: int, tier: RiskTier | None) -> Finding:
    """Compare the leverage with what the tier of the new position allows; None when it is beyond all tiers."""
    if tier is None:
        return Finding(Code.LEVERAGE_LIMIT, "the position would be larger than the exchange's largest tier")
    over = leverage > tier.max_leverage
    return Finding(
        Code.LEVERAGE_LIMIT if over else Code.OK,
        f"leverage {leverage} of {tier.max_leverage} at this size",
        value=Decimal(leverage),
        limit=Decimal(tier.max_leverage),
        headroom=Decimal(tier.max_leverage - leverage),
    )


def check_liquidation_distance(distance: Decimal, stop_loss_pct: Decimal) -> Finding:
    """The stop must have room: a distance to liquidation under twice the stop's blocks; equality passes.

    Args:
        distance: of the new position, a share of the price.
        stop_loss_pct: STOP_LOSS_PCT.
    """
    least = stop_loss_pct + stop_loss_pct
    return Finding(
        Code.LIQUIDATION_TOO_CLOSE if distance < least else Code.OK,
        f"liquidation {shown(distance)} away, at least {shown(least)} is needed",
        value=distance,
        limit=least,
        headroom=distance - least,
    )


def check_margin(needed: Decimal, free: Decimal) -> Finding:
    """Compare margin and fee of the order at its worst with the cash that is neither locked nor spoken for."""
    return Finding(
        Code.INSUFFICIENT_MARGIN if needed > free else Code.OK,
        f"{shown(needed)} of margin and fee from {shown(free)}",
        value=needed,
        limit=free,
        headroom=free - needed,
    )
