"""What the recorded run holds, so that every order finds the paper exchange where the run stood when it came.

Otherwise one order that paper fills otherwise would have later exits refused for want of a position, and the whole rest
of the run would be compared with another run. So while nothing works in either world, paper's position is the run's.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from decimal import Decimal

from services.cdb_execution.order_state import TERMINAL
from services.cdb_execution.state import ExecutionState
from services.common.currencies import fee_kind
from services.common.decimals import ZERO
from services.common.events import Order, OrderResult
from services.common.instruments import PERPETUAL, instrument_key
from services.common.portfolio import Position

__all__ = ["Holdings"]


@dataclass
class Holdings:
    """The positions of the recorded run, and which of its orders have not ended."""

    positions: dict[str, Position] = field(default_factory=dict)
    working: dict[str, set[str]] = field(default_factory=dict)

    def ordered(self, order: Order) -> None:
        """Take note of an order."""
        self.working.setdefault(instrument_key(order.venue, order.symbol), set()).add(order.order_id)

    def told(self, order: Order, result: OrderResult, added: Decimal) -> None:
        """Take note of a result that adds so many base units."""
        key = instrument_key(order.venue, order.symbol)
        if result.status in TERMINAL:
            self.working[key].discard(order.order_id)
        if added <= ZERO or result.last_price is None:
            return
        position = self.positions.setdefault(key, Position(order.venue, order.symbol))
        signed = added if order.side == "BUY" else -added
        if order.venue != PERPETUAL:
            position.quantity += signed
            if fee_kind(order.symbol, result.fee_currency) == "base":
                position.quantity -= result.fee or ZERO
            return
        closing = min(added, abs(position.quantity)) if position.quantity * signed < 0 else ZERO
        for quantity in (closing, added - closing):
            if quantity:
                position.trade(order.side, quantity, result.last_price, order.leverage)

    def liquidated(self, key: str) -> None:
        """Take note of a liquidation: nothing is left."""
        self.positions.pop(key, None)

    def settle(self, order: Order, paper: ExecutionState) -> None:
        """Give the paper exchange the run's position of an order's instrument, unless something works on it."""
        key = instrument_key(order.venue, order.symbol)
        position = self.positions.get(key, Position(order.venue, order.symbol))
        works = self.working.get(key) or any(other.instrument == key for other in paper.working)
        held = paper.held(key)
        # More than the run has holds nothing up on spot; on a perpetual it would be in the way of the other direction.
        suffices = held == position.quantity or (order.venue != PERPETUAL and held > position.quantity)
        if works or suffices:
            return
        paper.positions[key] = position.quantity
        if order.venue == PERPETUAL:
            paper.perpetual(key, order.symbol).position = copy(position)
