"""The first of two keys: an order is acted on only if an approved decision of cdb_risk covers it.

Execution keeps the last decisions itself and compares; it never takes the order's word.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.cdb_execution.codes import Refusal, RejectCode, shown
from services.cdb_execution.trading_state import risk_permits
from services.common import channels
from services.common.events import LAYERS, Order, RiskDecision

__all__ = ["DECISIONS_REMEMBERED", "DecisionRecord", "contradiction", "record_of"]

DECISIONS_REMEMBERED: Final = 256
"""An order follows its decision at once; an older decision counts as missing."""


@dataclass
class DecisionRecord:
    """What execution keeps of a decision.

    Attributes:
        quantity: approved base units.
        blocking: names of layers that contradict an approval, empty when there are none.
        used: an order has named it.
    """

    timestamp: int
    signal_id: str | None
    venue: str
    symbol: str
    side: str
    purpose: str
    approved: bool
    quantity: Decimal
    blocking: str
    trading_state: str
    used: bool = False


def record_of(decision: RiskDecision) -> DecisionRecord:
    """Return what has to be kept of a decision.

    An entry needs all seven layers to pass; an exit must have none that fails (bypasses are risk's to give).
    """
    if tuple(verdict.layer for verdict in decision.layers) == LAYERS:
        blocking = ", ".join(
            verdict.layer
            for verdict in decision.layers
            if verdict.status == "fail" or (decision.purpose == "entry" and verdict.status != "pass")
        )
    else:
        blocking = "not the seven layers in their order"
    return DecisionRecord(
        timestamp=decision.timestamp,
        signal_id=decision.signal_id,
        venue=decision.venue,
        symbol=decision.symbol,
        side=decision.side,
        purpose=decision.purpose,
        approved=decision.approved,
        quantity=decision.sizing.approved,
        blocking=blocking,
        trading_state=decision.portfolio.trading_state,
    )


def contradiction(order: Order, decision: DecisionRecord | None) -> Refusal | None:
    """Return how an order contradicts the decision that it names; None when the decision covers it."""
    if order.producer != channels.RISK:
        return Refusal(RejectCode.ORDER_NOT_FROM_RISK, f"produced by {order.producer}")
    if decision is None:
        return Refusal(RejectCode.DECISION_MISSING, f"decision {order.decision_id} is not known")
    if decision.used:
        return Refusal(RejectCode.DECISION_USED, f"decision {order.decision_id} had its order")
    if not decision.approved:
        return Refusal(RejectCode.DECISION_NOT_APPROVED, f"decision {order.decision_id} is a refusal")
    for name in ("venue", "symbol", "side", "purpose", "signal_id"):
        decided, ordered = getattr(decision, name), getattr(order, name)
        if decided != ordered:
            return Refusal(RejectCode.DECISION_MISMATCH, f"{name} {ordered}, but {decided} was decided")
    if order.quantity > decision.quantity:
        return Refusal(
            RejectCode.DECISION_QUANTITY,
            f"quantity {shown(order.quantity)}, but {shown(decision.quantity)} was approved",
        )
    if decision.blocking:
        return Refusal(RejectCode.DECISION_LAYERS, f"approved against {decision.blocking}")
    if not risk_permits(decision.trading_state, order.purpose):
        return Refusal(RejectCode.DECISION_STATE, f"{order.purpose} was approved in state {decision.trading_state}")
    return None
