"""Ending an order by an operator's word: two keys, the operator's command and risk's answer to it."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.cdb_execution.codes import shown
from services.cdb_execution.order_state import WorkingOrder
from services.common import channels
from services.common.decimals import ZERO
from services.common.errors import ContractViolation
from services.common.events import Control
from services.common.instruments import instrument_key
from services.common.resolution import Settlement, read_resolution, read_settlement

__all__ = ["COMMANDS_REMEMBERED", "Asked", "asked_by", "objection", "order_to_end", "settlement_of"]

COMMANDS_REMEMBERED: Final = 64

_UNKNOWN_END: Final = frozenset({"SUBMITTING", "UNKNOWN"})


@dataclass
class Asked:
    """What an operator commanded, until risk has answered."""

    order_id: str
    outcome: str
    quantity: Decimal | None
    price: Decimal | None
    fee: Decimal | None


def asked_by(command: Control) -> Asked | None:
    """Return what an operator commands; None when risk will refuse it (no name, no reason, no sense)."""
    if not ((command.by or "").strip() and (command.reason or "").strip()):
        return None
    try:
        said = read_resolution(command)
    except ContractViolation:
        return None
    return Asked(said.order_id, said.outcome, said.quantity, said.price, said.fee)


def settlement_of(answer: Control, asked: Asked | None) -> Settlement | str:
    """Return risk's answer if it says what the operator said, or what is wrong with it."""
    if answer.producer != channels.RISK:
        return f"resolve_order comes from {answer.producer}"
    if asked is None:
        return "cdb_risk resolves an order that no operator has asked for"
    try:
        answered = read_settlement(answer)
    except ContractViolation as error:
        return str(error)
    said = (asked.order_id, asked.outcome, asked.price, asked.fee)
    if said != (answered.order_id, answered.outcome, answered.price, answered.fee):
        return f"cdb_risk's answer about order {answered.order_id} is not what the operator said"
    if asked.outcome == "filled" and answered.filled_quantity != (asked.quantity or answered.quantity):
        return f"cdb_risk's answer about order {answered.order_id} fills another quantity than the operator said"
    return answered


def order_to_end(settlement: Settlement, working: Iterable[WorkingOrder], known: Container[str]) -> WorkingOrder | None:
    """Return the order that is meant; None when it has ended.

    Args:
        settlement: risk's answer.
        working: orders that have not ended.
        known: ids of orders that execution has seen; one that it has not seen is made from what risk had reserved.
    """
    order = next((order for order in working if order.order_id == settlement.order_id), None)
    return _order_of(settlement) if order is None and settlement.order_id not in known else order


def objection(order: WorkingOrder, settlement: Settlement, held: Decimal) -> str | None:
    """Return why an order cannot have ended as it is said; None when it can.

    Args:
        order: that is meant.
        settlement: risk's answer.
        held: base units of the instrument, signed.
    """
    return _contradiction(order, settlement) or _impossible(order, settlement, held)


def _order_of(settlement: Settlement) -> WorkingOrder:
    """Return an order that execution has never seen, as risk had reserved it; what became of it is UNKNOWN."""
    return WorkingOrder(
        order_id=settlement.order_id,
        client_order_id=settlement.client_order_id,
        correlation_id=None,
        instrument=instrument_key(settlement.venue, settlement.symbol),
        venue=settlement.venue,
        symbol=settlement.symbol,
        side=settlement.side,
        purpose=settlement.purpose,
        quantity=settlement.quantity,
        price=None,
        reference_price=settlement.reference_price,
        eligible_from=0,
        deadline=0,
        status="UNKNOWN",
        leverage=settlement.leverage,
    )


def _contradiction(order: WorkingOrder, settlement: Settlement) -> str | None:
    """Return how the answer contradicts what execution knows of the order; None when the two fit."""
    if order.status not in _UNKNOWN_END:
        return f"order {order.order_id} is {order.status}: its end is known here and not to be resolved"
    added = settlement.filled_quantity - order.filled_quantity
    if settlement.outcome == "filled":
        fits = 0 < added <= order.remaining
    elif settlement.outcome == "canceled":
        fits = added == 0
    else:
        fits = settlement.filled_quantity == order.filled_quantity == 0
    if fits:
        return None
    return (
        f"order {order.order_id}: {settlement.outcome} with {shown(settlement.filled_quantity)} filled, but "
        f"{shown(order.filled_quantity)} of {shown(order.quantity)} is known here"
    )


def _impossible(order: WorkingOrder, settlement: Settlement, held: Decimal) -> str | None:
    """Return why what is said to have filled cannot have: it would close more than is held, or turn it around."""
    added = settlement.filled_quantity - order.filled_quantity
    against = -held if order.side == "BUY" else held
    if order.purpose != "entry" and added > max(against, ZERO):
        return f"order {order.order_id} is said to close {shown(added)}, but {shown(held)} is held"
    if order.purpose == "entry" and added and against > 0:
        return f"order {order.order_id} is said to enter against the {shown(held)} that is held"
    return None
