"""An operator ends an order whose end nobody reported: what risk checks before it puts its name to that.

Risk frees nothing here. It answers the command with what it had reserved, execution makes the terminal order result of
both, and that ends the reservation.
"""

from __future__ import annotations

from decimal import Decimal

from services.cdb_risk.finding import shown, wire
from services.cdb_risk.market import outside_collar
from services.cdb_risk.reservations import Reservation
from services.cdb_risk.situation import Situation
from services.cdb_risk.watch import ANSWER_US
from services.common.decimals import floor_to, quantise
from services.common.errors import ContractViolation
from services.common.events import Control
from services.common.resolution import Resolution, Settlement, read_resolution
from services.common.timestamps import SECOND_US

__all__ = ["settlement"]

_PRICE_PLACES = 8
_GREATEST_FEE = Decimal("0.05")
"""Share of the value; PAPER_TAKER_FEE has the same bound."""


def settlement(situation: Situation, command: Control) -> Settlement | str:
    """Return risk's answer to a `resolve_order` of the operator, or why it is refused."""
    try:
        said = read_resolution(command)
    except ContractViolation as error:
        return str(error)
    reservation = situation.state.reservations.orders.get(said.order_id)
    if reservation is None:
        return f"no order {said.order_id} is reserved"
    wrong = _still_open(situation, reservation) or _contradiction(situation, reservation, said)
    if wrong is not None:
        return wrong
    venue, symbol = reservation.key.split(":")
    return Settlement(
        order_id=said.order_id,
        outcome=said.outcome,
        filled_quantity=_filled(reservation, said),
        price=said.price,
        fee=said.fee,
        client_order_id=reservation.client_order_id,
        venue=venue,
        symbol=symbol,
        side=reservation.side,
        purpose=reservation.purpose,
        quantity=reservation.quantity,
        reference_price=reservation.reference_price,
        leverage=reservation.leverage,
    )


def _filled(reservation: Reservation, said: Resolution) -> Decimal:
    """Return what the order has filled in all, base units."""
    if said.outcome != "filled":
        return reservation.filled
    return reservation.quantity if said.quantity is None else said.quantity


def _still_open(situation: Situation, reservation: Reservation) -> str | None:
    since = reservation.unanswered_since
    if since is None:
        return f"order {reservation.order_id} is {reservation.status}: execution knows it and will end it"
    if situation.now - since <= ANSWER_US:
        seconds = ANSWER_US // SECOND_US
        return f"order {reservation.order_id} is unanswered for less than {seconds} s; its answer may be on the way"
    return None


def _contradiction(situation: Situation, reservation: Reservation, said: Resolution) -> str | None:
    if said.outcome == "never_arrived" and reservation.filled:
        return f"order {reservation.order_id} has filled {shown(reservation.filled)}: it did arrive"
    if said.price is None:
        return None
    filled, settings = _filled(reservation, said), situation.settings
    added = filled - reservation.filled
    spec, reference = settings.spec(reservation.key), reservation.reference_price
    assert spec is not None, "what is reserved has a grid"
    assert reference is not None, "what is reserved had a quote"
    if added <= 0 or filled > reservation.quantity or filled != floor_to(filled, spec.lot_size):
        return (
            f"{shown(filled)} is filled in all, it says; {shown(reservation.filled)} of {shown(reservation.quantity)} "
            f"was known, in lots of {shown(spec.lot_size)}"
        )
    if reservation.purpose != "entry" and added > abs(situation.held(reservation.key)):
        return f"an exit of {shown(added)}, but {shown(situation.held(reservation.key))} is held"
    tolerance = settings.PRICE_COLLAR_PCT + settings.MAX_SLIPPAGE_PCT
    if outside_collar(said.price, reference, tolerance) or said.price != quantise(said.price, _PRICE_PLACES):
        return f"price {shown(said.price)} cannot be: mid was {shown(reference)} at the decision, at most 8 decimals"
    if said.fee is not None and said.fee > _GREATEST_FEE * added * said.price:
        return f"fee {shown(wire(said.fee))} is more than any exchange takes"
    return None
