"""What an order must keep of an instrument's published rules, checked before anything is sent. Pure."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from services.cdb_execution.exchange import OrderRequest
from services.cdb_execution.live.order_rules import (
    BrokenRule,
    needs_a_price,
    no_multiple,
    outside,
    refuses_now,
    rules_told,
)
from services.common.decimals import FIXED, ZERO
from services.common.mexc.instruments import Listing

__all__ = ["broken_rule", "contracts", "off_grid"]


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
        return no_multiple("quantity", request.quantity, spec.lot_size)
    if request.price is not None and not _is_multiple(request.price, spec.tick_size):
        return no_multiple("price", request.price, spec.tick_size)
    if (request.order_type == "LIMIT") != (request.price is not None):
        return BrokenRule("price", f"{request.order_type} with the price {request.price}")
    if request.order_type == "MARKET" and not spec.market_orders:
        return needs_a_price(request.symbol)
    return None


def broken_rule(request: OrderRequest, listing: Listing) -> BrokenRule | None:
    """Return the first published rule that an order does not keep."""
    rule = rules_told(listing.spec)
    return refuses_now(request, rule) or off_grid(request, listing) or outside(request, rule, request.price)
