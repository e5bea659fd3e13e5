"""Ending an order by an operator's word: two keys, the operator's command and risk's answer to it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.cdb_execution.codes import shown
from services.cdb_execution.order_state import WorkingOrder
from services.common import channels
from services.common.errors import ContractViolation
from services.common.events import Control
from services.common.instruments import instrument_key
from services.common.resolution import Settlement, read_resolution, read_settlement

__all__ = ["COMMANDS_REMEMBERED", "Asked", "asked_by", "contradiction", "order_of", "settlement_of"]

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


def order_of(settlement: Settlement) -> WorkingOrder:
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


def contradiction(order: WorkingOrder, settlement: Settlement) -> str | None:
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
