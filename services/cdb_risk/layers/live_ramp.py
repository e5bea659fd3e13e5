"""The live ramp in layers 1 to 3: few instruments and small amounts in USDT, in shadow and live mode alone.

cdb_execution checks the same limits by itself, before it sends (two keys). Here they are part of every decision, with
value, limit and what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from services.cdb_risk.codes import Code
from services.cdb_risk.finding import Finding, compared, ok, shown
from services.common.decimals import ZERO, clamp, divide

__all__ = ["check_live_loss", "check_live_order", "check_live_position", "check_live_symbol", "tightest_last"]


_FARTHEST: Final = 1_000_000
"""So many limits beyond a limit, or short of it, all is the same: an absurd number stops nobody."""


def check_live_symbol(symbol: str, allowed: Sequence[str]) -> Finding:
    """Only what LIVE_SYMBOLS names is entered."""
    if symbol in allowed:
        return ok(f"{symbol} is among LIVE_SYMBOLS")
    return Finding(Code.LIVE_SYMBOL, f"{symbol} is not among LIVE_SYMBOLS ({', '.join(allowed)})")


def check_live_order(worst_notional: Decimal, limit: Decimal, *, no_room: bool) -> Finding:
    """Compare one order at its worst price with LIVE_MAX_ORDER_USDT; equality passes, requests are capped.

    Args:
        worst_notional: the order, already capped, USDT.
        limit: LIVE_MAX_ORDER_USDT.
        no_room: whether it leaves less than the exchange's minimum order.
    """
    code = Code.LIVE_ORDER_CAP if no_room or worst_notional > limit else Code.OK
    detail = f"the order costs {shown(worst_notional)} USDT at worst, LIVE_MAX_ORDER_USDT is {shown(limit)}"
    return compared(code, detail, worst_notional, limit)


def check_live_position(worst_notional: Decimal, limit: Decimal, *, no_room: bool) -> Finding:
    """Compare the position of one instrument at worst, the order included, with LIVE_MAX_POSITION_USDT.

    Args:
        worst_notional: what is held and being entered at its mark, and the order at its worst price; USDT.
        limit: LIVE_MAX_POSITION_USDT; equality passes.
        no_room: whether it leaves less than the exchange's minimum order.
    """
    code = Code.LIVE_POSITION_CAP if no_room or worst_notional > limit else Code.OK
    detail = f"the position is worth {shown(worst_notional)} USDT at worst, LIVE_MAX_POSITION_USDT is {shown(limit)}"
    return compared(code, detail, worst_notional, limit)


def check_live_loss(pnl: Decimal | None, limit: Decimal) -> Finding:
    """Compare what was lost since 00:00 UTC with LIVE_MAX_DAILY_LOSS_USDT; equality blocks, unknown blocks."""
    if pnl is None:
        return Finding(Code.LIVE_DAILY_LOSS, "what was lost today is not known (LIVE_MAX_DAILY_LOSS_USDT)", limit=limit)
    code = Code.LIVE_DAILY_LOSS if -pnl >= limit else Code.OK
    return compared(code, f"pnl {shown(pnl)} USDT today, LIVE_MAX_DAILY_LOSS_USDT is {shown(limit)}", -pnl, limit)


def tightest_last(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings in the order of what is left of their limit, the least last: that is the number to show."""
    return sorted(findings, key=_left, reverse=True)


def _left(finding: Finding) -> Decimal:
    if finding.value is None or not finding.limit:
        return ZERO
    farthest = finding.limit * _FARTHEST
    return divide(clamp(finding.limit - finding.value, -farthest, farthest), finding.limit)
