"""The life of an order as an explicit table of transitions; an illegal one is a fault, never ignored."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from services.cdb_execution.codes import ExpiryCode
from services.cdb_execution.live.tracking import LiveOrder
from services.cdb_execution.resting import Resting
from services.cdb_execution.settings import ExecutionSettings
from services.common.decimals import ZERO, divide
from services.common.errors import IllegalTransition
from services.common.events import Order
from services.common.instruments import instrument_key
from services.common.timestamps import MS_US, SECOND_US

__all__ = ["RESTING_LIVES", "TERMINAL", "TRANSITIONS", "OrderStatus", "WorkingOrder", "accept"]

OrderStatus = Literal["SUBMITTING", "NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED", "EXPIRED", "UNKNOWN"]

TRANSITIONS: Final[dict[OrderStatus | None, frozenset[OrderStatus]]] = {
    None: frozenset({"SUBMITTING", "NEW", "REJECTED"}),
    "SUBMITTING": frozenset({"NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED", "EXPIRED", "UNKNOWN"}),
    "NEW": frozenset({"PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED", "UNKNOWN"}),
    "PARTIALLY_FILLED": frozenset({"PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED", "UNKNOWN"}),
    "UNKNOWN": frozenset({"NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED", "EXPIRED"}),
    "FILLED": frozenset(),
    "CANCELED": frozenset(),
    "REJECTED": frozenset(),
    "EXPIRED": frozenset(),
}
"""From which status (None: not yet known) an order may go to which."""

RESTING_LIVES: Final = 6
"""A resting order lives so many times as long as an immediate one; then what has not filled is cancelled."""

TERMINAL: Final = frozenset(status for status, following in TRANSITIONS.items() if not following)
"""Statuses that end an order; each order reaches exactly one of them, once."""


@dataclass
class WorkingOrder:
    """An order and what became of it so far; quantities in base units, prices in quote currency.

    Attributes:
        instrument: key of the instrument.
        price: protective limit price; None for a market order.
        reference_price: mid at the decision.
        eligible_from: quotes stamped earlier than this (microseconds) cannot fill it.
        deadline: from this `now` on (microseconds) it expires.
        leverage: 1 on spot.
        status: None until it is first reported.
        filled_notional: quote currency paid or received so far, without fees.
        fills: number of fills so far.
        obstacle: why it has not filled so far, as it will stand in `reason` if it expires.
        live: what is known of it at the exchange; None on paper.
        time_in_force: GTC rests in the book on paper, IOC takes once.
        resting: its place in the book; None before it has joined.
    """

    order_id: str
    client_order_id: str
    correlation_id: str | None
    instrument: str
    venue: Literal["mexc_spot", "mexc_perpetual"]
    symbol: str
    side: Literal["BUY", "SELL"]
    purpose: str
    quantity: Decimal
    price: Decimal | None
    reference_price: Decimal | None
    eligible_from: int
    deadline: int
    status: OrderStatus | None = None
    filled_quantity: Decimal = ZERO
    filled_notional: Decimal = ZERO
    fills: int = 0
    obstacle: str = ""
    leverage: int = 1
    live: LiveOrder | None = None
    time_in_force: Literal["IOC", "GTC", "FOK"] = "IOC"
    resting: Resting | None = None

    @property
    def rests(self) -> bool:
        """Whether what does not fill at once stays in the book."""
        return self.time_in_force == "GTC"

    @property
    def remaining(self) -> Decimal:
        """Base units not filled yet."""
        return self.quantity - self.filled_quantity

    @property
    def average_price(self) -> Decimal | None:
        """Of everything filled so far; None before the first fill."""
        return divide(self.filled_notional, self.filled_quantity) if self.filled_quantity else None

    def book(self, quantity: Decimal, price: Decimal) -> None:
        """Add one fill and go to PARTIALLY_FILLED or FILLED.

        Raises:
            IllegalTransition: nothing or more than the rest would be filled, or the status lets nothing fill.
        """
        if not ZERO < quantity <= self.remaining or price <= 0:
            raise IllegalTransition(
                f"order {self.order_id}: a fill of {quantity} at {price}, but {self.remaining} is left to fill"
            )
        self._add(quantity, price)
        self.advance("PARTIALLY_FILLED" if self.remaining else "FILLED")

    def book_late(self, quantity: Decimal, price: Decimal) -> None:
        """Add a fill that the exchange tells after the order has ended: it counts, and the order stays ended."""
        self._add(quantity, price)

    def _add(self, quantity: Decimal, price: Decimal) -> None:
        self.filled_quantity += quantity
        self.filled_notional += quantity * price
        self.fills += 1

    def advance(self, status: OrderStatus) -> None:
        """Go to `status`.

        Raises:
            IllegalTransition: the table has no such transition, or the status contradicts what has filled.
        """
        if status not in TRANSITIONS[self.status]:
            raise IllegalTransition(f"order {self.order_id}: from {self.status or 'nothing'} to {status}")
        if (status == "FILLED") != (not self.remaining) or (status == "PARTIALLY_FILLED" and not self.filled_quantity):
            raise IllegalTransition(
                f"order {self.order_id}: {status} with {self.filled_quantity} of {self.quantity} filled"
            )
        if status == "REJECTED" and self.filled_quantity:
            raise IllegalTransition(f"order {self.order_id}: {status} although {self.filled_quantity} is filled")
        self.status = status


def accept(order: Order, now: int, settings: ExecutionSettings) -> WorkingOrder:
    """Return an order as it begins to work (or to be refused): not yet reported.

    Args:
        order: as risk sent it.
        now: folded clock, microseconds.
        settings: latency and life of an order.
    """
    lives = RESTING_LIVES if order.time_in_force == "GTC" else 1
    return WorkingOrder(
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        correlation_id=order.correlation_id,
        instrument=instrument_key(order.venue, order.symbol),
        venue=order.venue,
        symbol=order.symbol,
        side=order.side,
        purpose=order.purpose,
        quantity=order.quantity,
        price=order.price,
        reference_price=order.reference_price,
        eligible_from=order.timestamp + settings.PAPER_LATENCY_MS * MS_US,
        deadline=now + lives * settings.PAPER_ORDER_LIFE_SEC * SECOND_US,
        leverage=order.leverage,
        time_in_force=order.time_in_force,
        obstacle=f"{ExpiryCode.NO_QUOTE}: none came after the latency of {settings.PAPER_LATENCY_MS} ms",
    )
