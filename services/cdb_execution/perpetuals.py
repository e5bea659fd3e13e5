"""The paper exchange's side of perpetuals: what it keeps of each, its funding settlements and its liquidations.

trading.md 3.10 and 3.11: funding once per symbol and settlement, an unknown rate against us and flagged; liquidation
on the mark, where the isolated margin is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from services.common.events import MarketData
from services.common.instruments import InstrumentSpec
from services.common.perpetual_facts import Funding, Liquidation
from services.common.perpetuals import (
    FUNDING_INTERVAL_US,
    UNKNOWN_FUNDING_RATE,
    believable_mark,
    funding_amount,
    is_liquidated,
    liquidation_price,
    maintenance_fraction,
)
from services.common.portfolio import Position

__all__ = ["Perpetual"]


@dataclass
class Perpetual:
    """One perpetual as the exchange keeps it.

    Attributes:
        position: ours, with its isolated margin.
        mark: last mark price that was believed; None before the first.
        rate, rate_at: last funding rate and when it came, microseconds; None before the first.
    """

    position: Position
    mark: Decimal | None = None
    rate: Decimal | None = None
    rate_at: int | None = None

    def observe(self, event: MarketData, collar_pct: Decimal) -> None:
        """Take mark and funding rate from market data."""
        self.mark = believable_mark(event, collar_pct) or self.mark
        if event.funding_rate is not None:
            self.rate, self.rate_at = event.funding_rate, event.timestamp

    def fund(self, settlement: int) -> Funding | None:
        """Settle funding and return the fact; None while flat.

        A rate is that of the settlement that follows it within eight hours; an older one counts as unknown. Without any
        mark (a fill by an operator's word) the entry price stands for it.
        """
        held = self.position.quantity
        if not held:
            return None
        mark = self.position.entry_price if self.mark is None else self.mark
        assert mark is not None, "something is held"
        rate, known = self.rate, True
        if rate is None or self.rate_at is None or settlement - self.rate_at > FUNDING_INTERVAL_US:
            rate, known = UNKNOWN_FUNDING_RATE if held > 0 else -UNKNOWN_FUNDING_RATE, False
        amount = funding_amount(held, mark, rate)
        self.position.funding += amount
        return Funding(self.position.symbol, settlement, rate, known, mark, held, amount)

    def liquidate(self, spec: InstrumentSpec) -> Liquidation | None:
        """Take the position over if its mark has reached the liquidation price, and return the fact; else None."""
        held = self.position
        if not held.quantity or self.mark is None:
            return None
        mu = maintenance_fraction(held.quantity, spec)
        if not is_liquidated(held, self.mark, mu):
            return None
        entry, price = held.entry_price, liquidation_price(held, mu)
        assert entry is not None, "something is held"
        assert price is not None, "something is held"
        fact = Liquidation(held.symbol, entry, price, self.mark, held.margin, held.quantity, mu)
        self.position = Position(held.venue, held.symbol)
        return fact

    def shown(self) -> dict[str, Any]:
        """Return what `/status` shows."""
        held = self.position
        return {
            "quantity": held.quantity,
            "entry_price": held.entry_price,
            "margin": held.margin,
            "funding": held.funding,
            "mark": self.mark,
            "funding_rate": self.rate,
        }
