"""Layer 4: all positions and all pending entries together, at worst."""

from __future__ import annotations

from decimal import Decimal

from services.cdb_risk.codes import Code
from services.cdb_risk.finding import Finding, shown
from services.cdb_risk.layers.position_limits import check_share

__all__ = ["check_exposure"]


def check_exposure(
    exposure: Decimal | None, order_notional: Decimal, equity: Decimal | None, limit_pct: Decimal, *, no_room: bool
) -> Finding:
    """Compare exposure plus the order with its share of equity; equality passes.

    Args:
        exposure: sum of |positions| plus pending entries, quote currency; None when it cannot be valued.
        order_notional: the order at its worst price, already capped to the headroom.
        equity: quote currency.
        limit_pct: MAX_TOTAL_EXPOSURE_PCT.
        no_room: whether the headroom left less than the exchange's minimum order.
    """
    if exposure is None or equity is None or equity <= 0:
        return Finding(Code.EXPOSURE_UNKNOWN, f"exposure {shown(exposure)}, equity {shown(equity)}")
    found = check_share(exposure + order_notional, equity, limit_pct, Code.EXPOSURE_LIMIT)
    if no_room and not found.failed:
        detail = f"no room for the smallest order beside {shown(exposure)}"
        return Finding(Code.EXPOSURE_LIMIT, detail, found.value, found.limit, found.headroom)
    return found
