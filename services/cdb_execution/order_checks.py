"""What an exchange or common sense refuses in an order that risk did approve: grids, minimums, sides, age."""

from __future__ import annotations

from decimal import Decimal

from services.cdb_execution.codes import Refusal, RejectCode, shown
from services.cdb_execution.settings import ExecutionSettings
from services.cdb_execution.state import ExecutionState
from services.common.decimals import ONE, floor_to
from services.common.events import Order
from services.common.instruments import PERPETUAL, InstrumentSpec, instrument_key
from services.common.perpetuals import tier_of
from services.common.timestamps import MS_US

__all__ = ["check_age", "check_exposure", "check_form", "check_order", "check_price", "check_quantity"]


def check_order(
    order: Order, decided_at: int, now: int, settings: ExecutionSettings, state: ExecutionState
) -> Refusal | None:
    """Return the first thing that is wrong with an order that both keys let through.

    Args:
        order: covered by a decision.
        decided_at: time of that decision, microseconds.
        now: folded clock, microseconds.
        settings: bounds.
        state: what is held and what works.
    """
    key = instrument_key(order.venue, order.symbol)
    spec = settings.spec(key)
    if spec is None:
        return Refusal(RejectCode.UNKNOWN_INSTRUMENT, f"{order.symbol} on {order.venue}")
    return (
        check_age(order, decided_at, now, settings)
        or check_form(order, on_paper=not settings.sends)
        or check_price(order, spec, settings)
        or check_quantity(order, spec, state.closable(key, order.side))
        or (
            check_exposure(order, spec, state.held(key), state.entering(key), settings.MAX_LEVERAGE)
            if spec.tiers
            else None
        )
    )


def check_age(order: Order, decided_at: int, now: int, settings: ExecutionSettings) -> Refusal | None:
    """Refuse what is stamped later than `now`, and an entry that is too old; a late exit is better than none."""
    if max(order.timestamp, decided_at) > now:
        return Refusal(RejectCode.FROM_THE_FUTURE, f"{(max(order.timestamp, decided_at) - now) // MS_US} ms ahead")
    age_ms = (now - min(order.timestamp, decided_at)) // MS_US
    if order.purpose == "entry" and age_ms > settings.ORDER_MAX_AGE_MS:
        return Refusal(RejectCode.TOO_OLD, f"{age_ms} ms old, at most {settings.ORDER_MAX_AGE_MS} ms are allowed")
    return None


def check_form(order: Order, *, on_paper: bool) -> Refusal | None:
    """Refuse what is not traded here: all-or-nothing orders, and on spot leverage and sales without holding.

    A limit order may rest on paper; to an exchange goes nothing that rests.
    """
    if order.time_in_force != "IOC" and (order.time_in_force, order.order_type, on_paper) != ("GTC", "LIMIT", True):
        return Refusal(RejectCode.TIME_IN_FORCE, f"{order.time_in_force} is not supported")
    if order.venue == PERPETUAL:
        if (order.purpose == "entry") == order.reduce_only:
            reducing = "reduce-only" if order.reduce_only else "not reduce-only"
            return Refusal(RejectCode.SIDE, f"{order.purpose} that is {reducing}")
        return None
    if order.leverage != 1:
        return Refusal(RejectCode.LEVERAGE, f"leverage {order.leverage} on spot")
    is_entry = order.purpose == "entry"
    if is_entry != (order.side == "BUY") or (is_entry and order.reduce_only):
        reducing = ", reduce-only" if order.reduce_only else ""
        return Refusal(RejectCode.SIDE, f"{order.purpose} by {order.side}{reducing} on spot")
    return None


def check_price(order: Order, spec: InstrumentSpec, settings: ExecutionSettings) -> Refusal | None:
    """Refuse a missing price, one off the grid, and a buy far over the mid at decision."""
    if order.price is None and (order.order_type == "LIMIT" or order.purpose == "entry"):
        return Refusal(RejectCode.PRICE_MISSING, f"{order.order_type} {order.purpose} without a protective price")
    if order.reference_price is None:
        return Refusal(RejectCode.PRICE_MISSING, "no mid at decision")
    if order.reference_price < spec.tick_size:
        return Refusal(RejectCode.PRICE_GRID, f"mid at decision {shown(order.reference_price)} is under one tick")
    if order.price is None:
        return None
    if order.price != floor_to(order.price, spec.tick_size):
        return Refusal(
            RejectCode.PRICE_GRID, f"price {shown(order.price)} is not a multiple of {shown(spec.tick_size)}"
        )
    highest = order.reference_price * (ONE + settings.PRICE_COLLAR_PCT + settings.MAX_SLIPPAGE_PCT)
    if order.side == "BUY" and order.price > highest:
        return Refusal(
            RejectCode.PRICE_TOO_FAR, f"price {shown(order.price)}, mid at decision {shown(order.reference_price)}"
        )
    return None


def check_exposure(
    order: Order, spec: InstrumentSpec, held: Decimal, entering: Decimal, max_leverage: int
) -> Refusal | None:
    """Refuse an entry of a perpetual against what is there already, or with too much leverage.

    Args:
        order: on a perpetual.
        spec: of the instrument.
        held: base units, signed.
        entering: base units that working entries may still add, signed.
        max_leverage: MAX_LEVERAGE.
    """
    if order.purpose != "entry":
        return None
    signed = order.quantity if order.side == "BUY" else -order.quantity
    if held * signed < 0 or entering * signed < 0:
        return Refusal(
            RejectCode.WOULD_FLIP, f"{order.side}, but {shown(held)} is held and {shown(entering)} being entered"
        )
    tier = tier_of(held + entering + signed, spec)
    most = 0 if tier is None else min(tier.max_leverage, max_leverage)
    if order.leverage > most:
        allowed = "none beyond the largest tier" if tier is None else f"{most} at this size"
        return Refusal(RejectCode.LEVERAGE, f"leverage {order.leverage}, allowed is {allowed}")
    return None


def check_quantity(order: Order, spec: InstrumentSpec, closable: Decimal) -> Refusal | None:
    """Refuse a quantity off the grid or out of bounds (at mid at decision), and an exit of more than is held.

    Args:
        order: one that passed `check_price`.
        spec: grids and bounds of the instrument.
        closable: base units that this order's side can close and that are not already being closed.
    """
    assert order.reference_price is not None, "check_price comes first"
    if order.quantity != floor_to(order.quantity, spec.lot_size):
        return Refusal(
            RejectCode.LOT_GRID, f"quantity {shown(order.quantity)} is not a multiple of {shown(spec.lot_size)}"
        )
    if order.quantity < spec.min_quantity:
        return Refusal(RejectCode.MIN_QUANTITY, f"quantity {shown(order.quantity)} is under {shown(spec.min_quantity)}")
    notional = order.quantity * order.reference_price
    if notional < spec.min_notional:
        return Refusal(
            RejectCode.MIN_NOTIONAL, f"value {shown(notional)} is under {shown(spec.min_notional)} {spec.quote}"
        )
    if notional > spec.max_notional:
        return Refusal(
            RejectCode.MAX_NOTIONAL, f"value {shown(notional)} is over {shown(spec.max_notional)} {spec.quote}"
        )
    if order.purpose != "entry" and order.quantity > closable:
        does, done = ("sells", "sold") if order.side == "SELL" else ("buys", "bought back")
        return Refusal(
            RejectCode.EXCEEDS_POSITION, f"{does} {shown(order.quantity)}, but only {shown(closable)} can be {done}"
        )
    return None
