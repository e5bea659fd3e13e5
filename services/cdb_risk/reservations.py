"""Orders that may still fill. They count as filled from approval until their terminal result."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Self

from services.common.decimals import ZERO
from services.common.events import Order, OrderResult, Purpose, Side

__all__ = ["TERMINAL", "Reservation", "Reservations"]

TERMINAL: Final = frozenset({"FILLED", "CANCELED", "REJECTED", "EXPIRED"})
_UNANSWERED: Final = frozenset({"PENDING", "SUBMITTING", "UNKNOWN"})


@dataclass
class Reservation:
    """One order that may still fill.

    Attributes:
        key: instrument key.
        quantity: ordered, base units.
        filled: cumulative, base units.
        created_at: time of its approval, microseconds.
        leverage: of the order; 1 on spot.
        status: last reported status; `PENDING` before the first result.
        unknown_since: when it became UNKNOWN, microseconds; None otherwise.
        client_order_id, reference_price: as ordered, for an order that has to be ended by an operator.
    """

    order_id: str
    key: str
    side: Side
    purpose: Purpose
    quantity: Decimal
    created_at: int
    filled: Decimal = ZERO
    status: str = "PENDING"
    unknown_since: int | None = None
    leverage: int = 1
    client_order_id: str = ""
    reference_price: Decimal | None = None

    @classmethod
    def of(cls, order: Order, key: str, now: int) -> Self:
        """Return what an order that has just been approved reserves."""
        return cls(
            order.order_id,
            key,
            order.side,
            order.purpose,
            order.quantity,
            now,
            leverage=order.leverage,
            client_order_id=order.client_order_id,
            reference_price=order.reference_price,
        )

    @property
    def unanswered_since(self) -> int | None:
        """Since when nobody knows what became of it, microseconds; None when execution has said."""
        if self.status not in _UNANSWERED:
            return None
        return self.created_at if self.unknown_since is None else self.unknown_since

    @property
    def remaining(self) -> Decimal:
        """What may still fill, base units."""
        return max(self.quantity - self.filled, ZERO)


@dataclass
class Reservations:
    """All orders that may still fill, by order id. Only a terminal result ends one; UNKNOWN stays."""

    orders: dict[str, Reservation] = field(default_factory=dict)

    def add(self, reservation: Reservation) -> None:
        """Reserve an approved order."""
        self.orders[reservation.order_id] = reservation

    def settle(self, result: OrderResult, now: int) -> Reservation | None:
        """Fold a result and return the reservation it belongs to; None when no such order may still fill."""
        reservation = self.orders.get(result.order_id)
        if reservation is None:
            return None
        reservation.filled = max(reservation.filled, result.filled_quantity)
        reservation.status = result.status
        if result.status != "UNKNOWN":
            reservation.unknown_since = None
        elif reservation.unknown_since is None:
            reservation.unknown_since = now
        if result.status in TERMINAL:
            del self.orders[result.order_id]
        return reservation

    def unknown_for(self, us: int, now: int) -> list[str]:
        """Return the ids of the orders that have been UNKNOWN for at least so many microseconds."""
        return [
            order.order_id
            for order in self.orders.values()
            if order.unknown_since is not None and now - order.unknown_since >= us
        ]

    def pending_increasing(self, key: str) -> Decimal:
        """Base units by which a position may still grow, long or short: what its entries may still fill."""
        return sum((o.remaining for o in self.orders.values() if o.key == key and o.purpose == "entry"), ZERO)

    def pending_reducing(self, key: str) -> Decimal:
        """Base units that working exits may still take from a position, whichever its direction."""
        return sum((o.remaining for o in self.orders.values() if o.key == key and o.purpose != "entry"), ZERO)

    def entry_side(self, key: str) -> Side | None:
        """Return the side of the entry that may still fill; None when there is none."""
        return next((o.side for o in self.orders.values() if o.key == key and o.purpose == "entry"), None)

    def entry_working(self, key: str) -> bool:
        """Whether an entry of the instrument may still fill."""
        return any(o.key == key and o.purpose == "entry" for o in self.orders.values())

    def exit_working(self, key: str) -> bool:
        """Whether an exit of the instrument may still fill."""
        return any(o.key == key and o.purpose != "entry" for o in self.orders.values())

    def working(self, key: str) -> bool:
        """Whether any order of the instrument may still fill."""
        return any(o.key == key for o in self.orders.values())

    def entered_keys(self) -> list[str]:
        """Return the instruments with an entry that may still fill."""
        return [o.key for o in self.orders.values() if o.purpose == "entry"]
