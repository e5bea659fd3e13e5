"""Each order has its approved decision, used once; each result has its order and never fills more than was ordered."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from claire.audit.difference import Difference
from services.common import channels
from services.common.events import Event, Order, OrderResult, RiskDecision
from services.common.journal.entry import Entry

__all__ = ["Mandates"]

REMEMBERED: Final = 10_000
"""Decisions without an order that are kept, refusals most of all: an order follows its decision at once."""


@dataclass
class _Ordered:
    order: Order
    filled: Decimal = Decimal(0)


class Mandates:
    """Decisions not used yet, and orders.

    Attributes:
        orders, results: how many were looked at.
    """

    def __init__(self) -> None:
        """Begin before the first entry."""
        self.orders = 0
        self.results = 0
        self._decisions: dict[str, RiskDecision] = {}
        self._used: dict[str, int] = {}
        self._orders: dict[str, _Ordered] = {}

    def check(self, entry: Entry) -> Difference | None:
        """Look at one entry."""
        event: Event = entry.event
        if isinstance(event, RiskDecision):
            self._decisions[event.event_id] = event
            if len(self._decisions) > REMEMBERED:
                del self._decisions[next(iter(self._decisions))]
        elif isinstance(event, Order):
            return self._on_order(entry, event)
        elif isinstance(event, OrderResult):
            return self._on_result(entry, event)
        return None

    def _on_order(self, entry: Entry, order: Order) -> Difference | None:
        self.orders += 1
        self._orders.setdefault(order.order_id, _Ordered(order))
        used = self._used.get(order.decision_id)
        if used is not None:
            meaning = f"decision {order.decision_id} had its order at entry {used}"
            return Difference.at(
                "mandate", entry, "decision_id", order.decision_id, "a decision of its own", meaning=meaning
            )
        decision = self._decisions.pop(order.decision_id, None)
        if decision is None:
            meaning = "this order was never decided"
            return Difference.at(
                "mandate", entry, "decision_id", order.decision_id, "a decision before it", meaning=meaning
            )
        self._used[order.decision_id] = entry.id.n
        return _contradiction(entry, order, decision)

    def _on_result(self, entry: Entry, result: OrderResult) -> Difference | None:
        self.results += 1
        known = self._orders.get(result.order_id)
        if known is None:
            meaning = "nobody ordered what this result reports"
            return Difference.at("mandate", entry, "order_id", result.order_id, "an order before it", meaning=meaning)
        for name in ("client_order_id", "venue", "symbol", "side", "quantity"):
            reported, ordered = getattr(result, name), getattr(known.order, name)
            if reported != ordered:
                return Difference.at("mandate", entry, name, reported, ordered, meaning="this is not what was ordered")
        grown = result.filled_quantity - known.filled
        if grown < 0 and result.causation_id is not None and result.last_quantity is None:
            return None  # derived from the clock just before the exchange told of a fill: older, and no fill itself
        if _crossed(result, grown):
            known.filled = max(known.filled, result.filled_quantity)
            return None
        if grown < 0 or result.filled_quantity > result.quantity:
            meaning = "what is filled in all never falls, and never exceeds the order"
            bounds = f"{known.filled} to {result.quantity}"
            return Difference.at("mandate", entry, "filled_quantity", result.filled_quantity, bounds, meaning=meaning)
        if grown and result.last_quantity != grown:
            meaning = "the fill is by how much the filled quantity has grown"
            return Difference.at("mandate", entry, "last_quantity", result.last_quantity, grown, meaning=meaning)
        known.filled = result.filled_quantity
        return None


def _crossed(result: OrderResult, grown: Decimal) -> bool:
    """Whether an operator's word tells (in part) what the exchange had told just before: only the rest is booked."""
    by_word = result.fill is not None and result.fill.get("rule") == "operator"
    within = result.filled_quantity <= result.quantity
    return by_word and within and result.last_quantity is not None and grown < result.last_quantity


def _contradiction(entry: Entry, order: Order, decision: RiskDecision) -> Difference | None:
    if decision.producer != channels.RISK or order.producer != channels.RISK:
        meaning = "decisions and orders come from cdb_risk alone"
        found = f"order of {order.producer}, decision of {decision.producer}"
        return Difference.at("mandate", entry, "producer", found, channels.RISK, meaning=meaning)
    if not decision.approved:
        meaning = f"decision {decision.event_id} is a refusal: {decision.reason}"
        return Difference.at(
            "mandate", entry, "decision_id", order.decision_id, "an approved decision", meaning=meaning
        )
    for name in ("venue", "symbol", "side", "purpose", "signal_id"):
        ordered, decided = getattr(order, name), getattr(decision, name)
        if ordered != decided:
            return Difference.at("mandate", entry, name, ordered, decided, meaning="this is not what was decided")
    if order.quantity > decision.sizing.approved:
        meaning = "more is ordered than was approved"
        return Difference.at("mandate", entry, "quantity", order.quantity, decision.sizing.approved, meaning=meaning)
    return None
