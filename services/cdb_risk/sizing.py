"""How much to buy: what the sizing method asks for, and what the caps of layers 2 and 4 leave of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from services.common.decimals import ZERO, divide, floor_to
from services.common.instruments import InstrumentSpec

__all__ = ["GREATEST_EQUITY", "Request", "fixed_fractional", "headroom_quantity", "round_to_lot"]

GREATEST_EQUITY = Decimal(10) ** 12
"""An equity above this is a fault, not a fortune; beneath it no quantity leaves 28 digits."""

_QUANTITY_STEP = Decimal("0.00000001")
_QUANTITY_PLACES = 8


@dataclass(frozen=True)
class Request:
    """What a sizing method asks for, in base units, and the numbers it used. Unknown inputs ask for nothing."""

    method: str
    quantity: Decimal | None
    inputs: dict[str, Decimal] = field(default_factory=dict)


def fixed_fractional(
    equity: Decimal | None, price: Decimal | None, risk_per_trade_pct: Decimal, stop_loss_pct: Decimal
) -> Request:
    """Ask for the quantity that loses `risk_per_trade_pct` of equity when the stop is hit.

    quantity = equity * risk / (stop * price); never worth more than the equity. price and stop are above 0.
    """
    method = "fixed_fractional"
    if equity is None or price is None or not 0 < equity <= GREATEST_EQUITY:
        return Request(method, None)
    notional = min(divide(equity * risk_per_trade_pct, stop_loss_pct), equity)
    return Request(
        method,
        divide(notional, price, _QUANTITY_PLACES),
        {
            "equity": equity,
            "price": price,
            "risk_per_trade_pct": risk_per_trade_pct,
            "stop_loss_pct": stop_loss_pct,
            "notional": notional,
        },
    )


def headroom_quantity(limit: Decimal, used: Decimal, unit_cost: Decimal) -> Decimal:
    """Return how many base units fit between what is used and the limit (quote currency); 0 when none.

    Rounded down, so that quantity * unit_cost never passes what is left.
    """
    left = limit - used
    if left <= 0:
        return ZERO
    quantity = divide(left, unit_cost, _QUANTITY_PLACES)
    return quantity if quantity * unit_cost <= left else quantity - _QUANTITY_STEP


def round_to_lot(quantity: Decimal, spec: InstrumentSpec) -> Decimal:
    """Return a quantity rounded down to the lot grid."""
    return floor_to(quantity, spec.lot_size)
