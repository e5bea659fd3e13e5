"""What the exchange itself publishes of orders, checked before an order is journalled as being sent.

cdb_risk and the checks of paper use the grids that the feed has told. This is the second key: the account that orders
go to is asked by itself, at the start and every few minutes. An exit is held only to what cannot be written down for
the exchange at all; whether it is open to it now, the exchange says.

On paper the rules are those that the feed has told, and what the exchange would say to an exit is said with its code.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Literal, NamedTuple, Protocol

from services.cdb_execution.codes import Refusal, RejectCode, shown
from services.cdb_execution.exchange import OrderRules
from services.common.decimals import floor_to
from services.common.events import Order
from services.common.instruments import InstrumentSpec
from services.common.price_band import farthest_price

__all__ = [
    "BrokenRule",
    "Written",
    "check_rules",
    "needs_a_price",
    "no_multiple",
    "outside",
    "refuses_now",
    "rules_told",
]


class Written(Protocol):
    """What is looked at of an order, as it is journalled or as it is written down for the exchange."""

    @property
    def symbol(self) -> str:
        """Of the instrument."""
        ...

    @property
    def side(self) -> Literal["BUY", "SELL"]:
        """Of the order."""
        ...

    @property
    def quantity(self) -> Decimal:
        """Base units."""
        ...

    @property
    def price(self) -> Decimal | None:
        """Limit; None for MARKET."""
        ...


class BrokenRule(NamedTuple):
    """A rule that an order does not keep: a name, and the sentence with the numbers."""

    code: str
    detail: str


def check_rules(
    order: Order, rules: Mapping[str, OrderRules], reference: Decimal | None = None, *, on_paper: bool = False
) -> Refusal | None:
    """Return the first published rule that an order breaks.

    Args:
        order: that passed every check of paper, so that it has a mid at decision.
        rules: by symbol, as the exchange has told them since the start.
        reference: last price on spot, mark of a perpetual: limits may only be so far from it; None: not known.
        on_paper: no exchange will say what is wrong with an exit, so it is said here.
    """
    rule, is_entry = rules.get(order.symbol), order.purpose == "entry"
    if rule is None:
        if is_entry:
            return Refusal(
                RejectCode.RULES_UNKNOWN, f"the exchange has not said which orders of {order.symbol} it takes"
            )
        return None
    refused = refuses_now(order, rule, reference) if is_entry or on_paper else None
    if refused is not None and not is_entry:
        return Refusal(RejectCode.REFUSED, f"{_CODES[order.venue][refused.code]}: {refused.detail}")
    price = order.reference_price if order.price is None else order.price
    assert price is not None, "orders without a mid at decision are refused"
    broken = refused or _unwritable(order, rule) or outside(order, rule, price)
    return None if broken is None else Refusal(RejectCode.EXCHANGE_RULE, broken.detail)


_CODES: Final[dict[str, dict[str, str]]] = {
    "mexc_spot": {"closed": "30016", "side": "30001", "above": "30087", "below": "30087"},
    "mexc_perpetual": {"closed": "1002", "side": "6001", "above": "2003", "below": "2004"},
}
"""What the exchange answers to an order that it does not take now."""


def rules_told(spec: InstrumentSpec) -> OrderRules:
    """Return the rules of an instrument as they were told: by the feed on paper, by the account live."""
    return OrderRules(
        symbol=spec.symbol,
        tick_size=spec.tick_size,
        lot_size=spec.lot_size,
        min_quantity=spec.min_quantity,
        min_notional=spec.min_notional,
        max_notional=spec.max_notional,
        sides=spec.sides,
        market_orders=spec.market_orders,
        max_quantity=spec.max_quantity,
        closed=spec.closed,
        buy_band=spec.buy_band,
        sell_band=spec.sell_band,
    )


def refuses_now(order: Written, rule: OrderRules, reference: Decimal | None = None) -> BrokenRule | None:
    """Return why the exchange does not take such an order now, however it is written.

    Args:
        order: what is looked at.
        rule: of its instrument.
        reference: last price on spot, mark of a perpetual; None: not known, so that no limit is too far from it.
    """
    if rule.closed is not None:
        return BrokenRule("closed", f"{order.symbol} is closed: {rule.closed}")
    if order.side not in rule.sides:
        return BrokenRule("side", f"{order.symbol} takes no {order.side} now")
    farthest = None if order.price is None else farthest_price(order.side, reference, rule)
    if order.price is None or farthest is None:
        return None
    assert reference is not None, "a farthest price is one from a reference"
    kind = "above" if order.side == "BUY" else "below"
    beyond = order.price > farthest if kind == "above" else order.price < farthest
    why = f"price {shown(order.price)} is {kind} {shown(farthest)}, the last that the exchange takes at"
    return BrokenRule(kind, f"{why} {shown(reference)}") if beyond else None


def no_multiple(name: Literal["quantity", "price"], value: Decimal, step: Decimal) -> BrokenRule:
    """Return that a number is not on the exchange's grid."""
    grid = "lot" if name == "quantity" else "tick"
    return BrokenRule(f"off_{grid}", f"{name} {shown(value)} is no multiple of the exchange's {grid} {shown(step)}")


def needs_a_price(symbol: str) -> BrokenRule:
    """Return that an instrument takes no MARKET order."""
    return BrokenRule("market_not_allowed", f"{symbol} takes no orders without a price")


def _unwritable(order: Order, rule: OrderRules) -> BrokenRule | None:
    if order.quantity != floor_to(order.quantity, rule.lot_size):
        return no_multiple("quantity", order.quantity, rule.lot_size)
    if order.price is not None and order.price != floor_to(order.price, rule.tick_size):
        return no_multiple("price", order.price, rule.tick_size)
    if order.order_type == "MARKET" and not rule.market_orders:
        return needs_a_price(order.symbol)
    return None


def outside(order: Written, rule: OrderRules, price: Decimal | None) -> BrokenRule | None:
    """Return why an order is too small or too large.

    Args:
        order: what is looked at.
        rule: of its instrument.
        price: to value it with; None: not known, so that only the quantity counts.
    """
    if order.quantity < rule.min_quantity:
        return BrokenRule(
            "min_quantity", f"quantity {shown(order.quantity)} is under the exchange's {shown(rule.min_quantity)}"
        )
    if rule.max_quantity is not None and order.quantity > rule.max_quantity:
        return BrokenRule(
            "max_quantity", f"quantity {shown(order.quantity)} is over the exchange's {shown(rule.max_quantity)}"
        )
    if price is None:
        return None
    value = order.quantity * price
    if value < rule.min_notional:
        return BrokenRule("min_notional", f"value {shown(value)} is under the exchange's {shown(rule.min_notional)}")
    if value > rule.max_notional:
        return BrokenRule("max_notional", f"value {shown(value)} is over the exchange's {shown(rule.max_notional)}")
    return None
