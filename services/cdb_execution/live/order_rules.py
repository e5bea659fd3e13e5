"""What the exchange itself publishes of orders, checked before an order is journalled as being sent.

cdb_risk and the checks of paper use the grids that the feed has told. This is the second key: the account that orders
go to is asked by itself, at the start and every few minutes. An exit is held only to what cannot be written down for
the exchange at all; whether it is open to it now, the exchange says.
"""

from __future__ import annotations

from collections.abc import Mapping

from services.cdb_execution.codes import Refusal, RejectCode, shown
from services.cdb_execution.exchange import OrderRules
from services.common.decimals import floor_to
from services.common.events import Order

__all__ = ["check_rules"]


def check_rules(order: Order, rules: Mapping[str, OrderRules]) -> Refusal | None:
    """Return the first published rule that an order breaks.

    Args:
        order: that passed every check of paper, so that it has a mid at decision.
        rules: by symbol, as the exchange has told them since the start.
    """
    rule, is_entry = rules.get(order.symbol), order.purpose == "entry"
    if rule is None:
        if is_entry:
            return Refusal(
                RejectCode.RULES_UNKNOWN, f"the exchange has not said which orders of {order.symbol} it takes"
            )
        return None
    broken = (
        (_refuses_now(order, rule) if is_entry else None)
        or _unwritable(order, rule)
        or _too_small_or_large(order, rule)
    )
    return None if broken is None else Refusal(RejectCode.EXCHANGE_RULE, broken)


def _refuses_now(order: Order, rule: OrderRules) -> str | None:
    if rule.closed is not None:
        return f"{order.symbol} is closed: {rule.closed}"
    if order.side not in rule.sides:
        return f"{order.symbol} takes no {order.side} now"
    return None


def _unwritable(order: Order, rule: OrderRules) -> str | None:
    if order.quantity != floor_to(order.quantity, rule.lot_size):
        return f"quantity {shown(order.quantity)} is no multiple of the exchange's lot {shown(rule.lot_size)}"
    if order.price is not None and order.price != floor_to(order.price, rule.tick_size):
        return f"price {shown(order.price)} is no multiple of the exchange's tick {shown(rule.tick_size)}"
    if order.order_type == "MARKET" and not rule.market_orders:
        return f"{order.symbol} takes no orders without a price"
    return None


def _too_small_or_large(order: Order, rule: OrderRules) -> str | None:
    if order.quantity < rule.min_quantity:
        return f"quantity {shown(order.quantity)} is under the exchange's {shown(rule.min_quantity)}"
    if rule.max_quantity is not None and order.quantity > rule.max_quantity:
        return f"quantity {shown(order.quantity)} is over the exchange's {shown(rule.max_quantity)}"
    price = order.reference_price if order.price is None else order.price
    assert price is not None, "orders without a mid at decision are refused"
    value = order.quantity * price
    if value < rule.min_notional:
        return f"value {shown(value)} is under the exchange's {shown(rule.min_notional)}"
    if value > rule.max_notional:
        return f"value {shown(value)} is over the exchange's {shown(rule.max_notional)}"
    return None
