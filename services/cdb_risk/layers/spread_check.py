"""Layer 6: what it costs to trade now."""

from __future__ import annotations

from decimal import Decimal

from services.cdb_risk.codes import Code
from services.cdb_risk.finding import Finding, compared, ratio
from services.common.portfolio import mid_price

__all__ = ["check_slippage", "check_spread"]


def check_spread(bid: Decimal, ask: Decimal, limit_pct: Decimal) -> Finding:
    """Compare (ask - bid) / mid with the limit; equality passes."""
    mid = mid_price(bid, ask)
    wide = ask - bid > limit_pct * mid
    return compared(
        Code.SPREAD_LIMIT if wide else Code.OK,
        ("spread between {} and {}", bid, ask),
        ratio(ask - bid, mid),
        limit_pct,
    )


def check_slippage(expected: Decimal | None, limit_pct: Decimal, detail: str = "") -> Finding:
    """Compare the expected slippage with the limit; equality passes, unknown depth fails."""
    if expected is None:
        return Finding(Code.DEPTH_UNKNOWN, detail or "no size at the touch", limit=limit_pct)
    over = expected > limit_pct
    return compared(Code.SLIPPAGE_LIMIT if over else Code.OK, detail or "expected slippage", expected, limit_pct)
