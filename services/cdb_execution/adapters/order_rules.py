"""What an order must keep of an instrument's published rules, checked before anything is sent. Pure."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from services.cdb_execution.exchange import OrderRequest
from services.common.decimals import FIXED, ZERO
from services.common.mexc.instruments import Listing

__all__ = ["BrokenRule", "broken_rule", "contracts", "off_grid"]


class BrokenRule(NamedTuple):
    """A rule that an order does not keep: a name, and a sentence with the numbers."""

    code: str
    detail: str


def contracts(quantity: Decimal, contract_size: Decimal) -> Decimal | None:
    """Return base units as a number of contracts; None when it is no whole number of them: nothing is rounded."""
    return FIXED.divide(quantity, contract_size) if _is_multiple(quantity, contract_size) else None


def _is_multiple(value: Decimal, step: Decimal) -> bool:
    try:
        return value > ZERO and not FIXED.remainder(value, step)
    except InvalidOperation:  # over 28 digits of steps
        return False


def off_grid(request: OrderRequest, listing: Listing) -> BrokenRule | None:
    """Return why an order cannot even be written down for the exchange: its numbers are not on the grids."""
    spec = listing.spec
    if not _is_multiple(request.quantity, spec.lot_size):
        return BrokenRule("off_lot", f"{request.quantity} is no multiple of the lot {spec.lot_size}")
    if request.price is not None and not _is_multiple(request.price, spec.tick_size):
        return BrokenRule("off_tick", f"{request.price} is no multiple of the tick {spec.tick_size}")
    if (request.order_type == "LIMIT") != (request.price is not None):
        return BrokenRule("price", f"{request.order_type} with the price {request.price}")
    if request.order_type == "MARKET" and not spec.market_orders:
        return BrokenRule("market_not_allowed", f"{listing.name} takes no orders without a price")
    return None


def broken_rule(request: OrderRequest, listing: Listing) -> BrokenRule | None:
    """Return the first published rule that an order does not keep."""
    spec = listing.spec
    if spec.closed is not None:
        return BrokenRule("closed", f"{listing.name}: {spec.closed}")
    if request.side not in spec.sides:
        return BrokenRule("side", f"{listing.name} takes no {request.side} now")
    broken = off_grid(request, listing)
    if broken is not None:
        return broken
    if request.quantity < spec.min_quantity:
        return BrokenRule("min_quantity", f"{request.quantity} is below {spec.min_quantity}")
    if spec.max_quantity is not None and request.quantity > spec.max_quantity:
        return BrokenRule("max_quantity", f"{request.quantity} is above {spec.max_quantity}")
    if request.price is None:
        return None
    notional = FIXED.multiply(request.price, request.quantity)
    if notional < spec.min_notional:
        return BrokenRule("min_notional", f"{notional} is below {spec.min_notional}")
    if notional > spec.max_notional:
        return BrokenRule("max_notional", f"{notional} is above {spec.max_notional}")
    return None
