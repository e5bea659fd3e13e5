"""Exits that stay until the position is flat: stops, flatten, and strategy exits that could not be sent or filled.

An exit is latched once and retried on valid quotes, at most every two seconds with one working order, until the
position is flat or dust. The price recovering does not undo it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.common.decimals import ONE, ZERO, divide, floor_to
from services.common.events import MarketData, Purpose, Side
from services.common.instruments import PERPETUAL, InstrumentSpec
from services.common.portfolio import Position
from services.common.timestamps import SECOND_US

__all__ = [
    "RETRY_US",
    "LatchedExit",
    "closable",
    "closing_side",
    "is_dust",
    "latch",
    "sellable",
    "stop_hit",
    "stop_price",
    "trigger_price",
]

RETRY_US: Final = 2 * SECOND_US

_URGENCY: Final[dict[Purpose, int]] = {
    "entry": 0,
    "exit": 1,
    "take_profit": 2,
    "trailing_stop": 2,
    "stop_loss": 2,
    "liquidation_guard": 3,
    "flatten": 4,
}


@dataclass
class LatchedExit:
    """An exit that is wanted until the position is gone.

    Attributes:
        signal_id, correlation_id: of the event that asked for it; None where there is none.
        since: when it was latched, microseconds.
        attempts: orders sent for it.
        last_attempt_at: when the last was sent, microseconds; None before the first.
        reason: what triggered it, in words.
    """

    purpose: Purpose
    signal_id: str | None
    correlation_id: str | None
    since: int
    reason: str
    attempts: int = 0
    last_attempt_at: int | None = None

    @property
    def protective(self) -> bool:
        """Whether it is a stop, guard or flatten rather than the strategy's wish."""
        return self.purpose != "exit"

    def may_retry(self, now: int) -> bool:
        """Whether two seconds have passed since the last order."""
        return self.last_attempt_at is None or now - self.last_attempt_at >= RETRY_US


def latch(current: LatchedExit | None, wanted: LatchedExit) -> LatchedExit:
    """Return the exit that stays: the more urgent one; an equally urgent one does not start anew."""
    if current is None or _URGENCY[wanted.purpose] > _URGENCY[current.purpose]:
        if current is not None:
            wanted.last_attempt_at = current.last_attempt_at
        return wanted
    return current


def closing_side(quantity: Decimal) -> Side | None:
    """Return the side that closes a position of this signed quantity: SELL a long, BUY a short; None while flat."""
    return None if not quantity else "SELL" if quantity > 0 else "BUY"


def closable(quantity: Decimal, side: Side) -> Decimal:
    """Return how much of a position (signed quantity) an order of this side can close, base units; never negative."""
    return max(quantity if side == "SELL" else -quantity, ZERO)


def trigger_price(event: MarketData, quantity: Decimal, mark: Decimal | None) -> Decimal | None:
    """Return the price at which a protective exit of a position triggers; None when the event does not tell.

    The mark price on perpetuals; on spot what closing would meet: the bid for a long, the ask for a short.

    Args:
        event: market data of the instrument.
        quantity: of the position, signed.
        mark: the event's mark price, if it can be believed.
    """
    if event.venue == PERPETUAL:
        return mark
    return event.bid if quantity > 0 else event.ask


def stop_price(position: Position, stop_loss_pct: Decimal) -> Decimal | None:
    """Return where a position is stopped: entry * (1 - stop) for a long, * (1 + stop) for a short; None while flat."""
    if not position.quantity:
        return None
    return divide(position.cost * _stop_factor(position, stop_loss_pct), position.quantity)


def stop_hit(position: Position, price: Decimal, stop_loss_pct: Decimal) -> bool:
    """Whether the stop is reached: price <= stop price for a long, >= for a short, by products alone.

    Both sides carry the sign of the position, so that one comparison serves both directions.
    """
    stop = position.cost * _stop_factor(position, stop_loss_pct)
    return position.quantity != 0 and price * position.quantity <= stop


def _stop_factor(position: Position, stop_loss_pct: Decimal) -> Decimal:
    return ONE - stop_loss_pct if position.quantity > 0 else ONE + stop_loss_pct


def sellable(quantity: Decimal, spec: InstrumentSpec) -> Decimal:
    """Return what of a quantity lies on the lot grid."""
    return floor_to(quantity, spec.lot_size)


def is_dust(quantity: Decimal, price: Decimal, spec: InstrumentSpec) -> bool:
    """Whether a holding (base units, without sign) is below the exchange's minimum order: it cannot be closed."""
    lots = sellable(quantity, spec)
    return lots < spec.min_quantity or lots * price < spec.min_notional
