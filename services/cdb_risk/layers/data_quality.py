"""Layer 1: is what the decision would rest on true?"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from services.cdb_risk.codes import MEANINGS, Code
from services.cdb_risk.finding import Finding, compared, ok, ratio, shown
from services.cdb_risk.market import outside_collar
from services.cdb_risk.sizing import GREATEST_EQUITY

__all__ = ["check_book", "check_equity", "check_gap", "check_marks", "check_problem", "check_symbol", "price_collar"]


def check_symbol(symbol: str, *, known: bool) -> Finding:
    """Only instruments that are configured and whose grid is known are traded."""
    return ok(f"{symbol} is traded") if known else Finding(Code.UNKNOWN_SYMBOL, f"{symbol} is not traded here")


def check_book(bid: Decimal, ask: Decimal) -> Finding:
    """The bid must stand below the ask."""
    if bid < ask:
        return ok(("bid {} below ask {}", bid, ask))
    return Finding(Code.CROSSED_BOOK, f"bid {shown(bid)} is not below ask {shown(ask)}")


def check_problem(problem: Code) -> Finding:
    """The last market data of the instrument must have been flawless."""
    return ok("last market data good") if problem is Code.OK else Finding(problem, MEANINGS[problem])


def check_gap(*, gap_open: bool) -> Finding:
    """A feed that lost messages is not believed until it has shown good quotes again."""
    return Finding(Code.FEED_GAP, MEANINGS[Code.FEED_GAP]) if gap_open else ok("no feed gap")


def check_equity(equity: Decimal | None) -> Finding:
    """The portfolio must have a known value above zero."""
    if equity is None:
        return Finding(Code.EQUITY_UNKNOWN, "a held position has never been marked")
    if not 0 < equity <= GREATEST_EQUITY:
        return Finding(Code.EQUITY_UNKNOWN, f"equity is {shown(equity)}", value=equity)
    return ok(("equity {}", equity), value=equity)


def check_marks(stale: Sequence[str]) -> Finding:
    """Every held position must have been marked within the last minute."""
    return Finding(Code.MARKS_STALE, f"no good mark for 60 s: {', '.join(stale)}") if stale else ok("marks fresh")


def price_collar(code: Code, price: Decimal, reference: Decimal, collar_pct: Decimal) -> Finding:
    """Compare |price / reference - 1| with the collar; equality passes."""
    outside = outside_collar(price, reference, collar_pct)
    distance = ratio(abs(price - reference), reference)
    return compared(code if outside else Code.OK, ("price {} against {}", price, reference), distance, collar_pct)
