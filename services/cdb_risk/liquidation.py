"""How far a perpetual position is from its liquidation, and the guard that closes it before the exchange does."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.cdb_risk.finding import shown
from services.cdb_risk.protective import LatchedExit
from services.cdb_risk.settings import RiskSettings
from services.cdb_risk.triggers import Trigger
from services.common.instruments import PERPETUAL, InstrumentSpec
from services.common.perpetuals import (
    liquidation_distance,
    liquidation_price,
    maintenance_fraction,
    margin_ratio,
    within_distance,
)
from services.common.portfolio import Position

__all__ = ["LiquidationView", "guard_trigger", "liquidation_view"]


@dataclass(frozen=True)
class LiquidationView:
    """Where a position would be liquidated.

    Attributes:
        price: mark at which it is, quote currency; 0 for a long that never is.
        distance: what is left to it, a share of the mark.
        margin_ratio: maintenance requirement / (margin + unrealised PnL); None when nothing is left of it.
    """

    price: Decimal
    distance: Decimal
    margin_ratio: Decimal | None


def liquidation_view(spec: InstrumentSpec | None, position: Position, mark: Decimal | None) -> LiquidationView | None:
    """Return where a position would be liquidated; None for spot, while flat, and without a mark."""
    if spec is None or not spec.tiers or mark is None:
        return None
    mu = maintenance_fraction(position.quantity, spec)
    price, distance = liquidation_price(position, mu), liquidation_distance(position, mark, mu)
    if price is None or distance is None:
        return None
    return LiquidationView(price, distance, margin_ratio(position, mark, mu))


def guard_trigger(
    settings: RiskSettings, spec: InstrumentSpec, position: Position, mark: Decimal, latched: LatchedExit | None
) -> Trigger | None:
    """Return the liquidation guard's trigger; None while there is room, or the guard (or a flatten) is at it already.

    It outranks a stop that has been latched but could not leave.
    """
    if position.venue != PERPETUAL or (latched is not None and latched.purpose in {"liquidation_guard", "flatten"}):
        return None
    mu, limit = maintenance_fraction(position.quantity, spec), settings.LIQUIDATION_GUARD_PCT
    if not within_distance(position, mark, mu, limit):
        return None
    price = liquidation_price(position, mu)
    return Trigger("liquidation_guard", f"mark {shown(mark)} is within {limit} of the liquidation at {shown(price)}")
