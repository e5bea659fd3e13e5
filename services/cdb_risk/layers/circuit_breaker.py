"""Layer 5: the loss from the peak, and everything else that halts trading as a whole."""

from __future__ import annotations

from decimal import Decimal

from services.cdb_risk.account import Account, loss_fraction, loss_reached
from services.cdb_risk.codes import MEANINGS, Code
from services.cdb_risk.finding import Finding, compared, ok, shown
from services.cdb_risk.trading_state import TradingState

__all__ = ["breaker_findings", "check_halts", "check_memory", "check_peak_loss"]


def check_halts(*, frozen: bool, halted: bool, breaker: bool) -> list[Finding]:
    """Find what an operator, a reconciliation or the breaker has latched."""
    latched = ((Code.FROZEN, frozen), (Code.OPERATOR_HALT, halted), (Code.BREAKER_LATCHED, breaker))
    found = [Finding(code, MEANINGS[code]) for code, is_set in latched if is_set]
    return found or [ok("nothing latched")]


def check_memory(pressure: str) -> Finding:
    """No new positions while the journal is short of memory: their results must have room."""
    return ok("journal has room") if pressure == "none" else Finding(Code.JOURNAL_MEMORY, f"pressure: {pressure}")


def check_peak_loss(peak: Decimal | None, equity: Decimal | None, threshold_pct: Decimal) -> Finding:
    """Compare 1 - equity / peak with the threshold; equality blocks."""
    if peak is None or peak <= 0 or equity is None:
        return Finding(Code.PEAK_UNKNOWN, f"peak {shown(peak)}, equity {shown(equity)}")
    reached = loss_reached(peak, equity, threshold_pct)
    return compared(
        Code.DRAWDOWN_LIMIT if reached else Code.OK,
        ("equity {}, peak {}", equity, peak),
        loss_fraction(peak, equity),
        threshold_pct,
    )


def breaker_findings(account: Account, trading: TradingState, pressure: str, threshold_pct: Decimal) -> list[Finding]:
    """Return all findings of the layer; what is latched shows the drawdown of now."""
    loss = check_peak_loss(account.peak_equity, account.equity, threshold_pct)
    halts = check_halts(
        frozen=trading.is_set("freeze"), halted=trading.is_set("halt"), breaker=trading.is_set("breaker")
    )
    return [*(halt.with_numbers_of(loss) for halt in halts), check_memory(pressure).with_numbers_of(loss), loss]
